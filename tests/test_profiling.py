import logging
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from study.data.clips import ClipShape
from study.profiling import costs, profile
from study.records import Profile, RunSpec, from_json

SHAPE = ClipShape(channels=2, frames=4, height=6, width=8)


class Lone(nn.Module):
    """A network that turns the clip into tokens (1, 12, 32) and hands them to one function."""

    def __init__(self, of, *used):
        super().__init__()
        self.of = of
        self.used = nn.ModuleList(used)

    def forward(self, clips):
        return (self.of(clips.reshape(1, 12, 32)), None, {})


def test_a_convolution_costs_its_kernel_for_every_value_that_it_makes():
    convolution = nn.Conv3d(2, 5, kernel_size=(3, 1, 3), stride=(1, 2, 2), padding=(1, 0, 1))
    found = costs(Lone(lambda tokens: convolution(tokens.reshape(1, *SHAPE)), convolution), SHAPE)
    assert found.macs == (5 * 4 * 3 * 4) * (2 * 3 * 1 * 3)
    assert found.input_shape == (1, 2, 4, 6, 8)
    assert found.uncounted == ()


def test_parameters_are_those_that_are_trained():
    network = nn.Sequential(nn.Flatten(), nn.Linear(SHAPE.channels * 4 * 6 * 8, 3), nn.Linear(3, 3))
    network[2].requires_grad_(False)
    found = costs(network, SHAPE)
    assert found.parameters == 384 * 3 + 3
    assert found.macs == 384 * 3 + 3 * 3


def test_attention_costs_both_of_its_products():
    def attention(tokens):
        queries = tokens.reshape(1, 12, 4, 8).transpose(1, 2)  # 4 heads
        values = queries[:, :, :7, :5]
        return F.scaled_dot_product_attention(queries, queries[:, :, :7], values)

    found = costs(Lone(attention), SHAPE)
    assert found.macs == 4 * 12 * 7 * (8 + 5)
    assert found.uncounted == ()


def test_a_transformer_layer_is_counted_whole():
    layer = nn.TransformerEncoderLayer(32, nhead=4, dim_feedforward=64, batch_first=True)
    found = costs(Lone(layer), SHAPE)
    projections, products, mlp = 12 * 32 * 32 * 4, 4 * 12 * 12 * (8 + 8), 12 * 32 * 64 * 2
    norms = 2 * 12 * 32 * 5  # by fvcore: five a value with a learned scale
    assert found.macs == projections + products + mlp + norms
    assert found.uncounted == ()
    assert torch.backends.mha.get_fastpath_enabled()


def test_batched_and_vector_products_are_counted():
    found = costs(Lone(lambda x: torch.baddbmm(torch.ones(1), x, x.transpose(1, 2))), SHAPE)
    assert found.macs == 12 * 32 * 12
    assert costs(Lone(lambda x: torch.mv(x[0], x[0, 0])), SHAPE).macs == 12 * 32
    assert costs(Lone(lambda x: torch.dot(x[0, 0], x[0, 1])), SHAPE).macs == 32


def test_an_operator_that_cannot_be_counted_is_named():
    recurrent = nn.GRU(32, 16, batch_first=True)
    assert costs(Lone(lambda tokens: recurrent(tokens)[0], recurrent), SHAPE).uncounted == ("aten::gru",)


def test_element_wise_operators_are_not_worth_naming():
    def several(tokens):
        return (F.gelu(tokens) * 2 + tokens.softmax(-1)).tanh().square().mean((1, 2)).flip(0)

    assert costs(Lone(several), SHAPE).uncounted == ()


def test_counting_says_nothing(caplog, recwarn):
    recurrent = nn.GRU(32, 16, batch_first=True)
    with caplog.at_level(logging.DEBUG):
        costs(Lone(lambda tokens: recurrent(tokens)[0], recurrent), SHAPE)
    assert caplog.records == []
    assert not list(recwarn)


def test_the_job_leaves_a_profile_and_reads_no_clip(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "training"))
    threads = torch.get_num_threads()
    config = {
        "dataset": {"name": "tiny", "forbidden": ["train", "selection", "test"]},
        "network": {"name": "two-layers", "width": 16},
    }
    spec = RunSpec(config, seed=0, data_digest="", code_digest="", modules=("tiny_parts",))
    profile(spec, tmp_path, lambda epoch: pytest.fail("nothing is trained"))
    torch.set_num_threads(threads)
    found = from_json(Profile, (tmp_path / "profile.json").read_bytes())
    assert found == Profile(
        parameters=32 * 16 + 16 + 16 * 3 + 3,
        macs=32 * 16 + 16 * 3,
        uncounted=(),
        input_shape=(1, 1, 2, 4, 4),
    )
