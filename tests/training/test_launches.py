"""What a step launches on a GPU, where one pretends to be there: few replays, in place of thousands
of kernels, however many a network has (tests/benchmarks/kernels.py has them all at full depth)."""

from typing import Any

import pytest
import torch

from ganforge.systems.settings import ladder

from ..benchmarks.kernels import launched, roofline
from ..gpu_checklist import Bench, Case, benches

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "flagship": ("progressive_gan_sr", {"stages": ladder(4, 16, epochs=1, fade_epochs=0.5)}),
    "progan": ("progan_a", {"stages": ladder(4, 16, scale=1, epochs=1, fade_epochs=0.5)}),
}
#: the aim of a step with four shards
MOST = 200


def last(name: str, **changes: Any) -> Bench:
    system, given = CASES[name]
    options = given | {"width": 8, "critic_steps": 1, "shards": 4, "batch_size": 8} | changes
    if name == "flagship":
        options["perceptual.network"] = "none"
    *_, (_, bench) = benches(Case(name, system, "paper", options), torch.device("cpu"), False)
    return bench


@pytest.mark.parametrize("name", CASES)
def test_a_step_with_recorded_passes_launches_few(name):
    bench = last(name)
    plain, recorded = (sum(launched(bench, graphs).values()) for graphs in (False, True))
    assert recorded <= MOST < plain / 5


def test_replays_are_as_many_as_shards_and_hide_the_networks_depth():
    four, one = (sum(launched(last("progan", shards=n), True).values()) for n in (4, 1))
    deep = last("progan", stages=ladder(4, 32, scale=1, epochs=1, fade_epochs=0.5))
    assert four == sum(launched(deep, True).values())
    assert one < four


def test_the_least_time_follows_from_flop_and_bytes():
    """Wider networks need more arithmetic a byte, and no card is faster than its memory."""
    narrow, wide = (roofline(last("flagship", width=width)) for width in (8, 64))
    rounding = 1 - 1e-9
    for seconds, gflop, gigabytes in (narrow, wide):
        assert seconds["tf32"] >= gigabytes * 1e9 / 3.35e12 * 1000 * rounding
        assert seconds["float32"] >= max(seconds["tf32"], gflop * 1e9 / 67e12 * 1000) * rounding
    assert wide[1] / wide[2] > 2 * narrow[1] / narrow[2]
