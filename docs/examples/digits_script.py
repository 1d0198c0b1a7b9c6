"""A script without any import of `study`: one hidden layer on the 8×8 digits, in NumPy alone."""

import argparse
import json
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.2)
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--augment", action="store_true", help="shift images by up to a pixel to the sides")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

table = np.loadtxt(Path(find_spec("sklearn").origin).parent / "datasets/data/digits.csv.gz", delimiter=",")
images, labels = table[:, :64] / 16, table[:, 64].astype(int)
rng = np.random.default_rng(args.seed)
indices = rng.permutation(1297)  # the last 500 digits are the test
train, validation = indices[:400], indices[-400:]
into, out = rng.normal(0, 0.2, (64, 96)), rng.normal(0, 0.2, (96, 10))


def accuracy(x, y):
    """Return the share of (n, 64) images that the network classifies correctly."""
    return float(((np.maximum(x @ into, 0) @ out).argmax(1) == y).mean())


def shifted(x):
    """Return (n, 64) images that are each shifted by -1, 0 or 1 pixels to the right."""
    steps = rng.integers(-1, 2, len(x))
    pairs = zip(x.reshape(-1, 8, 8), steps, strict=True)
    return np.stack([np.roll(image, step, 1) for image, step in pairs]).reshape(-1, 64)


def log(**figures):
    """Print metrics; as a run of a study, append them to the file that it reads."""
    print(figures)
    if "STUDY_FOLDER" in os.environ:
        with Path(os.environ["STUDY_FOLDER"], "metrics.jsonl").open("a") as file:
            file.write(json.dumps(figures) + "\n")


for epoch in range(1, args.epochs + 1):
    for batch in np.array_split(rng.permutation(train), len(train) // 20):
        x = shifted(images[batch]) if args.augment else images[batch]
        hidden = np.maximum(x @ into, 0)
        scores = np.exp(hidden @ out)
        error = (scores / scores.sum(1, keepdims=True) - np.eye(10)[labels[batch]]) / len(batch)
        gradient = (error @ out.T) * (hidden > 0)
        out -= args.lr * hidden.T @ error
        into -= args.lr * x.T @ gradient
    log(epoch=epoch, acc=accuracy(images[validation], labels[validation]))
log(test={"acc": accuracy(images[1297:], labels[1297:])})
