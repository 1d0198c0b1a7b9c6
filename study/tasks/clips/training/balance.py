"""Balance of classes in training: clips drawn evenly from all classes, and weights of classes in the loss."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def balanced_order(labels: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Return as many indexes of clips as there are, (n,), in random order: every class as often, to within one clip.

    A class is read in random permutations, one after another, so that its clips differ by at most one in how often
    they are read.

    Args:
        labels: (n,), the class of each clip; a class without clips is not drawn.
        generator: Draws which classes get one clip more, the permutations and the order.
    """
    count = len(labels)
    classes = generator.permutation(np.unique(labels))
    drawn = []
    for position, label in enumerate(classes):
        share = count // len(classes) + (position < count % len(classes))
        clips = np.flatnonzero(labels == label)
        rounds = [generator.permutation(clips) for _ in range(-(-share // len(clips)))]
        drawn.append(np.concatenate(rounds)[:share] if rounds else clips[:0])
    return generator.permutation(np.concatenate(drawn))


def balanced_weights(labels: NDArray[np.int64], classes: int) -> Tensor:
    """Return the weight of each class, (classes,): ``n / (K n_c)`` for n clips in K classes, n_c in class c.

    A class without clips has the weight 0 and is not one of the K.
    """
    counts = torch.from_numpy(np.bincount(labels, minlength=classes)).to(torch.float32)
    present = counts > 0
    return torch.where(present, counts.sum() / (present.sum() * counts.clamp(min=1)), 0.0)
