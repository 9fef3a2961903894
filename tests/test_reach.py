"""Receptive fields: the formulas, and the flagship's proven pixel by pixel."""

import pytest
import torch
from generators import small_model

from ganforge.reach import Span, bicubic, convolution, hull, nearest, reach


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_bicubic_sees_the_centres_nearer_than_two(factor):
    for position in range(-9, 9):
        centre = (position + 0.5) / factor
        near = [p for p in range(-20, 20) if abs(p + 0.5 - centre) < 2 - 1e-9]
        assert bicubic(Span(position, position), factor) == (near[0], near[-1])


def test_layers_compose_backwards():
    assert convolution(Span(0, 0), 3, 1) == (-1, 1)
    assert convolution(Span(5, 6), 4, 1) == (4, 8)
    assert nearest(Span(-1, 2), 2) == (-1, 1)
    assert hull(Span(0, 1), Span(-3, 0)) == (-3, 1)
    # two 3 × 3 convolutions after nearest × 2: one source pixel on either side
    assert reach(lambda s: nearest(convolution(convolution(s, 3, 1), 3, 1), 2), 2) == (1, 1)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("growth", ["described", "preserving"])
def test_the_flagship_sees_exactly_as_far_as_it_says(scale, stage, skip, growth):
    """A changed pixel changes targets up to the edge of the field, and none beyond it."""
    from ganforge.systems.settings import ladder

    model = small_model(
        stage,
        scale=scale,
        bicubic_skip=skip,
        growth=growth,
        stages=ladder(8, 32 * scale, scale=scale),
    )
    network = model.network.double()
    for block in network.network.blocks.values():  # as after training
        last = block.outer if hasattr(block, "outer") else block.conv2
        torch.nn.init.normal_(last.weight)
    before, after = reach(network.receptive_field, scale)  # pyright: ignore[reportArgumentType, reportCallIssue]
    middle, side = 14, 30
    source = torch.rand(1, 3, side, side, dtype=torch.float64, generator=torch.manual_seed(0)) - 0.5
    changed = source.clone()
    changed[..., middle, middle] += 0.3
    moved = (network(source) != network(changed)).any(dim=1)[0]
    cells = moved.reshape(side, scale, side, scale).any(dim=3).any(dim=1).nonzero()
    for axis in (0, 1):
        assert cells[:, axis].min() == middle - after
        assert cells[:, axis].max() == middle + before
