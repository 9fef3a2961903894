"""Settings: messages for mistakes, flatten and override as inverses, per-stage values."""

import json

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ganforge.commands.describe import describe
from ganforge.migrations import MIGRATIONS, SCHEMA
from ganforge.settings import (
    SettingsError,
    field_flags,
    flatten,
    override,
    per_stage_keys,
    read_json,
    to_json,
    validated,
)
from ganforge.systems.catalog import load_system
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR, Settings
from ganforge.systems.settings import ladder

BAD = {
    "generator.learning_rte": (
        "1",
        "unknown setting 'generator.learning_rte'; did you mean 'generator.learning_rate'?",
    ),
    "critic_steps": (
        "2.5",
        "critic_steps = '2.5': Input should be a valid integer, "
        "unable to parse string as an integer",
    ),
    "gradient_penalty_weight": (
        -1,
        "gradient_penalty_weight = -1: Input should be greater than or equal to 0",
    ),
    "stages.2.resolution": (
        96,
        "stages.2.resolution = 96: must be twice the resolution of the stage before it (64)",
    ),
    "stages.9.epochs": ("1", "unknown setting 'stages.9.epochs': stages has 4 entries, 0 to 3"),
    "stages.1.batch_sise": (
        "8",
        "unknown setting 'stages.1.batch_sise'; did you mean 'stages.1.batch_size'?",
    ),
    "stages.1.generator.learning_rate": (
        "-1",
        "stages.1.generator.learning_rate = '-1': Input should be greater than 0",
    ),
    "generator.betas.0": (
        "1.5",
        "generator.betas.0 = 1.5: must be at least 0 and below 1",
    ),
    "batch_size": (
        "15",
        "batch_size = 15: must be a multiple of shards (4); change one of the two",
    ),
    "workers": (
        "9",
        "workers = 9: must be at most shards (4), since a shard is not divided; "
        "raise shards or lower workers",
    ),
    "workers_at_least": (
        "2",
        "workers_at_least = 2: must be at most workers (1), the most that a run takes; "
        "raise workers or lower workers_at_least",
    ),
    "keep": ("best:0", "keep = 'best:0': must be all, last, or best:N with N ≥ 1"),
    "scale": (3, "scale = 3: Input should be 2 or 4"),
    "perceptual.gate": ("up", "perceptual.gate = 'up': Input should be 'hr' or 'lr'"),
    "generator.learning_rate": (
        "nan",
        "generator.learning_rate = 'nan': Input should be a finite number",
    ),
}


@pytest.mark.parametrize("given", ["generator.learning_rate", "generator", "l1_weight"])
def test_a_stage_given_as_a_whole_says_where_its_own_values_stand(given: str) -> None:
    settings = load_system("pix2pix").Settings()
    stages = [{"resolution": 64, "epochs": 1}, {"resolution": 64, "epochs": 1, given: 1}]
    with pytest.raises(SettingsError) as caught:
        override(settings, {"stages": stages})
    (line,) = str(caught.value).splitlines()
    own = {"generator": "generator.learning_rate"}.get(given, given)
    assert line == (
        f"unknown setting 'stages.1.{given}': a stage that is given as a whole has it in "
        f'"overrides": {{"{own}": …}}'
    )
    del stages[1][given]
    stages[1]["overrides"] = {"generator.learning_rate": 1}
    assert override(settings, {"stages": stages}).stages[1].overrides


def test_keys_that_are_no_text_are_named_with_everything_else():
    """A half of a character, which JSON can hold: in the whole, a group, a stage, an override."""
    tree = {
        "\ud800": 1,
        "seed": "x",
        "data": {"a\ud800": 1, "view": 3},
        "stages": [{"\ud800": 1}, {"overrides": {"\ud800": 1}}],
    }
    with pytest.raises(SettingsError) as caught:
        validated(Settings, tree)
    text = str(caught.value)
    for key in ("\ud800", "data.a\ud800", "stages.0.\ud800", "stages.1.overrides.\ud800"):
        assert f"unknown setting '{ascii(key)[1:-1]}'" in text
    assert "seed = 'x'" in text and "data.view = 3" in text


@pytest.mark.parametrize("key", BAD)
def test_each_mistake_is_named_in_one_line(key):
    value, message = BAD[key]
    with pytest.raises(SettingsError) as caught:
        override(Settings(), {key: value})
    assert str(caught.value).splitlines()[0] == message


def test_all_mistakes_are_reported_together():
    with pytest.raises(SettingsError) as caught:
        override(Settings(), {"widht": 1, "critic_step": 2})
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("preset", ["paper", "described", "quick", "distortion"])
def test_flatten_and_override_are_inverse_also_through_strings(preset):
    settings = override(Settings(), ProgressiveGANSR.PRESETS[preset])
    flat = flatten(settings)
    assert override(settings, flat) == settings
    assert override(settings, {key: str(value) for key, value in flat.items()}) == settings


@examples(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "generator.learning_rate": st.floats(1e-9, 1.0),
            "generator.betas.0": st.floats(0, 0.999),
            "critic_steps": st.integers(1, 50),
            "data.root": st.one_of(st.none(), st.text("abc/ .", min_size=1).filter(str.strip)),
            "bicubic_skip": st.booleans(),
            "stages.1.epochs": st.integers(256, 9999),
            "stages.2.critic.learning_rate": st.floats(1e-9, 1.0),
            "stages.3.batch_size": st.sampled_from([4, 8, 12]),
            "validation.every_epochs": st.one_of(st.none(), st.integers(1, 9)),
        },
    )
)
def test_any_change_survives_the_command_line(changes):
    changed = override(Settings(), changes)
    # every stage's overrides in one go: the typed value and its string mean the same settings
    again = override(Settings(), {key: str(value) for key, value in changes.items()})
    assert [again.at(k) for k in range(4)] == [changed.at(k) for k in range(4)]
    assert validated(Settings, json.loads(changed.model_dump_json())) == changed


def test_lists_may_be_given_whole_or_by_number():
    whole = override(Settings(), {"generator.betas": "0.5,0.9"})
    parts = override(Settings(), {"generator.betas.0": "0.5", "generator.betas.1": "0.9"})
    assert whole == parts
    assert override(Settings(), {"generator.betas": "[0.5, 0.9]"}) == whole


def test_per_stage_values_hold_at_their_stage_alone():
    settings = override(
        Settings(), {"stages.1.generator.learning_rate": "0.5", "stages.2.batch_size": 8}
    )
    assert [settings.at(k).generator.learning_rate for k in range(4)] == [1e-3, 0.5, 1e-3, 1e-3]
    assert [settings.at(k).batch_size for k in range(4)] == [16, 16, 8, 16]
    assert "stages.1.generator.learning_rate" in flatten(settings)


def test_structure_is_global_only():
    allowed = per_stage_keys(Settings())
    assert "generator.learning_rate" in allowed and "generator.betas.0" in allowed
    assert not {"width", "plan", "scale", "shards", "seed"} & allowed
    with pytest.raises(SettingsError, match=r"unknown setting 'stages\.1\.width'"):
        override(Settings(), {"stages.1.width": 8})


def test_marks_hold_for_everything_in_a_group():
    found = field_flags(Settings())
    assert found["generator.betas.1"] == {"per_stage": True, "weights": True, "added": False}
    assert found["on_divergence"]["added"] is True
    assert field_flags(Settings(on_divergence="rollback"))["on_divergence"]["added"] is False
    assert found["workers"]["weights"] is False
    assert found["data.root"]["weights"] is False
    assert found["data.view"]["weights"] is True


def test_every_setting_has_a_meaning_and_a_type():
    rows = describe(Settings())
    # a list without an item has no key of its own, and is listed as a whole
    whole = [row["key"] for row in rows if row["key"] not in flatten(Settings())]
    assert whole == [
        "data.roots",
        "data.weights",
        "data.degradation",  # a group that can be given by a name
        "keep_by",
    ]
    assert len(rows) == len(flatten(Settings())) + len(whole)
    assert all(row["meaning"] and row["type"] for row in rows)


def test_settings_file_round_trip_and_refusals():
    settings = override(Settings(), ProgressiveGANSR.PRESETS["quick"])
    record = read_json(to_json(settings))
    assert record["schema"] == SCHEMA == len(MIGRATIONS) + 1
    assert validated(Settings, record["settings"]) == settings
    for text in ("{", "[]", '{"system": "x"}'):
        with pytest.raises(SettingsError):
            read_json(text)
    with pytest.raises(ValueError, match="schema = 99"):
        read_json('{"schema": 99, "system": "x", "settings": {}}')


def test_ladder():
    assert [s.resolution for s in ladder(16, 256)] == [32, 64, 128, 256]
    assert [s.resolution for s in ladder(4, 64, scale=4)] == [16, 32, 64]
    stages = ladder(4, 256, epochs=(5, 9), fade_epochs=3)
    assert [s.epochs for s in stages] == [5, 9, 9, 9, 9, 9]
    assert [s.fade_epochs for s in stages] == [0, 3, 3, 3, 3, 3]
    for start, target in ((3, 8), (16, 16), (16, 48)):
        with pytest.raises(SettingsError):
            ladder(start, target)


def test_described_preset_is_the_descriptions_own_numbers():
    s = override(Settings(), ProgressiveGANSR.PRESETS["described"])
    assert (s.generator.learning_rate, s.generator.betas, s.generator.epsilon) == (
        0.01,
        (0.5, 0.9),
        1e-7,
    )
    assert s.critic == s.generator
    assert (s.gradient_penalty_weight, s.critic_steps, s.batch_size) == (5.0, 5, 16)
    assert [(t.epochs - t.fade_epochs, t.fade_epochs) for t in s.stages] == [
        (256, 0),
        (256, 256),
        (256, 256),
        (256, 256),
    ]
    assert s.pixel_weight == 0 and not s.bicubic_skip


def test_a_rule_of_a_group_hides_no_mistake_of_a_stage():
    """The betas are judged together once each is a number, a stage's settings after all groups."""
    kind = load_system("superresgan_unet")
    changes = {
        "critic.betas.0": "1.0",
        "critic.betas.1": "",
        "stages.0.adversarial_weight": "",
    }
    with pytest.raises(SettingsError) as refused:
        override(kind.Settings(), changes)
    for name in ("critic.betas.1 = ''", "critic.betas.0 = 1.0", "stages.0.adversarial_weight = ''"):
        assert name in str(refused.value)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"iterations": 5}, None),
        ({"iterations": 5, "fade_iterations": 5}, None),
        ({"images": 64, "fade_images": 8}, None),
        ({"epochs": 2, "fade_epochs": 1.5}, None),
        ({"images": 64, "iterations": 5}, "iterations = 5: stages.1.images = 64 gives the length"),
        ({"iterations": 5, "fade_iterations": 6}, "must be at most stages.1.iterations (5)"),
        (
            {"iterations": 5, "fade_images": 8},
            "stages.1.iterations = 5 is the stage's length",
        ),
        ({"images": 64, "fade_epochs": 1}, "stages.1.images = 64 is the stage's length"),
        ({"images": 64, "fade_images": 65}, "must be at most stages.1.images (64)"),
        ({"fade_images": 8}, "needs stages.1.images, the stage's own length in images"),
        ({"fade_iterations": 8}, "needs stages.1.iterations, the stage's own length"),
        ({"epochs": 1, "fade_epochs": 2}, "must be at most stages.1.epochs (1)"),
    ],
)
def test_a_stage_has_one_length_and_its_fade_the_same_unit(row, problem):
    rows = [{"resolution": 16}, {"resolution": 32, **row}]
    if problem is None:
        assert validated(Settings, {"stages": rows}).stages[1].resolution == 32
        return
    with pytest.raises(SettingsError) as caught:
        validated(Settings, {"stages": rows})
    assert problem in str(caught.value)


def test_iterations_are_batches_of_the_stage():
    from ganforge.training.prepare import build_plan

    rows = [
        {"resolution": 16, "iterations": 7},
        {"resolution": 32, "iterations": 9, "fade_iterations": 3, "overrides": {"batch_size": 8}},
        {"resolution": 64, "epochs": 2, "fade_epochs": 1},
    ]
    plan = build_plan(validated(Settings, {"stages": rows, "batch_size": 16}), (40, 40, 40))
    assert [stage.steps for stage in plan.stages] == [7, 9, 5]
    assert [stage.images for stage in plan.stages] == [112, 72, 80]
    assert [plan.stages[1].fading(step) for step in (2, 3)] == [True, False]
    assert plan.stages[2].fade_images == 40


def test_a_penalty_is_less_precise_only_where_the_rest_is():
    from ganforge.systems.progan import SettingsA

    override(SettingsA(), {"precision": "bfloat16", "gradient_penalty_precision": "tf32"})
    for precision in ("float32", "tf32"):
        with pytest.raises(SettingsError, match="gradient_penalty_precision = tf32: is for precis"):
            override(SettingsA(), {"precision": precision, "gradient_penalty_precision": "tf32"})
