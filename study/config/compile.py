"""From a study as it was written to the record of what will be done: every identity known, nothing written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from study.engine import plan
from study.tasks.clips.data.contract import Dataset, Split
from study.tasks.clips.data.sets.recorded import Progress, Recorded
from study.config.designs import Variant, claimed, variants
from study.errors import InputError, listing
from study.hashing import code_digest, code_parts, digest
from study.ledger.record import ClaimRecord, DataRecord, SplitSizes, StudyRecord, VariantRecord
from study.records import RunSpec
from study.config.registry import KINDS, Registry
from study.config.settings import Settings
from study.config.study import StudySpec, dimensions
from study.tasks.clips.measures.contract import needed_truth

SPLITS: tuple[Split, ...] = ("train", "selection", "test")

TARGETS: Mapping[plan.JobKind, str] = {
    "train": "study.tasks.clips.training.train:train",
    "evaluate": "study.tasks.clips.training.evaluate:evaluate",
    "measure": "study.tasks.clips.measures.measure:measure",
    "profile": "study.tasks.clips.profiling.counts:profile",
}


def prepare(
    spec: StudySpec,
    registry: Registry,
    settings: Settings,
    device: str,
    progress: Progress | None = None,
) -> StudyRecord:
    """Return the record of what `spec` asks for: every variant resolved, every identity known.

    Recorded clips are all read once, unless the cache knows them; `progress` is told how far that is.

    Raises:
        InputError: Whatever the file names that is not there, before anything is written.
    """
    cells = variants(spec, registry, settings)
    _check_selection(spec, cells)
    datasets: dict[str, Dataset] = {}
    for cell in cells:
        if _key(cell) not in datasets:
            datasets[_key(cell)] = _dataset(cell, registry, spec.file, progress)
    claims = [claimed(claim, cells, f"{spec.file}: claims") for claim in spec.claims]
    records = [_variant(c, spec.search.space, datasets[_key(c)], registry, settings, device) for c in cells]
    return StudyRecord(
        name=spec.name,
        file=spec.file,
        title=spec.title,
        question=spec.question,
        seed=spec.seed,
        metric=spec.analysis.metric,
        rope=spec.analysis.rope,
        alpha=spec.analysis.alpha,
        variants=tuple(records),
        claims=tuple(ClaimRecord(that.name, beats.name) for that, beats in claims),
        space={key: _without_none(asdict(dimension)) for key, dimension in dimensions(spec).items()},
        trials=spec.search.trials,
        generation=spec.search.generation,
        sampler=spec.search.sampler,
        seeds=spec.confirm.seeds,
        final=spec.confirm.final,
        folds=datasets[_key(cells[0])].folds or (None,),
        data=_data_record(cells[0].config["dataset"]["name"], list(datasets.values())),
        claims_digest=digest([asdict(claim) for claim in spec.claims]),
        measures=tuple(_measures(spec, registry, datasets.values())),
        pruner=spec.search.pruner,
        reduction=spec.search.reduction,
        first_epoch=spec.search.first_epoch,
        code={digest(parts): parts for parts in _code(spec, cells, registry)},
    )


def check(study: StudyRecord) -> None:
    """Build every variant's network once, so that what does not fit is said before anything is trained.

    Raises:
        InputError: Parts of a variant that do not go together, or do not fit the clips, or test clips that would
            be trained on.
    """
    from study.tasks.clips.training.check import check as check_run

    final = {} if study.final == "best" else {"train.fit": study.final}
    for variant in study.variants:
        try:
            check_run(variant.run({**study.first_point, **final}, study.seed, study.folds[0]))
        except InputError as error:
            raise InputError(f"{study.file}: variant {variant.name!r}: {error}") from None


def _check_selection(spec: StudySpec, cells: Iterable[Variant]) -> None:
    """Raise InputError where a search would have nothing to judge its trials by."""
    fits = {str(cell.config["train"]["fit"]) for cell in cells}
    if spec.search.trials and ("train+val" in fits or "train.fit" in spec.search.space):
        raise InputError(
            f"{spec.file}: train.fit: 'train+val' trains on the selection split, so the search has nothing to judge "
            "its trials by. Set confirm.final = 'train+val' to train on it once the search is over."
        )


def _dataset(cell: Variant, registry: Registry, file: str, progress: Progress | None) -> Dataset:
    places = {key.partition(".")[2]: path for key, path in cell.places.items() if key.startswith("dataset.")}
    try:
        dataset: Dataset = registry.build("dataset", {**cell.config["dataset"], **places})
        if isinstance(dataset, Recorded):
            dataset.inspect(progress)
            assert dataset.digest  # says now what cannot be read
    except InputError as error:
        raise InputError(f"{file}: base.dataset: {error}") from None
    return dataset


def _measures(spec: StudySpec, registry: Registry, datasets: Iterable[Dataset]) -> Iterator[str]:
    """Yield the measures that the study asks for, each with the digest of its code.

    Raises:
        InputError: There is no such measure, it is named twice, or it needs a truth that a data set does not know.
    """
    where = f"{spec.file}: analysis.measures"
    for name in spec.analysis.measures:
        registry.resolve("measure", name, where)
        if spec.analysis.measures.count(name) > 1:
            raise InputError(f"{where}: names {name!r} twice.")
        needed = needed_truth(registry.builder("measure", name))
        for dataset in datasets if needed else ():
            if absent := set(needed) - set(dataset.split("test", next(iter(dataset.folds), None)).truth):
                raise InputError(
                    f"{where}: the measure {name!r} needs a data set whose clips' true {listing(sorted(absent))} "
                    "is known, such as 'faces'. Leave it out, or measure it in a study on such a data set."
                )
        yield f"{name}@{code_digest(_modules_of_measure(name, registry))}"


def _code(spec: StudySpec, cells: Iterable[Variant], registry: Registry) -> Iterator[dict[str, str]]:
    """Yield what every digest of code in the study's record is made of."""
    for cell in cells:
        yield code_parts(modules_of(cell.config, registry))
    for name in spec.analysis.measures:
        yield code_parts(_modules_of_measure(name, registry))


def modules_of(config: Mapping[str, Mapping[str, Any]], registry: Registry) -> list[str]:
    """Return the modules that the training and the test of a configuration run, as far as it names them."""
    modules = {registry.get(kind, table["name"]).module for kind, table in config.items() if kind in KINDS}
    return sorted(modules | {TARGETS[job].partition(":")[0] for job in ("train", "evaluate")})


def _modules_of_measure(name: str, registry: Registry) -> list[str]:
    return [TARGETS["measure"].partition(":")[0], registry.get("measure", name).module]


def _variant(
    cell: Variant, space: Iterable[str], dataset: Dataset, registry: Registry, settings: Settings, device: str
) -> VariantRecord:
    config = {kind: dict(table) for kind, table in cell.config.items()}
    for key in space:
        kind, _, parameter = key.partition(".")
        config[kind][parameter] = None
    template = RunSpec(
        config=config,
        seed=0,
        data_digest=dataset.digest,
        code_digest=code_digest(modules_of(cell.config, registry)),
        device="cuda" if device == "cuda" else "cpu",
        places=cell.places,
        modules=settings.components,
        neutral=cell.neutral,
        loader_workers=settings.loader_workers,
    )
    digests = {str(fold): dataset.digest_of(fold) for fold in dataset.folds}
    return VariantRecord(cell.name, cell.levels, cell.reference, template, digests)


def _key(cell: Variant) -> str:
    return digest([cell.config["dataset"], cell.places])


def _data_record(name: str, datasets: Sequence[Dataset]) -> DataRecord:
    """Return what there is to say of the first data set, and what any of the others adds against a conclusion."""
    dataset = datasets[0]
    shape = dataset.shape
    description = (
        f"{shape.frames} frames of {shape.height} x {shape.width} pixels, {shape.channels} channel(s)"
    )
    sizes = tuple(_sizes(dataset, fold) for fold in dataset.folds or (None,))
    return DataRecord(
        name=name,
        digest=dataset.digest,
        classes=dataset.classes,
        description=description,
        sizes=sizes,
        is_procedural=any(other.is_procedural for other in datasets),
        is_optimistic=any(other.is_optimistic for other in datasets),
        facts=_facts(datasets),
        skipped=tuple(dict.fromkeys(line for other in datasets for line in other.skipped)),
        scenes=_scenes(dataset),
    )


def _facts(datasets: Sequence[Dataset]) -> dict[str, str]:
    """Return the facts of all data sets, every value where they differ."""
    found: dict[str, dict[str, None]] = {}
    for dataset in datasets:
        for name, value in dataset.facts.items():
            found.setdefault(name, {})[value] = None
    return {name: " or ".join(values) for name, values in found.items()}


def _scenes(dataset: Dataset) -> dict[str, int]:
    tests = (dataset.split("test", fold).scenes for fold in dataset.folds or (None,))
    return dict(sorted(Counter(scene for scenes in tests for scene in scenes).items()))


def _sizes(dataset: Dataset, fold: int | None) -> SplitSizes:
    train, selection, test = (dataset.split(name, fold).labels for name in SPLITS)
    largest = max(Counter(test.tolist()).values(), default=0) / max(len(test), 1)
    return SplitSizes(len(train), len(selection), len(test), largest)


def _without_none(table: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in table.items() if value is not None}
