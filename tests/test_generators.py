"""Seeds of the process-wide generators where CUDA is first used by the seeded code itself."""

from __future__ import annotations

import pytest
import torch

from study.generators import seeded


def test_the_generator_of_a_gpu_is_seeded_although_cuda_is_not_in_use_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "manual_seed", seeds.append)
    with seeded(5):
        pass
    assert seeds == [5]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_draws_of_a_gpu_are_the_same_in_a_new_process_and_in_one_that_used_it_before() -> None:
    draws = []
    for _ in range(2):
        with seeded(5):
            draws.append(torch.rand(4, device="cuda").tolist())
        torch.rand(3, device="cuda")
    assert draws[0] == draws[1]
