"""Compile a study file to the record of the study: all variants resolved, all identities known, nothing written."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from study.config.comparable import (
    check_data,
    check_distinct_runs,
    check_looks,
    check_rope,
    check_scope,
    merged,
    with_own_data,
)
from study.config.designs import Variant, layout_of, variants_of
from study.config.effects import family_of
from study.config.layouts import Layout
from study.config.registry import Registry, task_of
from study.config.resolve import Resolver
from study.config.revisions import CODE, export
from study.config.settings import Settings
from study.config.space import Dimension, typed_space
from study.config.study import Claim, StudySpec
from study.errors import ErrorCode, InputError, conflict, shown, unknown_name, wrong_value
from study.followed import Unfollowed
from study.hashing import HARNESS, Code, code_digest, code_of, digest
from study.ledger.grid import GRID, active, grid_of
from study.ledger.record import StudyRecord, VariantRecord
from study.metrics import Metric
from study.nested import value_at, with_value
from study.records import DataInfo, RunSpec
from study.statistics.spread import Spread
from study.task import CanCheck, CanDescribe, CanFitDevice, CanMeasure, Progress, Sources, Task

ROOT, EXPORT, OUTPUTS = "root", "export", "outputs"
"""Options of a task that the harness sets: the folder of its files, the exported revision of its code, and output."""


def compile_study(
    spec: StudySpec, settings: Settings, device: str, progress: Progress | None = None
) -> StudyRecord:
    """Return the record of the study that `spec` describes.

    Args:
        spec: The study file.
        settings: The settings of this machine.
        device: ``cpu`` or ``cuda``.
        progress: Called with the number of examples read so far and in all, where data are not in the cache yet.

    Raises:
        InputError: An error in the file, or data, code or components that do not exist.
    """
    return _Compiler(spec, settings, device, progress).record()


@dataclass(frozen=True)
class _Compiler:
    """Compiles one study."""

    spec: StudySpec
    settings: Settings
    device: str
    progress: Progress | None

    @cached_property
    def registry(self) -> Registry:
        name, where = str(self.spec.task["name"]), f"{self.spec.file}: task"
        return Registry(self.settings.components, name, where)

    @cached_property
    def options(self) -> dict[str, Any]:
        """The resolved ``[task]`` table."""
        where = f"{self.spec.file}: task"
        options = self.registry.resolve("task", dict(self.spec.task), where)
        internal = {ROOT: str(self.settings.root), OUTPUTS: [str(path) for path in self.outputs]}
        return {**options, **{key: value for key, value in internal.items() if key in options}}

    @property
    def outputs(self) -> tuple[Path, ...]:
        """Folders and files that the harness writes, those that its standard output goes to included."""
        return self.settings.ledger, self.settings.reports, *_standard_output_files()

    @cached_property
    def task(self) -> Task:
        """The task, with the code as it is now."""
        options = self.options
        try:
            return self.registry.task(options)
        except InputError as error:
            raise error.within(self.spec.file) from None

    @property
    def file(self) -> str:
        """The study file, relative to the folder of study.toml if it is below it."""
        path, root = Path(self.spec.file).resolve(), self.settings.root
        return str(path.relative_to(root) if path.is_relative_to(root) else path)

    def record(self) -> StudyRecord:
        """Return the record of the study."""
        spec, task = self.spec, self.task
        primary, metric_config = self.primary_metric()
        check_rope(spec, primary)
        variants = self.variants
        self.check_search()
        self.validate_configs(variants)
        effects, claims = family_of(spec, self.layout, variants)
        records, infos, code = [], [], dict[str, Mapping[str, str]]()
        unfollowed: dict[Unfollowed, None] = {}
        for variant in variants:
            info = self.data_info(variant)
            record, followed = self.variant_record(variant, info, metric_config, primary)
            records.append(record)
            infos.append(info)
            code[record.template.code_digest] = followed.parts
            unfollowed |= dict.fromkeys(followed.unfollowed)
        check_data(spec, records, infos)
        check_scope(spec, infos)
        records = with_own_data(records, infos)
        measures = {} if not spec.analysis.measures else self.measures(variants, code)
        configs = [self.repetition_config(variant) for variant in variants]
        study = StudyRecord(
            name=spec.name,
            file=self.file,
            options=spec.options,
            title=spec.title,
            question=spec.question,
            seed=spec.seed,
            metric=primary.name,
            rope=spec.analysis.rope,
            alpha=spec.analysis.alpha,
            interval_scope=spec.analysis.scope,
            spread=None if spec.analysis.sd is None else Spread(spec.analysis.sd),
            variants=tuple(records),
            claims=claims,
            effects=effects,
            design=self.layout.notes,
            space=self.space_record,
            trials=self.trials,
            generation=spec.search.generation,
            sampler=spec.search.sampler if self.points is None else GRID,
            repetitions=spec.repetitions,
            looks=spec.looks,
            folds=infos[0].folds or (None,),
            data=merged(infos),
            claims_digest=digest([_given(claim) for claim in spec.claims]),
            root=str(self.settings.root),
            task=str(spec.task["name"]),
            metrics=tuple(replace(metric, compute=None) for metric in self.metrics(primary)),
            facts={
                **self.recipe_facts(variants),
                **(cast(CanDescribe, task).facts(configs) if hasattr(task, "facts") else {}),
            },
            has_profile=task.has_profile,
            measures=tuple(f"{name}@{code_id}" for name, code_id in measures.items()),
            pruner=spec.search.pruner,
            reduction=spec.search.reduction,
            first_epoch=spec.search.first_epoch,
            scope=spec.search.scope,
            shared_folds=spec.search.shared_folds,
            code=code,
            unfollowed=tuple(unfollowed),
        )
        check_distinct_runs(study)
        check_looks(study)
        return study

    @cached_property
    def resolver(self) -> Resolver:
        return Resolver(self.spec, self.task, self.registry, self.settings)

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        return variants_of(self.spec, self.resolver, self.layout)

    @cached_property
    def layout(self) -> Layout:
        return layout_of(self.spec, self.resolver)

    def recipe_facts(self, variants: Iterable[Variant]) -> dict[str, str]:
        """Return the recipes that variants inherit, each with its description, for the facts of what was run."""
        used: dict[str, list[str]] = {}
        for variant in variants:
            if found := self.resolver.recipe_of(variant.values):
                used.setdefault(f"{found[0]} ({found[1].help})", []).append(variant.name)
        if not used:
            return {}
        named = [f"{text}: {', '.join(names)}" for text, names in used.items()]
        return {"recipe": next(iter(used)) if len(used) == 1 else "; ".join(named)}

    @cached_property
    def space(self) -> dict[str, Dimension]:
        """The search space by dotted key, with values of the parameters' types."""
        return typed_space(self.spec, self.resolver, self.variants)

    @cached_property
    def space_record(self) -> dict[str, dict[str, object]]:
        """The search space as the record of the study has it."""
        return {key: _without_none(asdict(dimension)) for key, dimension in self.space.items()}

    @cached_property
    def points(self) -> int | None:
        """The most points of a variant's search space, where trials are enough to try each; else None."""
        if not self.space:
            return None
        of_variants = [
            grid_of({key: self.space_record[key] for key in self.space_of(variant)})
            for variant in self.variants
        ]
        counts = [self.spec.search.trials + 1 if points is None else len(points) for points in of_variants]
        return max(counts) if max(counts) <= self.spec.search.trials else None

    @property
    def trials(self) -> int:
        """The trials of a search: those of the study file, or as many as there are points to try."""
        return self.spec.search.trials if self.points is None else self.points

    def space_of(self, variant: Variant) -> dict[str, Dimension]:
        """Return the dimensions of the search space that a variant has."""
        return {key: dimension for key, dimension in self.space.items() if dimension.is_of(variant.levels)}

    def primary_metric(self) -> tuple[Metric, dict[str, Any]]:
        """Return the primary metric and its configuration in a run."""
        given, where = self.spec.analysis.metric, f"{self.spec.file}: analysis.metric"
        return self.metric(given or next(iter(self.task.metrics)), where)

    def metric(self, given: str | Mapping[str, Any], where: str) -> tuple[Metric, dict[str, Any]]:
        """Return a metric and its configuration in a run; raise InputError where there is no such metric."""
        if "metric" in self.task.kinds:
            resolved = self.registry.resolve("metric", given, where)
            return self.registry.metric(resolved), self.registry.reduced("metric", resolved)
        if not isinstance(given, str):
            raise wrong_value(where, "must be the name of a metric.", given)
        if given not in self.task.metrics:
            raise unknown_name(where, f"unknown metric {shown(given)}", given, self.task.metrics)
        return self.task.metrics[given], {"name": given}

    def metrics(self, primary: Metric) -> list[Metric]:
        """Return the study's metrics: the primary one, the task's own, and those that the study describes."""
        named = [
            self.metric(name, f"{self.spec.file}: analysis.metrics")[0] for name in self.spec.analysis.metrics
        ]
        standard = getattr(self.task, "standard", tuple(self.task.metrics))
        own = [self.task.metrics[name] for name in standard]
        return list({metric.name: metric for metric in (primary, *own, *named)}.values())

    def repetition_config(self, variant: Variant) -> dict[str, Any]:
        """Return a variant's configuration in repetitions, paths included, at the first point of the search space."""
        config = dict(variant.config)
        first = {key: dimension.values[0] for key, dimension in self.space_of(variant).items()}
        for key, value in active(self.space_record, first).items():
            config = with_value(config, key, value)
        for key, value in variant.local_paths.items():
            config = with_value(config, key, value)
        return config

    def check_search(self) -> None:
        """Raise InputError where the task says that a search is impossible."""
        check_search = getattr(self.task, "check_search", None)
        if check_search is not None and self.spec.search.trials:
            for variant in self.variants:
                check_search(variant.config, self.space_of(variant), self.spec.file)

    def data_info(self, variant: Variant) -> DataInfo:
        """Return the description of a variant's data; variants with the same data share it."""
        config = self.repetition_config(variant)
        keys = getattr(self.task, "data_keys", None)
        used = config if keys is None else {key: value_at(config, key) for key in keys}
        key = digest([used, dict(variant.local_paths) if keys else {}])
        if key not in self._infos:
            try:
                self._infos[key] = self.task_and_options(variant)[0].data(config, self.progress)
            except InputError as error:
                where = self.spec.file + (": base.dataset" if "dataset" in config else "")
                raise InputError(
                    f"{where}: {error}", replace(error.mistake.or_else(ErrorCode.DATA), key=where)
                ) from None
        info = self._infos[key]
        return replace(info, folds=self.task.folds) if self.task.folds else info

    @cached_property
    def _infos(self) -> dict[str, DataInfo]:
        return {}

    def validate_configs(self, variants: tuple[Variant, ...]) -> None:
        """Validate all configurations of the study by the task, with the revision of the code that each names."""
        by_task: dict[int, tuple[Any, list[dict[str, Any]]]] = {}
        for variant in variants:
            task, _ = self.task_and_options(variant)
            if hasattr(task, "validate"):
                configs = by_task.setdefault(id(task), (task, []))[1]
                configs.append(_without_code(self.repetition_config(variant)))
        for task, configs in by_task.values():
            is_exported = task is not self.task
            try:
                with _import_first(
                    self.import_paths({EXPORT: str(task.options.code)}) if is_exported else ()
                ):
                    task.validate(configs)
            except InputError as error:
                raise error.within(self.spec.file) from None

    def task_and_options(self, variant: Variant) -> tuple[Task, dict[str, Any]]:
        """Return the task and its options, with the revision of the code that a variant names."""
        if EXPORT not in self.options or CODE not in variant.config:
            return self.task, self.options
        revision = variant.config[CODE]
        if revision not in self._revisions:
            try:
                store = self.settings.code
                code = export(revision, self.settings.root, store, (*self.outputs, store))
                options = {**self.options, EXPORT: str(code)}
                self._revisions[revision] = self.registry.task(options), options
            except InputError as error:
                raise error.within(self.spec.file) from None
        return self._revisions[revision]

    @cached_property
    def _revisions(self) -> dict[str, tuple[Task, dict[str, Any]]]:
        return {}

    def variant_record(
        self, variant: Variant, info: DataInfo, metric: Mapping[str, Any], primary: Metric
    ) -> tuple[VariantRecord, Code]:
        """Return the record of a variant, and its code."""
        task, options = self.task_and_options(variant)
        config = dict(variant.config) if task is self.task else _without_code(variant.config)
        components = {key: one for key, one in self.space_of(variant).items() if one.is_component}
        configs = [
            config,
            *({**config, key: choice} for key, one in components.items() for choice in one.values),
        ]
        configs = configs[1:] if components else configs
        with _import_first(self.import_paths(options) if task is not self.task else ()):
            owns, of_metric = (
                [code_of_sources(task.sources(one)) for one in configs],
                self.code_of_metric(metric),
            )
        parts = {name: text for own in owns for name, text in own.parts.items()}
        unfollowed = dict.fromkeys(call for own in owns for call in own.unfollowed)
        code = Code({**parts, **of_metric.parts}, tuple(unfollowed) + of_metric.unfollowed)
        if hasattr(task, "for_device"):
            fitted = [cast(CanFitDevice, task).for_device(one, self.device) for one in configs]
            settled = [{name: one for name, one in each.items() if name not in components} for each in fitted]
            if any(each != settled[0] for each in settled):
                raise conflict(
                    f"{self.spec.file}: train.graph",
                    "only some of the searched components can be recorded as a CUDA graph; set it to false.",
                )
            config = settled[0]
        for key in self.space_of(variant):
            if key.partition(".")[0] not in components:
                config = with_value(config, key, None)
        config = {**config, **dict.fromkeys(components)}
        template = RunSpec(
            config=config,
            seed=0,
            data_digest=info.digest,
            code_digest=code_digest(code.parts),
            device="cuda" if self.device == "cuda" else "cpu",
            threads=task.threads,
            task=str(self.spec.task["name"]),
            metric=metric,
            direction=primary.direction,
            counts=dict(task.counts),
            options=options,
            local_paths=variant.local_paths,
            modules=self.settings.components,
            import_paths=self.import_paths(options),
            legacy=self.legacy_of(variant, components),
            epochs_key=task.epochs_key,
            loader_workers=self.settings.loader_workers,
        )
        record = VariantRecord(
            variant.name,
            variant.levels,
            variant.reference,
            template,
            info.digests,
            info.fold_key,
            in_trials=variant.in_trials,
        )
        return record, code

    def legacy_of(self, variant: Variant, components: Mapping[str, Dimension]) -> dict[str, Any]:
        """Return the legacy defaults of a variant, those of the components that its search may choose included."""
        legacy = dict(variant.legacy)
        for key, dimension in components.items():
            for choice in dimension.values:
                legacy |= self.resolver.resolve({**variant.values, key: choice}, "search.space").legacy
        return legacy

    def code_of_metric(self, metric: Mapping[str, Any]) -> Code:
        """Return the primary metric's code; none for a metric of the harness."""
        if "metric" not in self.task.kinds:
            return Code({})
        module = self.registry.get("metric", metric["name"]).module
        return Code({}) if module.partition(".")[0] == HARNESS else code_of([module])

    def import_paths(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the folders that a worker imports the user's modules from: those of the study file and study.toml.

        With an exported revision of the code, the same folders inside it come first.
        """
        root, folder = self.settings.root, Path(self.spec.file).resolve().parent
        folders = [folder, root]
        if code := options.get(EXPORT):
            exported = [Path(code, folder.relative_to(root))] if folder.is_relative_to(root) else []
            folders = [*exported, Path(code), root]
        return tuple(dict.fromkeys(map(str, folders)))

    def measures(self, variants: tuple[Variant, ...], code: dict[str, Mapping[str, str]]) -> dict[str, str]:
        """Return the digest of each measure's code by name; its parts are added to `code`."""
        names, where = self.spec.analysis.measures, f"{self.spec.file}: analysis.measures"
        if twice := [name for name in names if names.count(name) > 1]:
            raise conflict(where, f"names {twice[0]!r} twice.")
        if not hasattr(self.task, "measures"):
            raise conflict(where, f"the task {self.spec.task['name']!r} has no measures.")
        digests = {}
        configs = [self.repetition_config(variant) for variant in variants]
        for name, sources in cast(CanMeasure, self.task).measures(names, configs, where).items():
            parts = code_of_sources(sources).parts
            digests[name] = code_digest(parts)
            code[digests[name]] = parts
        return digests


SHORT_RANGE = 16
"""A range of at most this many integers is tried in full."""


def try_variants(study: StudyRecord) -> None:
    """Try every variant on one batch, before anything is trained.

    Raises:
        InputError: A variant that cannot be trained, or that would be trained on test examples.
    """
    for variant in study.variants:
        task = task_of(variant.template)
        if not hasattr(task, "check"):
            return
        for searched in _points_to_try(study.space_of(variant), getattr(task, "tables", ())):
            point = study.point(variant, searched)
            run = variant.run(point, study.seed, study.folds_of(variant)[0])
            try:
                cast(CanCheck, task).check(run)
            except InputError as error:
                at = "".join(f", {key} = {value!r}" for key, value in searched.items())
                mistake = replace(error.mistake.or_else(ErrorCode.UNTRAINABLE), file=study.file)
                raise InputError(f"{study.file}: variant {variant.name!r}{at}: {error}", mistake) from None


def _points_to_try(space: Mapping[str, Mapping[str, Any]], tables: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the first point of a search space, then each further choice of a component's parameter.

    The integers of a short range are choices; of other ranges the upper bound is tried.
    """
    yield {}
    for key, dimension in space.items():
        if key.partition(".")[0] not in tables:
            low, high = dimension.get("low", 0), dimension.get("high", 0)
            is_short = isinstance(low, int) and isinstance(high, int) and high - low < SHORT_RANGE
            further = range(low + 1, high + 1) if is_short else [high]
            for value in dimension["choices"][1:] if "choices" in dimension else further:
                yield {**_having(space, dimension), key: value}
            if "given" in dimension:
                yield _having(space, dimension)


def _having(space: Mapping[str, Mapping[str, Any]], dimension: Mapping[str, Any]) -> dict[str, Any]:
    """Return choices of components with which a trial has a dimension."""
    return {
        kind: next(choice for choice in space[kind]["choices"] if choice["name"] in names)
        for kind, names in dimension.get("given", {}).items()
    }


@contextmanager
def _import_first(folders: Iterable[str]) -> Iterator[None]:
    """Put folders at the front of the module path inside the block."""
    original = list(sys.path)
    sys.path[:0] = folders
    try:
        yield
    finally:
        sys.path[:] = original


def code_of_sources(sources: Sources) -> Code:
    """Return the digests of modules and files whose content counts, and what cannot be followed."""
    if sources.version is not None:
        return Code({"version": digest(sources.version)})
    return code_of(sources.modules, sources.follow, sources.root, sources.files)


def _standard_output_files() -> Iterator[Path]:
    """Yield the files that standard output and standard error are redirected to."""
    for descriptor in ("1", "2"):
        link = Path("/proc/self/fd", descriptor)
        if link.is_file():
            yield link.resolve()


def _without_code(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != CODE}


def _without_none(table: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in table.items() if value not in (None, {})}


def _given(claim: Claim) -> dict[str, object]:
    """Return the keys of a claim that its form has."""
    keys = asdict(claim)
    return {key: keys[key] for key in (("effect", "levels", "sign") if claim.effect else ("that", "beats"))}
