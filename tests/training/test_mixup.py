from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from study.tasks.clips.nets.contract import Output
from study.tasks.clips.nets.ifdd.losses import CrossEntropyContext
from study.tasks.clips.training.mixup import Mixup, patched

CLASSES = 5
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def clips(batch: Any = 6, height: Any = 20, width: Any = 16) -> Any:
    return torch.rand(batch, 3, 4, height, width, generator=torch.Generator().manual_seed(0))


def kept_of(targets: Any) -> Any:
    """Return the share of a clip's own class, where its partner has another class."""
    return targets[1, LABELS[1]].item()


def replaced(given: Any, mixed: Any) -> Any:
    """Return which pixels differ from the clip's own, (B, T, H, W)."""
    return (given != mixed).any(1)


def test_nothing_is_mixed_unless_asked_for() -> None:
    given = clips()
    for mixing in (Mixup(0, 0, 1.0), Mixup(0.8, 1.0, 0.0)):
        mixed, targets = mixing(given, LABELS, CLASSES, 1)
        assert mixed is given
        assert targets is LABELS


@pytest.mark.parametrize("mixing", [Mixup(0.8, 0, 1.0), Mixup(0, 1.0, 1.0), Mixup(0.8, 1.0, 1.0)])
def test_targets_are_shares_of_the_two_classes_that_sum_to_one(mixing: Any) -> None:
    for seed in range(20):
        _, targets = mixing(clips(), LABELS, CLASSES, seed)
        torch.testing.assert_close(targets.sum(1), torch.ones(6))
        own, partner = F.one_hot(LABELS, CLASSES), F.one_hot(LABELS.flip(0), CLASSES)
        assert not targets[(own + partner) == 0].any()


def test_mixup_blends_pixels_as_it_blends_targets() -> None:
    given = clips()
    for seed in range(10):
        mixed, targets = Mixup(0.8, 0, 1.0)(given, LABELS, CLASSES, seed)
        kept = kept_of(targets)
        torch.testing.assert_close(mixed, kept * given + (1 - kept) * given.flip(0), rtol=0, atol=1e-6)


def test_the_share_of_a_target_is_the_area_that_cutmix_leaves_and_the_box_is_the_same_in_every_frame() -> (
    None
):
    given = clips()
    for seed in range(20):
        mixed, targets = Mixup(0, 1.0, 1.0)(given, LABELS, CLASSES, seed)
        other = replaced(given, mixed)
        assert (other == other[:1, :1]).all()
        assert kept_of(targets) == pytest.approx(1 - other[0, 0].float().mean().item(), abs=1e-6)
        assert torch.equal(mixed[:, :, other[0]], given.flip(0)[:, :, other[0]])


def test_a_box_is_a_rectangle_of_the_asked_area_and_is_cut_off_at_the_borders() -> None:
    given = clips(height=20, width=16)
    mixed, kept = patched(given, 0.75, (0.5, 0.5))
    rows, columns = replaced(given, mixed)[0, 0].nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 14, 4, 11)
    assert len(rows) == 10 * 8
    assert kept == 0.75
    mixed, kept = patched(given, 0.75, (0.0, 0.0))
    assert replaced(given, mixed)[0, 0].sum() == 5 * 4
    assert kept == 1 - 20 / 320


def test_proportions_follow_the_asked_beta_distribution() -> None:
    shares = [
        kept_of(Mixup(0.8, 0, 1.0)(clips(height=1, width=1), LABELS, CLASSES, n)[1]) for n in range(500)
    ]
    assert stats.kstest(shares, stats.beta(0.8, 0.8).cdf).pvalue > 0.01


def test_half_of_the_mixed_batches_are_cut_where_both_are_asked_for() -> None:
    given = clips(height=8, width=8)
    ways = []
    for seed in range(600):
        mixed, targets = Mixup(0.8, 1.0, 0.6)(given, LABELS, CLASSES, seed)
        if targets is not LABELS:
            ways.append(bool((mixed == given).any() or torch.equal(mixed, given.flip(0))))
    assert len(ways) / 600 == pytest.approx(0.6, abs=0.06)  # 3 standard errors
    assert np.mean(ways) == pytest.approx(0.5, abs=0.08)


def test_the_seed_decides_and_the_global_generators_have_no_say() -> None:
    given, mixing = clips(), Mixup(0.8, 1.0, 1.0)
    torch.manual_seed(1)
    first, targets = mixing(given, LABELS, CLASSES, 3)
    torch.manual_seed(2)
    again, same = mixing(given, LABELS, CLASSES, 3)
    assert torch.equal(first, again)
    assert torch.equal(targets, same)
    assert not torch.equal(first, mixing(given, LABELS, CLASSES, 4)[0])


def test_variants_with_other_alphas_mix_the_same_batches_in_the_same_way() -> None:
    given = clips(height=8, width=8)

    def ways(mixing: Any) -> Any:
        found = []
        for seed in range(60):
            mixed, targets = mixing(given, LABELS, CLASSES, seed)
            cut = (mixed == given).flatten(1).any(1).all() or torch.equal(mixed, given.flip(0))
            found.append(None if targets is LABELS else bool(cut))
        return found

    assert ways(Mixup(0.8, 1.0, 0.5)) == ways(Mixup(1.5, 0.9, 0.5))


def test_a_batch_stays_as_it_was_given() -> None:
    given = clips()
    before = given.clone()
    for seed in range(4):
        Mixup(0.8, 1.0, 1.0)(given, LABELS, CLASSES, seed)
    assert torch.equal(given, before)


def test_smoothing_in_the_loss_equals_mixing_smoothed_targets() -> None:
    logits = torch.randn(6, CLASSES, generator=torch.Generator().manual_seed(0))
    kept, smoothing = 0.3, 0.1
    own, partner = F.one_hot(LABELS, CLASSES).float(), F.one_hot(LABELS.flip(0), CLASSES).float()
    smoothed = [one * (1 - smoothing) + smoothing / CLASSES for one in (own, partner)]
    expected = -(((kept * smoothed[0] + (1 - kept) * smoothed[1]) * logits.log_softmax(1)).sum(1).mean())
    loss = CrossEntropyContext(smoothing, 0.1, "relaxed", "mean")
    found = loss(Output(logits), kept * own + (1 - kept) * partner)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
