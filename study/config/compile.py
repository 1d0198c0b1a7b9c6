"""From a study as it was written to the record of what will be done: every identity known, nothing written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from study.config.designs import Variant, claimed, variants
from study.config.registry import Registry
from study.config.resolve import Resolver
from study.config.revisions import CODE, export
from study.config.settings import Settings
from study.config.study import StudySpec, dimensions
from study.config.tables import leaves
from study.errors import InputError, nearest, quoted
from study.hashing import HARNESS, code_digest, code_parts, digest
from study.ledger.record import ClaimRecord, StudyRecord, VariantRecord, with_value
from study.metrics import Metric
from study.records import DataInfo, RunSpec
from study.task import CanCheck, CanDescribe, CanMeasure, Sources, Task

Progress = Callable[[int, int], None]

ROOT, EXPORT, OUTPUTS = "root", "export", "outputs"
"""Options of a task that the harness sets: where its files are, the revision of the code that runs, what is no code."""


def compile_study(
    spec: StudySpec, settings: Settings, device: str, progress: Progress | None = None
) -> StudyRecord:
    """Return the record of what `spec` asks for: every variant resolved, every identity known.

    Recorded data are read once, unless a cache knows them; `progress` takes how far that is.

    Raises:
        InputError: Whatever the file names that is not there, before anything is written.
    """
    return _Compiler(spec, settings, device, progress).record()


@dataclass(frozen=True)
class _Compiler:
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
        own = {ROOT: str(self.settings.root), OUTPUTS: [str(path) for path in self.outputs]}
        return {**options, **{key: value for key, value in own.items() if key in options}}

    @property
    def outputs(self) -> tuple[Path, ...]:
        """Folders and files that the harness itself writes, its own output where that goes to a file included."""
        return self.settings.ledger, self.settings.reports, *_own_output()

    @cached_property
    def task(self) -> Task:
        options = self.options
        try:
            return self.registry.task(options)
        except InputError as error:
            raise InputError(f"{self.spec.file}: {error}") from None

    @property
    def file(self) -> str:
        """The study's file, relative to the folder of study.toml where it lies below it."""
        path, root = Path(self.spec.file).resolve(), self.settings.root
        return str(path.relative_to(root) if path.is_relative_to(root) else path)

    def record(self) -> StudyRecord:
        spec, task = self.spec, self.task
        primary, config = self.metric()
        cells = variants(spec, Resolver(spec, task, self.registry, self.settings))
        self.validate(cells)
        self.check_confirm(cells)
        claims = [claimed(claim, spec, cells, f"{spec.file}: claims") for claim in spec.claims]
        records, infos, code = [], [], dict[str, Mapping[str, str]]()
        for cell in cells:
            info = self.data(cell)
            record, parts = self.variant(cell, info, config, primary)
            records.append(record)
            infos.append(info)
            code[record.template.code_digest] = parts
        measures = {} if not spec.analysis.measures else self.measures(cells, code)
        configs = [self.final(cell) for cell in cells]
        return StudyRecord(
            name=spec.name,
            file=self.file,
            title=spec.title,
            question=spec.question,
            seed=spec.seed,
            metric=primary.name,
            rope=spec.analysis.rope,
            alpha=spec.analysis.alpha,
            variants=tuple(records),
            claims=tuple(ClaimRecord(that.name, beats.name) for that, beats in claims),
            space={key: _without_none(asdict(dimension)) for key, dimension in dimensions(spec).items()},
            trials=spec.search.trials,
            generation=spec.search.generation,
            sampler=spec.search.sampler,
            repetitions=spec.repetitions,
            folds=infos[0].folds or (None,),
            data=_joined(list({digest(asdict(info)): info for info in infos}.values())),
            claims_digest=digest([asdict(claim) for claim in spec.claims]),
            root=str(self.settings.root),
            task=str(spec.task["name"]),
            metrics=tuple(replace(metric, compute=None) for metric in self.metrics(primary)),
            facts=dict(cast(CanDescribe, task).facts(configs)) if hasattr(task, "facts") else {},
            confirm=spec.confirm,
            has_profile=task.has_profile,
            measures=tuple(f"{name}@{code_id}" for name, code_id in measures.items()),
            pruner=spec.search.pruner,
            reduction=spec.search.reduction,
            first_epoch=spec.search.first_epoch,
            code=code,
        )

    def metric(self) -> tuple[Metric, dict[str, Any]]:
        """Return the primary metric and what names it in a run."""
        given, where = self.spec.analysis.metric, f"{self.spec.file}: analysis.metric"
        return self.named_metric(given or next(iter(self.task.metrics)), where)

    def named_metric(self, given: str | Mapping[str, Any], where: str) -> tuple[Metric, dict[str, Any]]:
        if "metric" in self.task.kinds:
            resolved = self.registry.resolve("metric", given, where)
            metric = self.registry.metric(resolved)
            declared = self.registry.get("metric", resolved["name"]).parameters
            own = {
                key: value
                for key, value in resolved.items()
                if key == "name" or value != declared[key].default
            }
            return metric, own
        if not isinstance(given, str):
            raise InputError(f"{where}: must be the name of a metric. Got {given!r} instead.")
        if given not in self.task.metrics:
            raise InputError(
                f"{where}: unknown metric {given!r}.{nearest(given, self.task.metrics)} "
                f"Allowed: {quoted(self.task.metrics)}."
            )
        return self.task.metrics[given], {"name": given}

    def metrics(self, primary: Metric) -> list[Metric]:
        """Return the study's metrics: the primary one, the task's own, and those that the study describes."""
        named = [
            self.named_metric(name, f"{self.spec.file}: analysis.metrics")[0]
            for name in self.spec.analysis.metrics
        ]
        standard = getattr(self.task, "standard", tuple(self.task.metrics))
        own = [self.task.metrics[name] for name in standard]
        return list({metric.name: metric for metric in (primary, *own, *named)}.values())

    def final(self, cell: Variant) -> dict[str, Any]:
        """Return a configuration as its repetitions are trained, local_paths included."""
        config = dict(cell.config)
        for key, dimension in dimensions(self.spec).items():
            config = with_value(config, key, (dimension.choices or [dimension.low])[0])
        for key, value in (*self.spec.confirm.items(), *cell.local_paths.items()):
            config = with_value(config, key, value)
        return config

    def check_confirm(self, cells: Iterable[Variant]) -> None:
        """Raise InputError where ``[confirm]`` names what a configuration does not have."""
        resolver = Resolver(self.spec, self.task, self.registry, self.settings)
        if self.spec.confirm:
            known = {key for cell in cells for key in leaves(cell.config)}
            for key in self.spec.confirm:
                if key not in known:
                    raise InputError(
                        f"{self.spec.file}: confirm.{key}: no variant has this key.{nearest(key, known)}"
                    )
            resolver.resolve(self.spec.confirm, section="confirm")
        try_variants = getattr(self.task, "check_search", None)
        if try_variants is not None and self.spec.search.trials:
            for cell in cells:
                try_variants(cell.config, tuple(dimensions(self.spec)), self.spec.file)

    def data(self, cell: Variant) -> DataInfo:
        config = self.final(cell)
        keys = getattr(self.task, "data_keys", None)
        needed = config if keys is None else {key: _at(config, key) for key in keys}
        key = digest([needed, dict(cell.local_paths) if keys else {}])
        if key not in self._infos:
            try:
                self._infos[key] = self.task_of(cell)[0].data(config, self.progress)
            except InputError as error:
                where = "base.dataset: " if "dataset" in config else ""
                raise InputError(f"{self.spec.file}: {where}{error}") from None
        info = self._infos[key]
        return replace(info, folds=self.task.folds) if self.task.folds else info

    @cached_property
    def _infos(self) -> dict[str, DataInfo]:
        return {}

    def validate(self, cells: tuple[Variant, ...]) -> None:
        """Let the task check all configurations of the study, by the revision of the code that each names."""
        by_task: dict[int, tuple[Any, list[dict[str, Any]]]] = {}
        for cell in cells:
            task, _ = self.task_of(cell)
            if hasattr(task, "validate"):
                by_task.setdefault(id(task), (task, []))[1].append(_without_code(self.final(cell)))
        for task, configs in by_task.values():
            try:
                with _found_first(
                    self.import_paths({EXPORT: str(task.options.code)}) if task is not self.task else ()
                ):
                    task.validate(configs)
            except InputError as error:
                raise InputError(f"{self.spec.file}: {error}") from None

    def task_of(self, cell: Variant) -> tuple[Task, dict[str, Any]]:
        """Return the task, and its options, as they are in the revision of the code that a variant names."""
        if EXPORT not in self.options or CODE not in cell.config:
            return self.task, self.options
        revision = cell.config[CODE]
        if revision not in self._revisions:
            try:
                store = self.settings.ledger.parent / "code"
                code = export(revision, self.settings.root, store, (*self.outputs, store))
                options = {**self.options, EXPORT: str(code)}
                self._revisions[revision] = self.registry.task(options), options
            except InputError as error:
                raise InputError(f"{self.spec.file}: {error}") from None
        return self._revisions[revision]

    @cached_property
    def _revisions(self) -> dict[str, tuple[Task, dict[str, Any]]]:
        return {}

    def variant(
        self, cell: Variant, info: DataInfo, metric: Mapping[str, Any], primary: Metric
    ) -> tuple[VariantRecord, Mapping[str, str]]:
        task, options = self.task_of(cell)
        config = dict(cell.config) if task is self.task else _without_code(cell.config)
        with _found_first(self.import_paths(options) if task is not self.task else ()):
            parts = {**code_of(task.sources(config)), **self.code_of_metric(metric)}
        for key in dimensions(self.spec):
            config = with_value(config, key, None)
        template = RunSpec(
            config=config,
            seed=0,
            data_digest=info.digest,
            code_digest=code_digest(parts),
            device="cuda" if self.device == "cuda" else "cpu",
            threads=task.threads,
            task=str(self.spec.task["name"]),
            metric=metric,
            direction=primary.direction,
            counts=dict(task.counts),
            options=options,
            local_paths=cell.local_paths,
            modules=self.settings.components,
            import_paths=self.import_paths(options),
            legacy=cell.legacy,
            epochs_key=task.epochs_key,
            loader_workers=self.settings.loader_workers,
        )
        record = VariantRecord(cell.name, cell.levels, cell.reference, template, info.digests, info.fold_key)
        return record, parts

    def code_of_metric(self, metric: Mapping[str, Any]) -> dict[str, str]:
        """Return the code of the primary metric where it is a component of the user's own."""
        if "metric" not in self.task.kinds:
            return {}
        module = self.registry.get("metric", metric["name"]).module
        return {} if module.partition(".")[0] == HARNESS else code_parts([module])

    def import_paths(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Return where a worker looks for the user's modules: beside the study file, then beside study.toml.

        In a revision of the code, the same folders of it come first.
        """
        root, beside = self.settings.root, Path(self.spec.file).resolve().parent
        folders = [beside, root]
        if code := options.get(EXPORT):
            inside = [Path(code, beside.relative_to(root))] if beside.is_relative_to(root) else []
            folders = [*inside, Path(code), root]
        return tuple(dict.fromkeys(map(str, folders)))

    def measures(self, cells: tuple[Variant, ...], code: dict[str, Mapping[str, str]]) -> dict[str, str]:
        """Return the digest of each measure's code by its name."""
        names, where = self.spec.analysis.measures, f"{self.spec.file}: analysis.measures"
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"{where}: names {twice[0]!r} twice.")
        if not hasattr(self.task, "measures"):
            raise InputError(f"{where}: the task {self.spec.task['name']!r} has no measures.")
        found = {}
        asked = cast(CanMeasure, self.task).measures(names, [self.final(cell) for cell in cells], where)
        for name, sources in asked.items():
            parts = code_of(sources)
            found[name] = code_digest(parts)
            code[found[name]] = parts
        return found


def try_variants(study: StudyRecord) -> None:
    """Try every variant on one batch, so that what does not fit is said before anything is trained.

    Raises:
        InputError: A variant whose training cannot work, or that would be trained on test examples.
    """
    for variant in study.variants:
        run = variant.run({**study.first_point, **study.confirm}, study.seed, study.folds[0])
        task = Registry(run.modules, run.task).task(run.options or {"name": run.task})
        if not hasattr(task, "check"):
            return
        try:
            cast(CanCheck, task).check(run)
        except InputError as error:
            raise InputError(f"{study.file}: variant {variant.name!r}: {error}") from None


@contextmanager
def _found_first(folders: Iterable[str]) -> Iterator[None]:
    """Look for modules in `folders` before all others meanwhile: a revision's before the user's own."""
    before = list(sys.path)
    sys.path[:0] = folders
    try:
        yield
    finally:
        sys.path[:] = before


def code_of(sources: Sources) -> dict[str, str]:
    """Return the digests of the code and files whose content counts, by name."""
    if sources.version is not None:
        return {"version": digest(sources.version)}
    return code_parts(sources.modules, sources.follow, sources.root, sources.files)


def _own_output() -> Iterator[Path]:
    for descriptor in ("1", "2"):
        link = Path("/proc/self/fd", descriptor)
        if link.is_file():
            yield link.resolve()


def _joined(infos: list[DataInfo]) -> DataInfo:
    """Return the first variant's data with whatever the others' add that limits a conclusion."""
    facts: dict[str, dict[str, None]] = {}
    for info in infos:
        for name, value in info.facts.items():
            facts.setdefault(name, {})[value] = None
    return replace(
        infos[0],
        facts={name: " or ".join(values) for name, values in facts.items()},
        warnings=tuple(dict.fromkeys(line for info in infos for line in info.warnings)),
        skipped=tuple(dict.fromkeys(line for info in infos for line in info.skipped)),
        is_optimistic=any(info.is_optimistic for info in infos),
    )


def _at(config: Mapping[str, Any], key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _without_code(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != CODE}


def _without_none(table: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in table.items() if value is not None}
