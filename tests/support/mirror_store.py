"""An MLflow store of one test, and what its pages show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from study.ledger.record import StudyRecord, VariantRecord
from study.metrics import Metric
from study.records import DataInfo, RunSpec
from study.tracking.mlflow import MlflowMirror


def study_record(name: str = "issm@smoke", **changes: Any) -> StudyRecord:
    """The record of a study of two splitters, whose metric WAR is in per cent."""

    def variant(level: str) -> VariantRecord:
        template = RunSpec({"splitter": {"name": level}}, 0, data_digest="d0", code_digest="c0")
        return VariantRecord(level, {"splitter": level}, "even-odd", template)

    record = StudyRecord(
        name=name,
        file=f"{name}.toml",
        title="ISSM on and off",
        question="Does ISSM help?",
        seed=0,
        metric="war",
        rope=1.0,
        alpha=0.05,
        variants=(variant("even-odd"), variant("issm")),
        claims=(),
        space={},
        trials=0,
        generation=1,
        sampler="random",
        repetitions=3,
        folds=(None,),
        data=DataInfo("faces", "d0"),
        claims_digest="",
        metrics=(Metric("war", "WAR"), Metric("uar", "UAR")),
    )
    return replace(record, **changes)


@dataclass
class MirrorStore:
    """Where one test's mirror writes."""

    folder: Path
    study: str = "issm@smoke"

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    def mirror(self, record: StudyRecord | None = None, **options: Any) -> MlflowMirror:
        options = {"drain_seconds": 300.0, **options}  # a machine that is busy writes slowly
        return MlflowMirror(self.uri, self.folder / "art @ 1#", record or study_record(self.study), **options)

    @property
    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri)

    def runs(self) -> dict[str, Any]:
        """Every run by name; two of one name are a failure."""
        experiment = self.client.get_experiment_by_name(self.study)
        runs = list(self.client.search_runs([experiment.experiment_id], max_results=1000))
        assert len({run.info.run_name for run in runs}) == len(runs)
        return {run.info.run_name: run for run in runs}

    def history(self, name: str, metric: str) -> list[tuple[int, float]]:
        points = self.client.get_metric_history(self.runs()[name].info.run_id, metric)
        return sorted((point.step, point.value) for point in points)

    def artifact(self, name: str, path: str) -> bytes:
        run = self.runs()[name]
        return Path(self.client.download_artifacts(run.info.run_id, path)).read_bytes()
