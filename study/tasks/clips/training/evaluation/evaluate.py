"""Evaluation of a trained run on the test split."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from study.run import Run
from study.tasks.clips.training.batches import predict
from study.tasks.clips.training.determinism import nondeterministic_operators, set_up
from study.tasks.clips.training.evaluation.scores import (
    LOSS,
    absent,
    breakdowns,
    cross_entropy,
    metrics_of,
    scores,
)
from study.tasks.clips.training.evaluation.verification import load_trained
from study.tasks.clips.training.memory import explain_out_of_memory
from study.tasks.clips.training.resident import reader_of
from study.tasks.clips.training.settings import TrainSettings
from study.tasks.clips.training.state import loader_of

_log = logging.getLogger(__name__)


def evaluate(run: Run) -> Mapping[str, float]:
    """Return the metrics of a run's weights on the test split; write predictions and breakdowns.

    Before, one batch of validation clips, or of training clips if validation is trained on, is predicted again.

    Raises:
        StudyError: The weights or the device are missing, the network does not predict as in training, memory runs
            out, or an operator without a deterministic form is used although the run must be deterministic.
        InputError: The data set cannot be read.
    """
    spec = run.spec
    device = set_up(spec)
    settings = TrainSettings.of(spec)
    with explain_out_of_memory(f"testing in batches of {settings.batch_size} clips"):
        dataset, network = load_trained(run, device)
    clips = dataset.split("test", spec.fold)
    if missing := absent(clips.labels, dataset.classes):
        _log.warning("the test split has no clip of %s: UAR leaves it out", ", ".join(missing))
    with (
        explain_out_of_memory(f"testing in batches of {settings.batch_size} clips"),
        nondeterministic_operators(spec),
        loader_of(spec) as loader,
    ):
        predictions = predict(
            network,
            clips,
            settings.batch_size,
            device,
            reader_of(clips, "test", loader, device),
            settings.precision,
            spec.seed,
        )
    run.keep_predictions(predictions)
    for breakdown in breakdowns(predictions, dataset.classes):
        run.breakdown(breakdown)
    return {
        **scores(metrics_of(run), predictions),
        LOSS: cross_entropy(predictions.labels, predictions.logits),
    }
