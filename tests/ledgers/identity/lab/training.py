"""A training of the user's own."""

import importlib

from loose.part import scale

from lab.steps import step


def train(config, run):
    """Report one epoch."""
    late = importlib.import_module("late")
    run.report(1, acc=scale(step(config["lr"])) + late.OFFSET)


def test(config, run):
    """Return the test figures."""
    return {"acc": 0.5}
