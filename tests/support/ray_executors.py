"""Executors on a Ray cluster of several nodes on this machine, for the conformance suite."""

from __future__ import annotations

import os
from pathlib import Path

from study.executors.base import Executor, Work
from study.executors.ray_cluster import Ray


def on_the_cluster() -> Executor:
    """Return an executor on the cluster that ``TEST_RAY_ADDRESS`` names, with ``TEST_FOLDER`` for its ledger."""
    folder = Path(os.environ["TEST_FOLDER"])
    work = Work("conformance", folder, folder / "ledger")
    return Ray(address=os.environ["TEST_RAY_ADDRESS"]).executor(work)
