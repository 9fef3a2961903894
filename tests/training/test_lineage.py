"""What makes two stages the same stage: every setting that can change a weight, and no other."""

import pytest
import torch

from ganforge.settings import field_flags, flatten, override
from ganforge.systems.progressive_gan_sr import Settings
from ganforge.systems.settings import ladder
from ganforge.training import lineage as module
from ganforge.training.lineage import Lineage, Start, differences, digest, environment, lineage
from ganforge.training.prepare import build_plan, prepare

EPOCH = (40, 80, 160, 320, 640)
BASE = override(
    Settings(),
    {
        "perceptual.network": "none",
        "images_per_epoch": 40,
        "batch_size": 8,
        "stages": ladder(8, 64, epochs=2, fade_epochs=1),
    },
)
#: Keys that an automatic other value does not fit, and keys whose value decides what others may be.
OTHER = {
    "channels": 1,
    "scale": 4,
    "shards": 2,
    "batch_size": 16,
    "keep": "all",
    "perceptual.network": "sha256:ab",
    "perceptual.gate": "lr",
    "device": "cuda",
    "workers": 2,
    "workers_at_least": 1,
    "alpha_unit": "epoch",
    "precision": "bfloat16",
    "gradient_penalty_precision": "bfloat16",
    "plan": "compact",
    "data.view": "crop",
    "data.smaller": "skip",
    "data.low_resolution_from": "original",
    "data.root": "elsewhere",
    "validation.root": "elsewhere",
    "validation.low_resolution": "elsewhere",
    "data.low_resolution": "elsewhere",
    "data.low_resolution_name": "{name}x2",
    "data.cache_directory": "elsewhere",
    "data.source": "digits",
    "data.horizontal_flip": False,
    "validation.fid_network": "proxy",
    "data.max_side": 64,
    "data.degradation.resize.1": 2.0,
    "data.degradation.filters.0": "area",
    "data.degradation.second.filters.0": "lanczos",
    "images_per_epoch": 48,
    "checkpoint_every": 3,
    "validation.every_epochs": 2,
    "seed": 5,
    "on_divergence": "rollback",
    "growth": "preserving",
    "initial_weights": "a file",
    "average_images": 500,
    **{f"{name}.schedule.kind": "linear" for name in ("generator", "critic")},
    **{f"{name}.clip_norm": 1.0 for name in ("generator", "critic")},
    **{f"{name}.schedule.milestones": "9" for name in ("generator", "critic")},
}
#: A stage's length is in its children's identity, not in its own; a system's name has one value.
LENGTHS = {"images_per_epoch", "system"}


def ids(settings: Settings, **more) -> tuple[str, ...]:
    plan = build_plan(settings, EPOCH[: len(settings.stages)])
    return lineage(settings, plan, more.get("data", "d"), more.get("code", {"a": "1"})).stage_ids


def other(key: str, value):
    """A legal value that is not the present one."""
    if key in OTHER:
        return OTHER[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return 0.5 * value + 0.03
    raise AssertionError(f"{key}: give another value in OTHER")


#: without which a setting of a schedule has no effect, and is refused
NEEDED = {
    "hold": {"kind": "linear"},
    "end": {"kind": "linear"},
    "gamma": {"kind": "multistep", "milestones": "8"},
    "milestones": {"kind": "multistep", "milestones": "8"},
}
KEYS = [k for k in flatten(BASE) if not k.startswith("stages.") and k not in LENGTHS]


@pytest.mark.parametrize("key", KEYS)
def test_a_setting_counts_exactly_when_it_is_marked(key):
    base, (player, *rest) = BASE, key.split(".")
    if rest[:1] == ["schedule"] and rest[1] in NEEDED:
        base = override(BASE, {f"{player}.schedule.{k}": v for k, v in NEEDED[rest[1]].items()})
    if key.startswith("data.low_resolution") and key != "data.low_resolution_from":
        base = override(BASE, {"data.view": "crop"})  # pairs are cut alone
    if key == "gradient_penalty_precision":
        base = override(BASE, {"precision": "bfloat16"})  # else it has no effect, and is refused
    if key.startswith("data.degradation.second."):
        base = override(BASE, {"data.degradation": "strong"})  # else its ranges are points
    value = flatten(base)[key]
    changed = override(base, {key: other(key, value)})
    assert flatten(changed)[key] != value
    before, after = ids(base), ids(changed)
    if field_flags(BASE)[key]["weights"]:
        assert all(old != new for old, new in zip(before, after, strict=True))
    else:
        assert before == after


def test_every_setting_is_marked_or_listed():
    assert {k for k in KEYS if not field_flags(BASE)[k]["weights"]} == {
        "data.root",
        "validation.root",
        "validation.low_resolution",
        "data.low_resolution",
        "data.low_resolution_name",
        "data.source",
        "data.strict",
        "data.download",
        "validation.fid_network",
        "data.smaller",
        "data.cache_directory",
        "data.cache_bytes",
        "validation.images",
        "validation.max_side",
        "validation.every_epochs",
        "validation.sliced_wasserstein",
        "validation.samples",
        "threads",
        "device",
        "deterministic",
        "cuda_graphs",
        "workers",
        "workers_at_least",
        "reports_per_stage",
        "rungs",
        "checkpoint_every",
        "keep",
    }


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [
        ("stages.0.epochs", 3, 1),  # own length: not in the id, but in the children's
        ("stages.1.epochs", 3, 2),
        ("stages.2.epochs", 3, 3),
        ("stages.3.epochs", 3, 4),
        ("stages.1.images_per_epoch", 80, 1),  # of the fade, here: 80 images in place of 40
        ("stages.1.fade_epochs", 2, 1),
        ("stages.3.task", "pixel", 3),
        ("stages.2.generator.learning_rate", 0.01, 2),
        ("stages.1.critic_steps", 2, 1),
    ],
)
def test_a_stage_counts_from_where_it_matters(key, value, same):
    base = override(BASE, {"stages": ladder(8, 128, epochs=2, fade_epochs=1)[:4]})
    before, after = ids(base), ids(override(base, {key: value}))
    assert [old == new for old, new in zip(before, after, strict=True)] == [
        index < same for index in range(4)
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("generator.learning_rate", 0.005),
        ("generator.betas.0", 0.5),
        ("critic_steps", 3),
        ("batch_size", 16),
        ("average_decay", 0.5),
    ],
)
def test_a_global_value_and_an_equal_one_per_stage_are_the_same(key, value):
    everywhere = override(BASE, {key: value})
    assert ids(everywhere) != ids(BASE)
    keys = [f"stages.{index}.{key}" for index in range(len(BASE.stages))]
    assert ids(override(BASE, dict.fromkeys(keys, value))) == ids(everywhere)
    assert ids(override(BASE, dict.fromkeys(keys, str(value)))) == ids(everywhere)
    # an override that says what holds anyway is nothing
    same = {f"stages.1.{key}": value}
    assert ids(override(everywhere, same)) == ids(everywhere)


def test_three_and_five_stages_share_the_first_three():
    five = override(BASE, {"stages": ladder(8, 256, epochs=2, fade_epochs=1)})
    three = override(five, {"stages": five.stages[:3]})
    assert len(five.stages) == 5
    assert ids(five)[:3] == ids(three)


def test_data_and_code_count():
    before = ids(BASE)
    for changed in (ids(BASE, data="e"), ids(BASE, code={"a": "2"}), ids(BASE, code={"b": "1"})):
        assert not set(before) & set(changed)


def test_order_of_settings_and_code_does_not_count():
    assert digest({"a": 1, "b": (2,)}) == digest({"b": [2], "a": 1})
    assert ids(BASE, code={"a": "1", "b": "2"}) == ids(BASE, code={"b": "2", "a": "1"})


def chain(*settings, left=(10, 10, 10), start=None) -> Lineage:
    return Lineage(tuple({"s": s} for s in settings), "d", 0, {}, left[: len(settings)], start)


def test_ids_go_on_from_a_stored_state():
    whole = chain("a", "b", "c")
    begun = chain("a", "b", "c", start=Start(whole.stage_ids[:2], 10))
    assert begun.stage_ids == whole.stage_ids
    assert [begun.parent(index) for index in range(3)] == [
        None,
        [whole.stage_ids[0], 10],
        [whole.stage_ids[1], 10],
    ]
    # stages that are over keep their ids, whatever the settings now say of them
    assert chain("x", "y", "c", start=Start(whole.stage_ids[:2], 10)).stage_ids == whole.stage_ids
    changed = chain("a", "b", "z", start=Start(whole.stage_ids[:2], 10)).stage_ids
    assert changed[:2] == whole.stage_ids[:2] and changed[2] != whole.stage_ids[2]


def test_a_parent_counts_by_the_step_it_was_left_at():
    whole = chain("a", "b")
    early = chain("a", "b", start=Start(whole.stage_ids[:1], 4))  # gone on with, to its end
    assert early.stage_ids == whole.stage_ids
    late = chain("a", "b", left=(4, 10), start=Start(whole.stage_ids[:1], 10))  # found past its end
    assert late.stage_ids == whole.stage_ids
    assert chain("a", "b", left=(4, 10)).stage_ids[1] != whole.stage_ids[1]


def test_facts_name_what_differs():
    settings = override(BASE, {"generator.betas": (0.1, 0.9), "seed": 3})
    plan = build_plan(settings, EPOCH[:3])
    facts = lineage(settings, plan, "d", {"training/loop.py": "2"}).facts()
    before = lineage(BASE, build_plan(BASE, EPOCH[:3]), "d", {"training/loop.py": "1"}).facts()
    lines = "\n".join(differences(before, facts))
    assert "code training/loop.py: recorded 1, here 2" in lines
    assert "seed: recorded 0, here 3" in lines
    assert "stages.0: generator.betas.0: recorded 0.0, here 0.1" in lines
    assert differences(before, before) == []
    assert differences({"a": 1}, {"b": 2}) == [
        "a: recorded 1, here absent",
        "b: recorded absent, here 2",
    ]


def test_the_environment_names_what_decides_bits(monkeypatch):
    cpu = torch.device("cpu")
    base = environment(cpu, 1)
    assert {"torch", "torchvision", "pillow", "numpy", "device", "cpu_capability"} <= base.keys()
    assert digest(environment(cpu, 2)) != digest(base) == digest(environment(cpu, 1))
    monkeypatch.setattr(module, "cpu_model", lambda: "another")
    assert digest(environment(cpu, 1)) != digest(base)
    monkeypatch.undo()
    monkeypatch.setattr(module, "version", lambda package: "0")
    assert digest(environment(cpu, 1)) != digest(base)


def test_prepared_facts_follow_what_they_depend_on(tiny):
    prepared = prepare("progressive_gan_sr", tiny())
    same = prepared.with_settings(tiny(critic_steps=1))
    assert same.facts is prepared.facts
    finer = tiny(scale=4, stages=ladder(4, 32, scale=4))
    assert prepared.with_settings(finer).facts == prepare("progressive_gan_sr", finer).facts


def test_without_exact_world_size_shards_are_workers(tiny):
    settings = tiny(exact_world_size=False, workers=2)
    prepared = prepare("progressive_gan_sr", settings)
    assert prepared.settings.shards == 2
    more = override(settings, {"workers": 8})
    assert prepared.with_settings(more).settings.shards == 8
    assert prepared.with_settings(more).lineage().stage_ids != prepared.lineage().stage_ids
    with pytest.raises(ValueError, match="batch_size = 8: must be a multiple of shards"):
        prepare("progressive_gan_sr", override(settings, {"workers": 3}))


def test_assets_count_by_content():
    one, two = (
        override(BASE, {"perceptual.network": f"sha256:{content}"}) for content in ("ab", "cd")
    )
    assert ids(one) != ids(two)
