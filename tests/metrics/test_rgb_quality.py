"""PSNR and SSIM of three channels, against values that are known."""

import math

import pytest
import torch

from ganforge.data.batch import Batch
from ganforge.metrics.image_quality import bicubic, ssim
from ganforge.metrics.rgb_quality import measure_rgb


def test_psnr_is_of_the_error_of_all_channels():
    target = torch.zeros(1, 3, 40, 40)
    target = (target * 127.5).round() / 127.5
    generated = target.clone()
    generated[:, 0] += 6 / 127.5  # 6 levels in red: a mean squared error of 12
    batch = Batch(target, target[:, :, ::2, ::2])
    found = measure_rgb(generated, batch, 2)
    levels = ((generated.double() + 1) * 127.5).round() - ((target.double() + 1) * 127.5).round()
    error = levels.square().mean().item()
    assert found["psnr"].item() == pytest.approx(10 * math.log10(255**2 / error))
    assert found["psnr_bicubic"].item() == 100
    border = generated.clone()
    border[:, :, :2] = 1  # is shaved
    assert torch.equal(measure_rgb(border, batch, 2)["psnr"], found["psnr"])


def test_ssim_is_the_mean_of_the_channels_and_grey_is_as_one_channel():
    draw = torch.manual_seed(0)
    target, generated = (torch.rand(2, 3, 40, 40, generator=draw) * 2 - 1 for _ in range(2))
    source = torch.rand(2, 3, 20, 20, generator=draw) * 2 - 1
    found = measure_rgb(generated, Batch(target, source), 2)
    by_hand = [ssim(generated[:, c : c + 1], target[:, c : c + 1], 2) for c in range(3)]
    torch.testing.assert_close(found["ssim"], sum(by_hand) / 3)
    enlarged = bicubic(source, 2)
    assert torch.equal(
        measure_rgb(enlarged, Batch(target, source), 2)["psnr"], found["psnr_bicubic"]
    )
