"""A task of one's own: ridge regression on scikit-learn's diabetes data, judged by a minimized, unbounded metric."""

import json

import numpy as np

from study import Metric, Task, component


@component("task")
def diabetes(registry) -> Task:
    """Ridge regression of the progression of diabetes."""
    return Diabetes()


class Diabetes(Task):
    metrics = {"rmse": Metric("rmse", "RMSE", unit="", scale=1.0, direction="minimize", low=0.0, high=None)}

    def train(self, run):
        inputs, targets = rows(run, "train")
        penalty = run.config["penalty"] * np.eye(inputs.shape[1])
        weights = np.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ targets)
        run.report(1, rmse=error(weights, *rows(run, "validation")))
        run.weights.write_text(json.dumps(weights.tolist()))

    def evaluate(self, run):
        return {"rmse": error(json.loads(run.weights.read_text()), *rows(run, "test"))}


def rows(run, split):
    from sklearn.datasets import load_diabetes

    inputs, targets = load_diabetes(return_X_y=True)
    inputs = np.column_stack([np.ones(len(inputs)), inputs])
    rendered = np.random.default_rng(run.seed_for("split")).permutation(342)
    chosen = {"train": rendered[:242], "validation": rendered[242:], "test": np.arange(342, 442)}[split]
    return inputs[chosen], targets[chosen]


def error(weights, inputs, targets):
    return float(np.sqrt(np.mean((inputs @ weights - targets) ** 2)))
