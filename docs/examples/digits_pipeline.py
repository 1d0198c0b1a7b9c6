"""A scikit-learn pipeline under study: k nearest neighbours on the 8×8 digits, pixels standardised or not."""

import sys

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

TEST = 500  # the last digits of the file, by writers that train and validation hold none of


def train(config, run):
    """Fit on digits that the seed draws, report the accuracy on others, keep the pipeline."""
    images, labels = load_digits(return_X_y=True)
    drawn = np.random.default_rng(run.seed).permutation(len(images) - TEST)
    fit, validation = drawn[: config["examples"]], drawn[-400:]
    steps = [StandardScaler()] if config["scale"] else []
    model = make_pipeline(*steps, KNeighborsClassifier(config["neighbors"]))
    model.fit(images[fit], labels[fit])
    run.report(1, acc=model.score(images[validation], labels[validation]))
    joblib.dump(model, run.weights)


def test(config, run):
    """Return the accuracy on the test digits, and keep which of them were right."""
    images, labels = load_digits(return_X_y=True)
    right = joblib.load(run.weights).predict(images[-TEST:]) == labels[-TEST:]
    run.examples([f"digit {i}" for i in range(len(labels) - TEST, len(labels))], right.astype(float))
    assert "torch" not in sys.modules  # nothing here needs it
    return {"acc": right.mean()}
