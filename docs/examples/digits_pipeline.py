"""A scikit-learn pipeline under study: k nearest neighbours on the 8×8 digits, pixels standardised or not."""

import sys

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

TEST = 500  # the last digits of the file, by writers that are not in train and validation


def train(config, run):
    """Fit on a random part of the digits, report the accuracy on a validation part, save the pipeline."""
    images, labels = load_digits(return_X_y=True)
    indices = np.random.default_rng(run.seed).permutation(len(images) - TEST)
    fit, validation = indices[: config["examples"]], indices[-400:]
    steps = [StandardScaler()] if config["scale"] else []
    model = make_pipeline(*steps, KNeighborsClassifier(config["neighbors"]))
    model.fit(images[fit], labels[fit])
    run.report(1, acc=model.score(images[validation], labels[validation]))
    joblib.dump(model, run.weights)


def test(config, run):
    """Return the accuracy on the test digits, and record which predictions are correct."""
    images, labels = load_digits(return_X_y=True)
    correct = joblib.load(run.weights).predict(images[-TEST:]) == labels[-TEST:]
    run.examples([f"digit {i}" for i in range(len(labels) - TEST, len(labels))], correct.astype(float))
    assert "torch" not in sys.modules  # the harness does not need it either
    return {"acc": correct.mean()}
