"""Stages, fade-in, and where a run yields."""

import pytest
import torch

from ganforge.schedule import Plan, Position, Stage


def plan(**changes) -> Plan:
    stages = (Stage(8, 100, 0, 8, 4, epoch_images=50), Stage(16, 160, 80, 8, 4, epoch_images=40))
    given = {"stages": stages, "settings": ("a", "b"), "seed": 3} | changes
    return Plan(**given)


def test_a_stage_has_whole_batches_and_shows_at_least_its_images():
    assert [stage.steps for stage in plan().stages] == [13, 20]
    assert Stage(8, 3, 0, 16, 4).steps == 1


def test_alpha_is_zero_at_growth_linear_and_exactly_one_after_the_fade():
    stage = plan().stages[1]
    assert [stage.alpha(step) for step in (0, 1, 5, 9)] == [0.0, 0.1, 0.5, 0.9]
    assert [stage.alpha(step) for step in (10, 11, 20)] == [1.0, 1.0, 1.0]
    assert [stage.fading(step) for step in (0, 9, 10)] == [True, True, False]
    assert plan().stages[0].alpha(0) == 1.0  # nothing to fade from


def test_alpha_by_epoch_moves_once_an_epoch():
    stage = Stage(16, 160, 120, 8, 4, epoch_images=40, alpha_unit="epoch")
    assert [stage.alpha(s) for s in (0, 4, 5, 9, 10, 14, 15)] == [0, 0, 0.5, 0.5, 1.0, 1.0, 1.0]


def test_progress_carries_the_stage_and_a_run_time_alpha():
    progress = plan().progress(1, 5)
    assert torch.equal(progress.alpha, torch.tensor(0.5)) and progress.alpha.shape == ()
    assert progress.settings == "b" and progress.fading


def test_images_are_counted_over_all_stages():
    assert plan().images_before(Position(0, 0)) == 0
    assert plan().images_before(Position(0, 13)) == 104
    assert plan().images_before(Position(1, 2)) == 120


def test_yields_are_functions_of_the_position():
    p = plan(reports_per_stage=5)
    kinds = [p.yields(Position(0, step)) for step in range(14)]
    assert kinds[0] == "progress" and kinds[13] == "stage"
    assert sum(kind is not None for kind in kinds) == 6  # the start and five equal parts
    every = plan(reports_per_stage=1, checkpoint_every=4)
    assert [s for s in range(21) if every.yields(Position(1, s)) == "checkpoint"] == [4, 8, 12, 16]


@pytest.mark.parametrize("reports", [1, 2, 3, 7, 10, 50])
@pytest.mark.parametrize("steps", [1, 2, 5, 13, 96])
def test_samples_fall_on_reported_positions(reports, steps):
    p = Plan((Stage(8, steps * 8, 0, 8, 4, epoch_images=8),), ("a",), 0, reports_per_stage=reports)
    drawn = [s for s in range(steps + 1) if p.samples(Position(0, s))]
    assert drawn[0] == 0 and drawn[-1] == steps
    assert all(p.yields(Position(0, s)) for s in drawn)


def test_sample_grids_of_stages_of_different_lengths_are_at_equal_parts_of_them():
    lengths = (96, 128, 160, 1000)
    marks = []
    for steps in lengths:
        p = Plan((Stage(8, steps * 8, 0, 8, 4, epoch_images=8),), ("a",), 0)
        drawn = [Position(0, s) for s in range(steps + 1) if p.samples(Position(0, s))]
        marks.append([p.done(position) for position in drawn])
    assert marks == [[0.0, 0.1, 0.2, 0.5, 1.0]] * len(lengths)


def test_validation_at_stage_ends_after_growth_and_by_epochs():
    p = plan(validate_every_epochs=2)
    assert [s for s in range(14) if p.validates(Position(0, s))] == [13]
    assert [s for s in range(21) if p.validates(Position(1, s))] == [0, 10, 20]
    assert all(p.yields(Position(1, s)) for s in (0, 10, 20))


def test_stages_that_still_have_steps():
    assert [i for i, _ in plan().stages_from(Position(0, 0))] == [0, 1]
    assert [i for i, _ in plan().stages_from(Position(0, 13))] == [1]
    assert [i for i, _ in plan().stages_from(Position(1, 19))] == [1]
    assert list(plan().stages_from(Position(1, 20))) == []
