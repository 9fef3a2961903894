"""Differentiable augmentation against what it is made of, in float64."""

import pytest
import torch

from ganforge.augmentation import augment, cut_out, jitter_color, translate

SHAPE = (5, 3, 8, 12)


def images(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(SHAPE, generator=generator, dtype=torch.float64) * 2 - 1


def test_strength_zero_is_the_identity_and_draws_nothing():
    given, before = images(), torch.get_rng_state()
    assert augment(given, 0, 0, 0) is given
    assert torch.equal(torch.get_rng_state(), before)
    for made in (translate(given, 0.0), cut_out(given, 0.0)):
        assert torch.equal(made, given)
    torch.testing.assert_close(jitter_color(given, 0.0), given)


def test_a_probability_is_of_each_kind_and_image():
    given = images()
    for probability, wanted in ((0.0, 0), (1.0, 5)):
        torch.manual_seed(5)
        made = augment(given, 1.0, 0.0, 0.0, torch.tensor(probability))
        assert sum(not torch.equal(a, b) for a, b in zip(made, given, strict=True)) == wanted
    many = torch.ones(4000, 1, 4, 4, dtype=torch.float64)
    made = augment(many, 0.0, 0.0, 1.0, torch.tensor(0.3))
    part = (made != many).flatten(1).any(1).double().mean().item()
    assert abs(part - 0.3) < 4 * (0.3 * 0.7 / 4000) ** 0.5
    # two kinds: one hides in the other's zeros, so by the mean of a picture without any
    both = augment(many, 1.0, 0.0, 0.25, torch.tensor(0.5))
    coloured = (both.amax(dim=(1, 2, 3)) != 1).double().mean().item()
    cut = (both == 0).flatten(1).any(1).double().mean().item()
    assert all(abs(found - 0.5) < 4 * 0.5 / 4000**0.5 for found in (coloured, cut))


def test_translations_are_exact():
    torch.manual_seed(3)
    found, shifts = translate(images(), 0.25), set()
    for image, moved in zip(images(), found, strict=True):
        matches = []
        for y in range(-2, 3):
            for x in range(-3, 4):
                wanted = torch.zeros_like(image)
                rows = slice(max(y, 0), 8 + min(y, 0)), slice(max(-y, 0), 8 - max(y, 0))
                columns = slice(max(x, 0), 12 + min(x, 0)), slice(max(-x, 0), 12 - max(x, 0))
                wanted[:, rows[0], columns[0]] = image[:, rows[1], columns[1]]
                matches += [(y, x)] if torch.equal(wanted, moved) else []
        assert len(matches) == 1
        shifts.add(matches[0])
    assert len(shifts) > 1  # each image has its own


def test_every_translation_up_to_the_limit_is_drawn():
    ramp = torch.arange(1.0, 9).expand(400, 1, 8, 8)
    torch.manual_seed(0)
    centres = translate(ramp, 0.125)[:, 0, 4, 4]
    assert set(centres.tolist()) == {4.0, 5.0, 6.0}


@pytest.mark.parametrize("part, size", [(0.5, 4), (0.375, 3)])
def test_cutout_is_one_rectangle_of_zeros(part, size):
    torch.manual_seed(1)
    made = cut_out(torch.ones(300, 2, 8, 8), part)
    holes = 1 - made
    assert torch.equal(holes[:, 0], holes[:, 1])  # all channels alike
    rows, columns = holes[:, 0].amax(2).sum(1), holes[:, 0].amax(1).sum(1)
    torch.testing.assert_close(holes[:, 0].sum(dim=(1, 2)), rows * columns)
    assert rows.max() == columns.max() == size and rows.min() < size
    assert holes[:, 0].amax(0).all()  # every pixel is in some hole
    mixed = cut_out(images(), part)
    assert ((mixed == images()) | (mixed == 0)).all()


def test_colour_by_hand():
    torch.manual_seed(7)
    found = jitter_color(images(), 0.6)
    torch.manual_seed(7)
    b, s, c = (torch.rand(5, dtype=torch.float64) for _ in range(3))
    for i, image in enumerate(images()):
        bright = image + 0.6 * (b[i] - 0.5)
        grey = bright.mean(0)
        colour = torch.stack(
            [grey + (plane - grey) * (1 + 0.6 * (2 * s[i] - 1)) for plane in bright]
        )
        torch.testing.assert_close(
            found[i], colour.mean() + (colour - colour.mean()) * (1 + 0.6 * (c[i] - 0.5))
        )


def test_gradients_equal_finite_differences():
    given = images()[:2, :, :6, :6].clone().requires_grad_()

    def changed(x):
        torch.manual_seed(11)
        return augment(x, 1.0, 0.25, 0.5)

    assert torch.autograd.gradcheck(changed, (given,))
    assert torch.autograd.gradgradcheck(changed, (given,))


def test_draws_are_those_of_the_seed():
    made = []
    for seed in (4, 4, 5):
        torch.manual_seed(seed)
        made.append(augment(images(), 1.0, 0.125, 0.5))
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


def test_mixed_precision_images_are_widened():
    assert augment(images().bfloat16(), 1.0, 0.125, 0.5).dtype == torch.float32
