"""Sample grids show every pixel of every pane."""

import pytest
import torch
from torch.nn import functional as F

from ganforge.metrics.image_quality import to_bytes
from ganforge.training.grid import GAP, PAPER, montage, sheets, strips


def panes(*sides: tuple[int, int], count: int = 2, channels: int = 3) -> list[torch.Tensor]:
    return [torch.rand(count, channels, *side) * 2 - 1 for side in sides]


def cell(grid: torch.Tensor, row: int, column: int, height: int, width: int) -> torch.Tensor:
    """Pixels of one cell, (height, width, 3), counted from the bottom right: titles are on top."""
    top = GAP + row * (height + GAP)
    left = GAP + column * (width + GAP)
    return grid[top : top + height, left : left + width]


def test_whole_factors_keep_every_pixel():
    source, target = panes((8, 12), (16, 24))
    grid = montage([source, target], max_pane=50)
    height, width = 32, 48  # twice the target
    assert grid.shape == (GAP + 2 * (height + GAP), GAP + 2 * (width + GAP), 3)
    assert grid.dtype == torch.uint8
    for column, (pane, factor) in enumerate([(source, 4), (target, 2)]):
        for row in range(2):
            large = F.interpolate(pane[row : row + 1], scale_factor=factor)[0]
            shown = cell(grid, row, column, height, width)
            assert torch.equal(shown, to_bytes(large).permute(1, 2, 0))


def test_separators_are_paper_on_every_side():
    grid = montage([torch.ones(1, 3, 32, 32)], max_pane=32)
    inside = torch.zeros(grid.shape[:2], dtype=torch.bool)
    inside[GAP:-GAP, GAP:-GAP] = True
    assert (grid[inside] == 255).all()
    assert (grid[~inside] == torch.tensor(PAPER, dtype=torch.uint8)).all()


def test_grey_images_have_three_equal_channels():
    (grey,) = panes((16, 16), channels=1)
    shown = cell(montage([grey], max_pane=16), 0, 0, 16, 16)
    assert torch.equal(shown, to_bytes(grey[0]).permute(1, 2, 0).expand(-1, -1, 3))


def test_large_images_are_shrunk_and_keep_their_proportions():
    (target,) = panes((300, 600), count=1)
    assert montage([target * 0], max_pane=256).shape == (128 + 2 * GAP, 256 + 2 * GAP, 3)
    shown = cell(montage([target * 0 + 0.5], max_pane=256), 0, 0, 128, 256)
    assert (shown == to_bytes(torch.tensor(0.5))).all()


def test_titles_stand_on_top_and_change_nothing_below():
    given = panes((32, 32), (64, 64))
    plain = montage(given)
    titled = montage(given, ["low resolution", "high resolution"])
    head = len(titled) - len(plain)
    assert 0 < head <= 24
    assert torch.equal(titled[head:], plain)
    middle = titled.shape[1] // 2
    for half in (titled[:head, :middle], titled[:head, middle:]):
        assert (half != torch.tensor(PAPER, dtype=torch.uint8)).any()


def test_a_title_never_reaches_the_next_column():
    titled = montage(panes((16, 16), (16, 16)), ["a title far too long", ""], max_pane=16)
    right = titled[:14, 2 * GAP + 16 :]
    assert (right == torch.tensor(PAPER, dtype=torch.uint8)).all()


def test_the_input_is_not_touched_and_gradients_do_not_matter():
    (target,) = panes((16, 16))
    before = target.clone()
    montage([target.requires_grad_()])
    assert torch.equal(target, before)


@pytest.mark.parametrize(
    ("given", "titles", "message"),
    [
        ([], None, "at least 1"),
        ([torch.zeros(0, 3, 8, 8)], None, "at least 1"),
        ([torch.zeros(1, 3, 8, 8), torch.zeros(2, 3, 8, 8)], None, r"\[1, 2\] images"),
        ([torch.zeros(1, 2, 8, 8)], None, "C of 1 or 3"),
        ([torch.zeros(3, 8, 8)], None, "must be"),
        ([torch.zeros(1, 3, 8, 8)], ["a", "b"], "2 titles for 1 panes"),
    ],
)
def test_mistakes_are_named(given, titles, message):
    with pytest.raises(ValueError, match=message):
        montage(given, titles)


def tiles(sheet: torch.Tensor, side: int, rows: int, columns: int, top: int) -> torch.Tensor:
    """Images of a sheet, (rows, columns, side, side, 3), a pixel of paper between them."""
    return torch.stack([
        torch.stack([
            sheet[top + r * (side + 1) :, GAP + c * (side + 1) :][:side, :side]
            for c in range(columns)
        ])
        for r in range(rows)
    ])  # fmt: skip


def shown(image: torch.Tensor, factor: int) -> torch.Tensor:
    large = F.interpolate(image[None], scale_factor=factor)[0]
    return to_bytes(large).permute(1, 2, 0).expand(-1, -1, 3)


def test_thirty_two_images_make_a_compact_sheet():
    fake, real = panes((32, 32), (32, 32), count=32, channels=1)
    grid = sheets([fake, real], ("generated", "real"))
    assert grid.dtype == torch.uint8
    height, width = grid.shape[:2]
    assert width == 3 * GAP + 2 * (8 * 65 - 1)  # eight columns of twice the size, two sheets
    assert height < width < 4 * height
    images = tiles(grid, 64, 4, 8, height - GAP - 4 * 65 + 1)
    for number in range(32):
        assert torch.equal(images[number // 8, number % 8], shown(fake[number], 2))
    right = grid[:, GAP + 8 * 65 - 1 :]
    again = tiles(right, 64, 4, 8, height - GAP - 4 * 65 + 1)
    assert torch.equal(again[3, 7], shown(real[31], 2))


def test_with_labels_a_column_for_each_class():
    (fake,) = panes((16, 16), count=7)
    labels = [2, 0, 5, 0, 2, 5, 5]  # the third 5 finds no row
    grid = sheets([fake], labels=labels)
    images = tiles(grid, 64, 2, 3, len(grid) - GAP - 2 * 65 + 1)
    expected = [[1, 0, 2], [3, 4, 5]]
    for row in range(2):
        for column in range(3):
            assert torch.equal(images[row, column], shown(fake[expected[row][column]], 4))
    assert (grid[GAP : GAP + 14] != torch.tensor(PAPER)).any()  # the classes' numbers


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 2), (6, 4), (16, 4), (32, 8), (64, 8)])
def test_sheets_are_about_square(count: int, columns: int):
    (fake,) = panes((8, 8), count=count)
    assert sheets([fake]).shape[1] == 2 * GAP + columns * 65 - 1


def test_strips_show_every_image_in_its_place():
    (found,) = panes((16, 16), count=10)
    grid = strips(found.reshape(2, 5, 3, 16, 16), max_width=5 * 33)
    assert grid.shape == (2 * GAP + 2 * 33 - 1, 2 * GAP + 5 * 33 - 1, 3)
    images = tiles(grid, 32, 2, 5, GAP)
    assert torch.equal(images[1, 3], shown(found[8], 2))


def test_many_images_of_few_classes_are_no_tower():
    (fake,) = panes((8, 8), count=90)
    labels = [number % 3 for number in range(90)]
    height, width = sheets([fake], labels=labels).shape[:2]
    assert width > height / 3
    one = sheets([fake[:16]], labels=[5] * 16)
    assert torch.equal(one, sheets([fake[:16]]))
