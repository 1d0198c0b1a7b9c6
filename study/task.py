"""The `Task` protocol: what the harness needs of a task, and what a task may offer beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from study.errors import StudyError
from study.ledger.layout import OWN_CHECKPOINT, OWN_WEIGHTS
from study.metrics import Metric
from study.records import DataInfo, Measurement, Profile, RunSpec
from study.run import Run, Select

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Config = Mapping[str, Any]
Progress = Callable[[int, int], None]
"""Called with the number of items that are done, and of all items."""


@dataclass(frozen=True)
class Kind:
    """A kind of components that a task's configuration names."""

    name: str
    context: tuple[str, ...] = ()
    """Arguments that every builder of the kind gets, before the ``*`` of its signature."""
    help: str = ""
    default: str | Mapping[str, Any] | None = None
    """The component of a study that names none; None for a kind that only other components refer to."""
    legacy_default: str | None = None
    """The component that runs had before the kind existed: with its defaults it is left out of identities."""
    is_configured: bool = True
    """Whether ``[base]`` may name one; False for kinds that a study names elsewhere, such as measures."""
    is_searchable: bool = True
    """Whether a search may set its parameters; False for kinds that decide which examples are compared."""


@dataclass(frozen=True)
class Sources:
    """The code whose content counts in a run's identity."""

    modules: tuple[str, ...] = ()
    """Modules that the run names; their imports are followed."""
    follow: tuple[str, ...] = ()
    """Packages of the harness inside which imports are followed; the user's own are followed everywhere."""
    files: tuple[Path, ...] = ()
    """Files whose bytes count."""
    root: Path | None = None
    """The folder that `files` are named relative to, and the first one that is searched for modules."""
    version: int | None = None
    """Replaces the content of all code in the identity; None to count the content."""


class Task(Protocol):
    """What is trained and evaluated. The harness uses a task through this protocol alone.

    A task that subclasses it must define `metrics` and `train`; everything else has a default.
    """

    metrics: Mapping[str, Metric]
    """Metrics by the name under which values are reported; the first is primary unless a study names another."""
    kinds: Mapping[str, Kind] = MappingProxyType({})
    """Kinds of components by name; empty for a task whose configuration is free tables."""
    tables: Mapping[str, type] = MappingProxyType({})
    """Tables of settings that are not components, each with the dataclass that declares it."""
    counts: Mapping[str, Any] = MappingProxyType({})
    """What the task adds to every run's identity besides the configuration."""
    folds: tuple[int, ...] = ()
    """Folds that the task itself requests; empty where the data define them, or where there is one split."""
    threads: int = 1
    """Processor threads of one run."""
    select: Select = "last"
    """Which epoch's metrics are the result of a training, and whose weights are tested."""
    resumes: bool = False
    """Whether a training that was killed resumes from `Run.checkpoint`."""
    epochs_key: str = ""
    """The dotted key of the configuration that holds the number of epochs; empty where none does."""
    weights_name: str = OWN_WEIGHTS
    """The file or folder, in a run's folder, that holds the weights that are tested."""
    checkpoint_name: str = OWN_CHECKPOINT
    """The file or folder, in a run's folder, that an unfinished training resumes from."""
    has_profile: bool = False
    """Whether `profile` counts networks in separate jobs."""
    preload: tuple[str, ...] = ()
    """Modules that every worker needs, imported once for all of them."""

    def data(self, config: Config, progress: Callable[[int, int], None] | None = None) -> DataInfo:
        """Return the description of the data that a configuration uses; by default, that they are not tracked.

        Raises:
            InputError: The data cannot be read.
        """
        return DataInfo("not tracked", "", folds=self.folds)

    def sources(self, config: Config) -> Sources:
        """Return the code whose content counts in the identity of a configuration's runs; by default the task's own."""
        return Sources((type(self).__module__,))

    def train(self, run: Run) -> None:
        """Train one run: report each epoch, save the weights at `run.weights`. Never reads the test split."""

    def evaluate(self, run: Run) -> Mapping[str, float]:
        """Return the metrics of a trained run on the test split: a separate job, for repetitions alone."""
        raise StudyError(
            "the task has no evaluation: implement `evaluate`, or call run.test(…) in the training."
        )

    def profile(self, run: Run) -> Profile | None:
        """Return the cost of the run's network; None where it is unknown."""
        return None


class CanCheck(Protocol):
    """A task that can try a configuration before anything is trained."""

    def check(self, run: RunSpec) -> None:
        """Build a run's network and take one step; raise InputError where that fails."""


class CanFitDevice(Protocol):
    """A task with settings whose value depends on the device."""

    def for_device(self, config: Config, device: str) -> dict[str, Any]:
        """Return a configuration with the value of every such setting; it counts in the identity."""


class CanGenerate(Protocol):
    """A task whose data are generated by a program."""

    def generate(self, runs: Sequence[RunSpec], progress: Progress) -> None:
        """Generate the data of these runs that do not exist yet, before the first job of a study.

        Args:
            runs: One run of each variant.
            progress: Called with the numbers of examples that are generated and in total; not if there are none.
        """


class CanMeasure(Protocol):
    """A task that offers measures of trained networks."""

    def measures(self, names: Sequence[str], configs: Sequence[Config], where: str) -> Mapping[str, Sources]:
        """Return the code of each measure by name; raise InputError for one that is unknown or not applicable."""

    def measure(self, run: Run, name: str) -> Measurement:
        """Return the figures of a measure for a trained run."""


class CanVerify(Protocol):
    """A task that can compare a trained network with its training."""

    def verify(self, run: Run) -> None:
        """Raise StudyError if the network, loaded from the run's folder, does not predict as in training."""


class CanDescribe(Protocol):
    """A task that adds facts to reports."""

    def facts(self, configs: Sequence[Config]) -> Mapping[str, str]:
        """Return, by name, facts on how the study's repetitions were trained."""


class CanShow(Protocol):
    """A task that can show examples of its test split as pictures."""

    def pictures(self, run: RunSpec, ids: Sequence[str]) -> Mapping[str, NDArray[np.uint8]]:
        """Return test examples by name as frames, (T, H, W, 3); names that the split does not have are left out.

        Args:
            run: A run that was tested on them; its fold counts.
            ids: The names of the examples, as in the predictions.

        Raises:
            InputError: The data cannot be read on this machine.
        """
