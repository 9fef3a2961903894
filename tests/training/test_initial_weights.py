"""Beginning with weights that exist: what is taken, what it is part of, and that bits repeat."""

import copy
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save_file
from small import SYSTEM, tiny
from stored_states import states
from torch import Tensor

from ganforge.assets import from_path
from ganforge.commands.initial_weights import initial_weights
from ganforge.schedule import finished
from ganforge.search.space import check_space
from ganforge.settings import SettingsError, override
from ganforge.systems import SYSTEMS
from ganforge.systems.base import System
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import SystemSettings
from ganforge.training.checkpoint import Store
from ganforge.training.initial_weights import Networks, fit, networks_of
from ganforge.training.loop import grow
from ganforge.training.prepare import Prepared, prepare
from ganforge.training.report import Report
from ganforge.training.run import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Report]]:
    """A run of two stages: its storage and its reports."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, list(run(prepare(SYSTEM, tiny(2)), store=str(folder)))


def exported(reports: list[Report], stage: int, folder: Path) -> Path:
    """A stage's averaged generator as a file."""
    [content] = [r.averaged for r in reports if r.stage is not None and r.stage.index == stage]
    assert content is not None
    path = folder / f"stage-{stage}.safetensors"
    path.write_bytes(content)
    return path


def begun(prepared: Prepared, stages: int = 1) -> System:
    """A system as a run has it before the first step of its last stage so far."""
    system = load_system(SYSTEM)(prepared.settings, prepared.assets)
    for index in range(stages):
        grow(system, prepared.plan(), index)
    return system


def generator(system: System) -> dict[str, Tensor]:
    return dict(system.players[1].module.state_dict())


def test_the_generator_begins_with_the_file_and_so_does_its_average(trained, tmp_path) -> None:
    path = exported(trained[1], 0, tmp_path)
    prepared = prepare(SYSTEM, tiny(1, seed=5, initial_weights=str(path)))
    system, plain = begun(prepared), begun(prepare(SYSTEM, tiny(1, seed=5)))
    given = {k.removeprefix("network."): v for k, v in load(path.read_bytes()).items()}
    assert given.keys() == generator(system).keys()
    for name, tensor in given.items():
        assert torch.equal(generator(system)[name], tensor)
        average = system.players[1].average
        assert average is not None and torch.equal(average.state_dict()[name], tensor)
    # the file has no critic: that begins as usual, and says so
    critics = [dict(s.players[0].module.state_dict()) for s in (system, plain)]
    assert all(torch.equal(critics[0][name], critics[1][name]) for name in critics[1])
    assert [w for w in prepared.warnings if "0 of the" in w and "of critic are taken" in w]


def test_blocks_of_later_stages_are_taken_when_they_are_grown(trained, tmp_path) -> None:
    path = exported(trained[1], 1, tmp_path)
    prepared = prepare(SYSTEM, tiny(3, initial_weights=str(path)))
    system, plain = begun(prepared, 3), begun(prepare(SYSTEM, tiny(3)), 3)
    given = {k.removeprefix("network."): v for k, v in load(path.read_bytes()).items()}
    kept = [name for name in given if name in generator(system)]
    assert any(name.startswith("blocks.1.") for name in kept)
    assert all(torch.equal(generator(system)[name], given[name]) for name in kept)
    new = [name for name in generator(system) if name.startswith("blocks.2.")]
    assert new and all(torch.equal(generator(system)[n], generator(plain)[n]) for n in new)


def test_a_growth_leaves_what_was_trained_since(trained, tmp_path) -> None:
    path = exported(trained[1], 1, tmp_path)
    system = begun(prepare(SYSTEM, tiny(2, initial_weights=str(path))))
    with torch.no_grad():
        system.players[1].module.state_dict()["base.conv1.weight"].fill_(7.0)
    grow(system, prepare(SYSTEM, tiny(2)).plan(), 1)
    assert (generator(system)["base.conv1.weight"] == 7.0).all()


def ids(settings: SystemSettings) -> tuple[str, ...]:
    return prepare(SYSTEM, settings).lineage().stage_ids


def test_it_is_part_of_every_stage_by_content(trained, tmp_path) -> None:
    path = exported(trained[1], 0, tmp_path)
    other = tmp_path / "renamed.safetensors"
    other.write_bytes(path.read_bytes())
    plain, one, two = (ids(tiny(2, **w)) for w in ({}, weights(path), weights(other)))
    assert one == two and all(a != b for a, b in zip(plain, one, strict=True))
    assert "initial_weights" not in tiny().identity(0)
    changed = load(path.read_bytes())
    changed["network.base.conv1.bias"] += 1e-3
    save_file(changed, other)
    assert ids(tiny(2, **weights(other))) != one


def weights(path: Path | str) -> dict[str, Any]:
    return {"initial_weights": str(path)}


def test_it_trains_resumes_and_repeats(trained, tmp_path) -> None:
    prepared = prepare(SYSTEM, tiny(2, **weights(exported(trained[1], 0, tmp_path))))
    whole = states(prepared, tmp_path / "whole")
    parts = states(prepared, tmp_path / "parts", 1) | states(prepared, tmp_path / "parts")
    # as `reproduce` has it: by the hash alone, from the cache
    again = prepare(SYSTEM, prepared.settings)
    assert again.settings.initial_weights.startswith("sha256:")
    assert whole == parts == states(again, tmp_path / "again")
    assert whole != states(prepare(SYSTEM, tiny(2)), tmp_path / "plain")


@pytest.mark.parametrize("part", ["all", "generator"])
def test_a_stored_state_gives_all_networks_or_the_generator(trained, tmp_path, part) -> None:
    folder, reports = trained
    name = initial_weights(str(folder), part, None)
    prepared = prepare(SYSTEM, tiny(2, seed=9, **weights(name)))
    system, plain = begun(prepared, 2), begun(prepare(SYSTEM, tiny(2, seed=9)), 2)
    path = exported(reports, 1, tmp_path)
    given = {k.removeprefix("network."): v for k, v in load(path.read_bytes()).items()}
    assert all(torch.equal(generator(system)[name], t) for name, t in given.items())
    key = "end.score.weight"
    mine, theirs = (s.players[0].module.state_dict()[key] for s in (system, plain))
    assert torch.equal(mine, theirs) is (part == "generator")


# ---- what is refused ----


def test_other_shapes_are_refused_with_both(trained, tmp_path) -> None:
    path = exported(trained[1], 0, tmp_path)
    message = r"\d of its \d+ tensors fit .*network.base.conv1.weight, 4×3×4×4, is 8×3×4×4 here"
    with pytest.raises(SettingsError, match=message):
        prepare(SYSTEM, tiny(1, width=8, **weights(path)))
    known = prepare(SYSTEM, tiny(1, **weights(path))).settings.initial_weights
    with pytest.raises(SettingsError, match=r"generator/base\S+, 4, is 8 here; keep the"):
        prepare(SYSTEM, tiny(1, width=8, **weights(known)))


def test_what_is_no_file_of_tensors_is_refused(tmp_path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps({"w": Hostile()}))
    with pytest.raises(SettingsError, match=r"model.pth: not a file of tensors \(\w+\)"):
        prepare(SYSTEM, tiny(1, **weights(path)))
    assert not (tmp_path / "ran").exists()
    with pytest.raises(SettingsError, match=r"nowhere.pth: no such file; give none or a file"):
        prepare(SYSTEM, tiny(1, **weights(tmp_path / "nowhere.pth")))
    torch.save({"epoch": 3}, path)
    with pytest.raises(SettingsError, match=r"0 of its 0 tensors fit a network"):
        prepare(SYSTEM, tiny(1, **weights(path)))


def test_it_is_not_searched() -> None:
    from ray import tune

    with pytest.raises(SettingsError, match="initial_weights: cannot be searched"):
        check_space({"initial_weights": tune.choice(["a", "b"])}, tiny())


# ---- names ----


def small_settings(name: str) -> SystemSettings:
    kind = load_system(name)
    quick = override(kind.Settings(), kind.PRESETS["quick"])
    return override(quick, {"perceptual.network": "none"} if hasattr(quick, "perceptual") else {})


def grown(name: str, settings: SystemSettings, seed: int) -> System:
    """A system at its last stage with weights of its own everywhere, averages and buffers too."""
    system = load_system(name)(settings, {})
    generator = torch.Generator().manual_seed(seed)
    for index in range(len(settings.stages)):
        system.grow(index)
        for player in system.players:
            player.follow()
    for player in system.players:
        averages = {} if player.average is None else player.average.state_dict()
        for key, tensor in player.module.state_dict().items():
            for part in (tensor, averages.get(key, tensor)):
                part.copy_(torch.randint(1, 1000, part.shape, generator=generator))
    return system


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_every_system_begins_with_a_state_and_with_what_it_deploys(name: str) -> None:
    settings = small_settings(name)
    networks, last = networks_of(name, settings, {}), len(settings.stages) - 1
    other = grown(name, settings, 1)
    # a state has all that the players have at its stage, by the system's own names
    taken = fit(dict(other.state_dict()), networks)
    for player in other.players:
        for key, tensor in player.module.state_dict().items():
            assert torch.equal(taken[f"{player.name}/{key}"], tensor), (player.name, key)
    # a deployed network is taken whole, and deployed again it is the same
    deployed = dict(other.deploy(finished(settings, last)).state_dict())
    taken = fit(deployed, networks)
    assert len(taken) == len(deployed)
    system = grown(name, settings, 2)
    system.initial = taken
    system.begin_with(set())
    for player in system.players:
        player.average = None if player.average is None else copy.deepcopy(player.module)
    again = system.deploy(finished(settings, last)).state_dict()
    assert all(torch.equal(again[key], tensor) for key, tensor in deployed.items())


@pytest.mark.parametrize(
    "name",
    ["generator/a.w", "generator.a.w", "a.w", "network.a.w", "module.a.w", "module.network.a.w"],
)
def test_names_that_files_have(name: str) -> None:
    names = {key: "generator/a.w" for key in ("generator.a.w", "a.w", "network.a.w")}
    tensors = {f"{p}/a.w": torch.empty(2, device="meta") for p in ("generator", "critic")}
    networks = Networks(tensors, names)
    half = torch.tensor([1.5, 2.0], dtype=torch.float16)
    [(key, tensor)] = fit({name: half}, networks).items()
    assert key == "generator/a.w" and tensor.dtype == torch.float32
    assert torch.equal(tensor, half.float())
    for wrong in (torch.zeros(3), torch.zeros(2, dtype=torch.int64)):
        assert not fit({name: wrong}, networks)


def test_values_that_are_not_finite_are_refused(trained, tmp_path) -> None:
    path = exported(trained[1], 0, tmp_path)
    tensors = load(path.read_bytes())
    tensors["network.base.conv1.bias"][0] = float("nan")
    save_file(tensors, path)
    with pytest.raises(SettingsError, match=r"generator/base\.conv1\.bias has values that are not"):
        prepare(SYSTEM, tiny(1, **weights(path)))


def test_a_hash_without_its_tensors_is_no_run(trained, tmp_path) -> None:
    from dataclasses import replace

    prepared = prepare(SYSTEM, tiny(1, **weights(exported(trained[1], 0, tmp_path))))
    with pytest.raises(SettingsError, match="has this name and not its tensors"):
        next(run(replace(prepared, assets={})))


def test_a_part_is_of_a_stored_state(trained, tmp_path) -> None:
    path = exported(trained[1], 0, tmp_path)
    for reference, message in ((str(path), "is for a stored state"), (None, "give --from")):
        with pytest.raises(SettingsError, match=message):
            initial_weights(reference, "generator", None)
    newest = trained[0] / Store(str(trained[0])).names()[0]
    damaged = tmp_path / newest.name
    shutil.copytree(newest, damaged)
    next(damaged.glob("*.safetensors")).write_bytes(b"x")
    with pytest.raises(SettingsError, match=r"^--from: model = "):
        initial_weights(str(damaged), "all", None)


@pytest.mark.parametrize("inside", ["params_ema", "params", "state_dict"])
def test_state_dicts_in_a_table(inside: str, tmp_path) -> None:
    """Averages before weights, and a count next to them hides neither."""
    path = tmp_path / "x.pth"
    order = ("params_ema", "params", "state_dict")
    later = order[order.index(inside) :]
    table = {name: {"a": torch.full((2,), float(k))} for k, name in enumerate(order)}
    torch.save({"iter": torch.tensor(3), **{name: table[name] for name in later}}, path)
    assert torch.equal(from_path(str(path), "key")["a"], table[inside]["a"])


@pytest.mark.filterwarnings("ignore")  # of sparse tensors
def test_odd_tables_are_no_state_dicts(tmp_path) -> None:
    path = tmp_path / "x.pth"
    endless: dict[str, Any] = {}
    endless["params"] = endless
    torch.save(endless, path)
    assert from_path(str(path), "key") == {}
    torch.save({"a": torch.eye(2).to_sparse(), "b": torch.ones(1)}, path)
    assert list(from_path(str(path), "key")) == ["b"]
