"""An MLflow store of one test, and what its pages show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.tracking.mlflow import MlflowMirror


@dataclass
class MirrorStore:
    """Where one test's mirror writes."""

    folder: Path
    study: str = "issm@smoke"

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    def mirror(self, **options: Any) -> MlflowMirror:
        return MlflowMirror(self.uri, self.folder / "art @ 1#", self.study, **options)

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
