"""Task of video clip classification: kinds of components, data, sources, and the jobs of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

from study.config.registry import Internal, Registry, component
from study.errors import conflict, quoted, wrong_value
from study.ledger.layout import CLIPS_CHECKPOINT, CLIPS_WEIGHTS
from study.metrics import Metric
from study.records import DataInfo, Measurement, Profile, RunSpec, SplitSizes
from study.run import Run, Select
from study.task import Config, Kind, Progress, Sources, Task
from study.tasks.clips.training.settings import TrainSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from study.tasks.clips.data.contract import Dataset

ENGINE = 1
"""Raised by hand when the training loop changes numbers: counts towards the identity of every run."""
NETS, DATA, MEASURES = "study.tasks.clips.nets", "study.tasks.clips.data", "study.tasks.clips.measures"

SYNTHETIC = (
    "The data set is procedural: its faces were rendered by a program. Results on them are no evidence about "
    "real faces; run the study on a real data set before you conclude anything about those."
)
FINAL = {
    "train": "trained on the train split, the epoch that is best on the validation split is tested",
    "train+val": "trained on the train and validation splits for all epochs, the last one is tested (train+val)",
}
"""Training data and tested epoch of the repetitions, by ``train.fit``."""
IFDD_PAPER = (
    "Wang and Chai: Lifting Scheme-Based Implicit Disentanglement of Emotion-Related Facial Dynamics in the Wild, "
    "AAAI 2025, arXiv:2412.13168"
)
"""The paper of the network IFDD, as in CITATION.cff."""
MOST_CLIPS = 20_000_000
"""The largest synthetic data set: labels and facts of all its clips are in memory."""
DEFAULT_K = 2
"""Default k of top-k accuracy."""
RECORDED_BACKBONES = ("conv-tiny", "mfvit-xs", "mvit-tiny")
"""Backbones whose steps ``train.graph = "auto"`` records on a GPU: launches take much of their time, and they read
nothing on the host."""
RECORDED_OPTIMIZERS = ("adamw", "sgd")
IFDD_KINDS = ("network", "splitter", "lifting", "readout", "head", "loss")
"""Kinds whose components must be IFDD's own for that."""
FIRST = ("war", "uar")
"""Metrics of every run; the first is primary if a study names none."""

_KINDS = (
    Kind("dataset", (), "clips, labels and splits", default="faces", is_searchable=False),
    Kind("network", ("shape", "classes", "build"), "clips to logits", default="ifdd"),
    Kind("backbone", ("shape",), "clips to feature maps"),
    Kind("splitter", ("features",), "a clip's frames to a static and a dynamic group"),
    Kind("lifting", ("groups",), "takes from the dynamic group what the static one predicts"),
    Kind("readout", ("groups",), "groups to one feature vector"),
    Kind("head", ("features", "classes"), "feature vector to logits"),
    Kind("loss", (), "output and targets to a scalar", default="cross-entropy-context"),
    Kind("augmentation", (), "random changes of training clips", default="none"),
    Kind(
        "optimizer",
        ("parameters", "lr", "weight_decay"),
        "updates weights",
        default="adamw",
        legacy_default="adamw",
    ),
    Kind(
        "schedule",
        ("peak", "epochs", "warmup_epochs", "steps_per_epoch"),
        "learning rate of each step",
        default="cosine",
        legacy_default="cosine",
    ),
    Kind("metric", ("labels", "logits"), "score of predictions", is_configured=False),
    Kind("measure", ("seen",), "analysis of trained networks", is_configured=False),
)
KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _KINDS})
COMPONENTS = (
    "study.tasks.clips.data.faces.dataset",
    "study.tasks.clips.data.sets.dfew",
    "study.tasks.clips.data.sets.ferv39k",
    "study.tasks.clips.data.sets.mafw",
    "study.tasks.clips.data.sets.folder",
    "study.tasks.clips.nets.ifdd.network",
    "study.tasks.clips.nets.video.baselines",
    "study.tasks.clips.nets.peers.former_dfer",
    "study.tasks.clips.nets.peers.m3dfel",
    "study.tasks.clips.nets.peers.mae_dfer",
    "study.tasks.clips.nets.video.backbones",
    "study.tasks.clips.nets.video.torchvision_backbones",
    "study.tasks.clips.nets.ifdd.splitters",
    "study.tasks.clips.nets.ifdd.lifting",
    "study.tasks.clips.nets.ifdd.readouts",
    "study.tasks.clips.nets.video.temporal",
    "study.tasks.clips.nets.ifdd.heads",
    "study.tasks.clips.nets.ifdd.losses",
    "study.tasks.clips.data.augmentation",
    "study.tasks.clips.data.randaugment",
    "study.tasks.clips.training.optim.optimizers",
    "study.tasks.clips.training.optim.schedules",
    "study.tasks.clips.metrics",
    "study.tasks.clips.measures.disentanglement",
)
"""Modules of the built-in components."""


@component("task")
def clips(
    registry: Registry,
    *,
    sources: Annotated[
        list[str], "files of code or data that count besides what is followed, as patterns"
    ] = [],  # noqa: B006
    root: Annotated[str, Internal(), "the folder of study.toml"] = "",
) -> Task:
    """Classification of video clips by a network in PyTorch."""
    return ClipsTask(registry, tuple(sources), Path(root or "."))


class ClipsTask:
    """Training, test and profile of networks that classify clips.

    Args:
        registry: The components of the task.
        sources: Patterns of files whose bytes count in the identity.
        root: The folder that they are relative to.
    """

    kinds = KINDS
    tables: Mapping[str, type] = MappingProxyType({"train": TrainSettings})
    folds: tuple[int, ...] = ()
    threads = 1
    select: Select = "best"
    resumes = True
    epochs_key = "train.epochs"
    weights_name = CLIPS_WEIGHTS
    checkpoint_name = CLIPS_CHECKPOINT
    has_profile = True
    preload: tuple[str, ...] = (
        "study.tasks.clips.data.generate",
        "study.tasks.clips.training.train",
        "study.tasks.clips.training.evaluation.evaluate",
        "study.tasks.clips.measures.measure",
        "study.tasks.clips.profiling.counts",
        "torch._dynamo",  # the first optimizer would import it in every worker
        "study.tasks.clips.declared",
    )
    standard = FIRST
    """Metrics that every run reports."""
    data_keys = ("dataset", "train.fit")
    """Keys that `data` depends on."""

    def __init__(self, registry: Registry, sources: Sequence[str] = (), root: Path = Path()) -> None:
        self.registry = registry
        self._patterns, self._root = sources, root
        self.counts: Mapping[str, Any] = {"engine": ENGINE}
        self.metrics: Mapping[str, Metric] = {
            metric.name: metric for metric in map(registry.metric, _usable(registry))
        }
        """The registered metrics whose parameters have defaults, WAR and UAR first."""

    def data(self, config: Config, progress: Callable[[int, int], None] | None = None) -> DataInfo:
        """Return digest, sizes and facts of the data set in a configuration, whose paths are resolved.

        All recorded clips are read once, unless they are in the cache.

        Raises:
            InputError: The data set cannot be read.
        """
        from study.tasks.clips.published import published

        table = config["dataset"]
        dataset = self._dataset(table)
        _check_size(dataset)
        if hasattr(dataset, "inspect"):
            dataset.inspect(progress)
        digest = dataset.digest  # reports what cannot be read
        unsound, doubts = _remarks(dataset)
        shape, classes = dataset.shape, len(dataset.classes)
        fit = config.get("train", {}).get("fit", "train")
        info = DataInfo(
            name=table["name"],
            digest=digest,
            digests={str(fold): dataset.digest_of(fold) for fold in dataset.folds},
            folds=tuple(dataset.folds),
            fold_key="dataset.folds" if "folds" in table else "",
            description=f"{shape.frames} frames of {shape.height} x {shape.width} pixels, {shape.channels} channel(s)",
            sizes=tuple(_sizes(dataset, fold, fit) for fold in dataset.folds or (None,)),
            noun="clip",
            classes=classes,
            chance=_chance(dataset),
            facts=dict(dataset.facts),
            warnings=(*_warnings(dataset), *doubts),
            unsound=unsound,
            is_optimistic=dataset.is_optimistic,
            skipped=tuple(dataset.skipped),
        )
        rows = published(info, table, classes=classes, is_synthetic=dataset.is_synthetic)
        return replace(info, published=rows)

    def sources(self, config: Config) -> Sources:
        """Return the modules of a run's networks, data set and user-defined components.

        Built-in optimizers, schedules, metrics and the training loop count by `ENGINE` only.
        """
        modules = {
            self.registry.get(kind, table["name"]).module
            for kind, table in config.items()
            if kind in self.registry.kinds and isinstance(table, Mapping) and "name" in table
        }
        files: tuple[Path, ...] = ()
        if self._patterns:
            from study.tasks.own.training import matching_files

            files = tuple(path for _, path in matching_files(self._patterns, self._root, "task.sources"))
        return Sources(tuple(sorted(filter(_counts, modules))), follow=(NETS, DATA), files=files)

    def for_device(self, config: Config, device: str) -> dict[str, Any]:
        """Return the configuration with ``train.graph`` decided where it is ``auto``."""
        train = config["train"]
        if train.get("graph", "auto") != "auto":
            return dict(config)
        return {
            **config,
            "train": {**train, "graph": device == "cuda" and self._can_be_recorded(config)},
        }

    def _can_be_recorded(self, config: Config) -> bool:
        """Whether the step of a configuration is known to be recordable as a CUDA graph, and worth it."""
        names = {
            kind: config[kind]["name"] for kind in (*IFDD_KINDS, "backbone", "optimizer") if kind in config
        }
        return (
            names.get("backbone") in RECORDED_BACKBONES
            and names["optimizer"] in RECORDED_OPTIMIZERS
            and all(
                self.registry.get(kind, names[kind]).module.startswith(NETS + ".ifdd.")
                for kind in IFDD_KINDS
                if kind in names
            )
        )

    def generate(self, runs: Sequence[RunSpec], progress: Progress) -> None:
        """Render the clips of built-in synthetic data sets that are not in their cache."""
        from study.tasks.clips.data.generate import generate

        generate(self.registry, [run.table("dataset") for run in runs], progress)

    def train(self, run: Run) -> None:
        """Train one run."""
        from study.tasks.clips.training.train import train

        train(run)

    def evaluate(self, run: Run) -> Mapping[str, float]:
        """Return the metrics of a trained run on the test split."""
        from study.tasks.clips.training.evaluation.evaluate import evaluate

        return evaluate(run)

    def verify(self, run: Run) -> None:
        """Raise StudyError if a run's network does not predict as in training."""
        from study.tasks.clips.training.determinism import set_up
        from study.tasks.clips.training.evaluation.verification import load_trained

        load_trained(run, set_up(run.spec))

    def profile(self, run: Run) -> Profile:
        """Return the cost of the run's network for one clip."""
        import torch

        from study.tasks.clips.profiling.counts import profile_run

        torch.set_num_threads(run.spec.threads)
        return profile_run(run.spec)

    def check(self, run: RunSpec) -> None:
        """Take one step of a run's network on random clips; InputError if components do not fit."""
        from study.tasks.clips.training.probes.try_one_batch import try_one_batch

        try_one_batch(run)

    def check_search(self, config: Config, space: Mapping[str, Any], where: str) -> None:
        """Raise InputError if a search has trials that cannot be trained.

        Args:
            config: Configuration of one variant.
            space: Dimensions of the search by dotted key.
            where: The study file, for messages.
        """
        train = config["train"]
        sizes, steps = (
            space[key].choices if key in space else [train[key.partition(".")[2]]]
            for key in ("train.batch_size", "train.accumulate")
        )
        if steps != [1] and (steps is None or sizes is None or any(a % b for a in sizes for b in steps)):
            raise conflict(
                f"{where}: search.space",
                "every train.accumulate must divide every train.batch_size. Write choices that do.",
            )

    def measures(self, names: Sequence[str], configs: Sequence[Config], where: str) -> Mapping[str, Sources]:
        """Return the code of each measure by name.

        Raises:
            InputError: A measure is unknown, or needs a ground truth that a data set does not have.
        """
        from study.tasks.clips.measures.contract import needed_truth

        sources = {}
        for name in names:
            self.registry.resolve("measure", name, where)
            needed = needed_truth(self.registry.builder("measure", name))
            for config in configs if needed else ():
                dataset = self._dataset(config["dataset"])
                known = dataset.split("test", next(iter(dataset.folds), None)).truth
                if missing := set(needed) - set(known):
                    raise conflict(
                        where,
                        f"the measure {name!r} needs a data set whose clips' true {quoted(sorted(missing))} "
                        "is known, such as 'faces'. Leave it out, or measure it in a study on such a data set.",
                    )
            module = self.registry.get("measure", name).module
            sources[name] = Sources((module,), follow=(MEASURES, NETS, DATA))
        return sources

    def measure(self, run: Run, name: str) -> Measurement:
        """Return the figures of a measure for a trained run."""
        from study.tasks.clips.measures.measure import measure

        return measure(run, name)

    def pictures(self, run: RunSpec, ids: Sequence[str]) -> Mapping[str, NDArray[np.uint8]]:
        """Return test clips by name as frames, (T, H, W, 3).

        Raises:
            InputError: The data set cannot be read on this machine.
        """
        from study.tasks.clips.pictures import pictures

        return pictures(self._dataset(run.table("dataset")), run.fold, ids)

    def facts(self, configs: Sequence[Config]) -> Mapping[str, str]:
        """Return the training data of the repetitions, and their determinism settings."""
        fits = sorted({config["train"].get("fit", "train") for config in configs})
        determinism = sorted({config["train"].get("determinism", "warn") for config in configs})
        networks = {config.get("network", {}).get("name") for config in configs}
        return {
            "repetition": "; or ".join(FINAL[fit] for fit in fits),
            "determinism": ", ".join(determinism),
            **({"cite": IFDD_PAPER} if "ifdd" in networks else {}),
        }

    def _dataset(self, table: Mapping[str, Any]) -> Dataset:
        from study.tasks.clips.data.seeded import build_dataset

        return build_dataset(self.registry, table)


def _usable(registry: Registry) -> Iterator[str]:
    for name in dict.fromkeys((*FIRST, *registry.names("metric"))):
        if not any(p.required for p in registry.get("metric", name).parameters.values()):
            yield name


def _counts(module: str) -> bool:
    """Whether a component's module counts by its text: those of networks and data, and the user's own."""
    inside = any(module == package or module.startswith(package + ".") for package in (NETS, DATA))
    return inside or module.partition(".")[0] != "study"


def _check_size(dataset: Dataset) -> None:
    """Raise InputError where synthetic clips are too many, before their labels take memory."""
    clips = getattr(dataset, "clips", {})
    total = sum(clips.values()) if isinstance(clips, Mapping) else 0
    if total > MOST_CLIPS:
        shape = dataset.shape
        gib = total * shape.channels * shape.frames * shape.height * shape.width / 2**30
        raise wrong_value(
            "",
            f"{', '.join(f'{split}: {count:,}' for split, count in clips.items())} clips are {gib:,.0f} GiB of pixels; "
            f"at most {MOST_CLIPS:,} clips are made.",
        )


def _sizes(dataset: Dataset, fold: int | None, fit: str) -> SplitSizes:
    from study.tasks.clips.data.contract import SPLITS

    train, validation, test = (len(dataset.split(name, fold).labels) for name in SPLITS)
    return SplitSizes(train, validation, test, trained=train + (validation if fit == "train+val" else 0))


def _chance(dataset: Dataset) -> dict[str, float]:
    """Return the metrics of always predicting one class, for WAR the largest of the test split."""
    classes = len(dataset.classes)
    splits = [dataset.split("test", fold).labels for fold in dataset.folds or (None,)]
    total = sum(len(labels) for labels in splits)
    largest = (max(Counter(labels.tolist()).values(), default=0) / max(len(labels), 1) for labels in splits)
    share = sum(part * len(labels) for part, labels in zip(largest, splits, strict=True)) / max(total, 1)
    top = {f"top-k(k={k})": k / classes for k in range(1, classes) if k != DEFAULT_K}
    return {"war": max(1 / classes, share), "uar": 1 / classes, "top-k": DEFAULT_K / classes, **top}


def _remarks(dataset: Dataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what `study data check` finds unsound in a recorded data set, and its remarks that limit conclusions."""
    from study.tasks.clips.data.check.checks import known_report
    from study.tasks.clips.data.check.report import RemarkKind
    from study.tasks.clips.data.check.text import sentence
    from study.tasks.clips.data.seeded import as_built
    from study.tasks.clips.data.sets.recorded import Recorded

    dataset = as_built(dataset)
    if not isinstance(dataset, Recorded):
        return (), ()
    limiting = {
        RemarkKind.COPIES_WITH_OTHER_LABEL,
        RemarkKind.CLASSES_NOT_EVALUATED,
        RemarkKind.FRAMES_TRANSPARENT,
        RemarkKind.PROFILE_NOT_APPLIED,
        RemarkKind.FRAMES_IN_CMYK,
        RemarkKind.VIDEOS_IN_HDR,
    }
    report = known_report(dataset)
    doubts = [remark for remark in report.warnings if remark.kind in limiting]
    return tuple(map(sentence, report.mistakes)), tuple(map(sentence, doubts))


def _warnings(dataset: Dataset) -> Iterator[str]:
    """Yield warnings about a data set that limit every conclusion from it."""
    from study.tasks.clips.data.contract import DOUBTFUL_LABELS, SHARED_SOURCES

    if shared := dataset.facts.get(SHARED_SOURCES):
        yield (
            f"The train and the test split of the data set share {shared}. Networks may recognise them, so test "
            "figures may be too high."
        )
    if doubts := dataset.facts.get(DOUBTFUL_LABELS):
        yield f"Labels of the data set may be misspelt, and their clips may form classes of their own: {doubts}"
    if dataset.is_synthetic:
        yield SYNTHETIC
