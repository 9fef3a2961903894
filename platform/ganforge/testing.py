"""Tests that every system must pass, for the systems of this package and for a user's own.

    from ganforge.testing import check_system

    def test_my_gan():
        check_system("my_gan.py:MyGAN")

They train on the images that the system's `quick` preset names, for a few steps.

The file is imported, so it is code that runs as you: name your own, or one that you have read. From
then on this machine trusts it, by the sha256 of its files (systems/trust.py), also where a run, a
checkpoint or a registered model names it.
"""

import inspect
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from ganforge.data.base import Data
from ganforge.data.batch import Batch
from ganforge.data.prepare import open_data
from ganforge.schedule import Plan, Position, Progress
from ganforge.settings import flatten, override, read_json, to_json, validated
from ganforge.systems.base import Player, System
from ganforge.systems.catalog import known_systems, load_own_system, load_system
from ganforge.training.loop import Loop, Means, due, grow
from ganforge.training.multiprocess import run_multiprocess
from ganforge.training.prepare import Prepared, prepare
from ganforge.training.run import run
from ganforge.training.workers import Workers

BATCH, SHARDS = 8, 4


def check_system(
    system: str | type[System],
    changes: Mapping[str, Any] | None = None,
    worker_counts: Sequence[int] = (2, 3),
) -> None:
    """Raise AssertionError for the first promise that a system does not keep.

    `system` is a name, FILE.py:Class or a class; `changes` are settings by dotted key, such as
    data.root. `worker_counts` are the numbers of workers that are compared with one. The code of
    the system is executed, and trusted from then on.
    """
    torch.set_num_threads(1)  # as in training: networks this small gain nothing from more
    name = system if isinstance(system, str) else name_of(system)
    load_own_system(name)
    check_settings(name)
    prepared = small(name, changes)
    check_first_weights(prepared)
    check_images(prepared)
    check_finite(prepared)
    check_turns(prepared)
    check_resume(prepared)
    check_workers([prepared], worker_counts)


def name_of(system: type[System]) -> str:
    """The name under which a class is loaded: a known system's, or FILE.py:Class."""
    where = f"{system.__module__}:{system.__qualname__}"
    for name, value in known_systems().items():
        if value == where:
            return name
    return f"{inspect.getfile(system)}:{system.__qualname__}"


def small(name: str, changes: Mapping[str, Any] | None = None) -> Prepared:
    """The first two stages of the `quick` preset, as short as every player's turns allow."""
    kind = load_own_system(name)
    settings = override(kind.Settings(), kind.PRESETS.get("quick", {}))
    rows = [
        {"resolution": row.resolution, "fade_epochs": 0.5 if row.fade_epochs and number else 0}
        for number, row in enumerate(settings.stages[:2])
    ]
    base = {
        "stages": tuple(rows),
        "batch_size": BATCH,
        "shards": SHARDS,
        "images_per_epoch": 4 * BATCH,
        "validation.images": 2,
        "validation.samples": 2,
        "validation.sliced_wasserstein": False,
        "validation.fid_network": "none",
        "reports_per_stage": 2,
        "device": "cpu",
    }
    prepared = prepare(name, override(settings, base | dict(changes or {})))
    longest = max(player.every(prepared.settings) for player in fresh(prepared).players)
    enough = override(prepared.settings, {"images_per_epoch": 4 * BATCH * longest})
    return replace(prepared, settings=enough)


def fresh(prepared: Prepared) -> System:
    return load_system(prepared.system)(prepared.settings, prepared.assets)


def stages(prepared: Prepared) -> Iterator[tuple[System, Plan, Data, int]]:
    """The system grown to each stage in turn, with the images."""
    settings, plan, system = prepared.settings, prepared.plan(), fresh(prepared)
    scale = system.source_scale(settings)
    data = open_data(system.Data, settings, plan.stages, scale, settings.seed, prefetch=False)
    try:
        for index in range(len(plan.stages)):
            grow(system, plan, index)
            yield system, plan, data, index
    finally:
        data.close()


def check_settings(name: str) -> None:
    """Defaults and presets are valid, and survive strings and files."""
    kind = load_system(name)
    for preset, changes in {"defaults": {}, **kind.PRESETS}.items():
        settings = override(kind.Settings(), changes)
        strings = {key: str(value) for key, value in flatten(settings).items()}
        assert override(settings, strings) == settings, f"{preset}: not the same after strings"
        again = validated(kind.Settings, read_json(to_json(settings))["settings"])
        assert again == settings, f"{preset}: not the same after settings.json"


def check_first_weights(prepared: Prepared) -> None:
    """First weights are those of the constructor, a function of the seed, in every process."""
    system = fresh(prepared)
    first = values(system.state_dict().items())
    torch.rand(1)
    other = changed(first, fresh(prepared).state_dict())
    assert not other, (
        f"two systems of one seed begin with other weights: {other}; draw them from torch's "
        "default generator, after super().__init__(settings, assets)"
    )
    system.grow(0)
    grown = system.state_dict()
    redrawn = changed({n: t for n, t in first.items() if n in grown}, grown)
    assert not redrawn, (
        f"grow(0) overwrites weights that the constructor initialised: {redrawn}; initialise a "
        "network in one of the two"
    )


def check_images(prepared: Prepared) -> None:
    """Generated images and panes have the shapes and the range of the real ones, and are a
    function of the batch alone."""
    for system, plan, data, index in stages(prepared):
        batch, progress = data.samples(index), plan.progress(index, plan.stages[index].steps)
        with torch.inference_mode():
            made = system.generated(batch, progress)
            panes = system.sample(batch, progress)
            torch.rand(1)
            again = system.generated(batch, progress)
            deployed = use(system.deploy(progress), batch)
        assert torch.equal(made, again), "generated() draws from the default generator"
        assert len(panes) == len(system.sample_titles), (
            f"sample() gives {len(panes)} panes, sample_titles has {len(system.sample_titles)}"
        )
        wanted = tuple(batch.target.shape)
        for source, images in {"generated()": made, "deploy()": deployed}.items():
            shape = tuple(images.shape)
            assert shape == wanted, f"{source} gives {shape}, not {wanted}"
            assert images.abs().max() <= 1, f"{source} leaves [-1, 1]"
            cut = (images.abs() == 1).float().mean().item()
            assert cut < 0.5, (
                f"{source}: {cut:.0%} of the values are cut off at -1 or 1 before any training; "
                "scale what the network makes"
            )
        for pane in panes:
            assert len(pane) == len(batch), f"a pane has {len(pane)} images, not {len(batch)}"


def use(network: torch.nn.Module, batch: Batch) -> Tensor:
    """What a deployed network makes: of the batch's sources, or of latents and labels."""
    if batch.source is not None:
        return network(batch.source)
    latents = torch.randn(len(batch), network.latent_size)  # pyright: ignore
    if network.num_classes is None:
        return network(latents)
    return network(latents, batch.label)


def check_finite(prepared: Prepared) -> None:
    """Terms and gradients stay finite for one image and for identical ones."""
    cases = {"one image": [0], "identical images": [0, 0, 0, 0]}
    for system, plan, data, index in stages(prepared):
        real = data.batch(index, 0, 0)
        for step in (0, plan.stages[index].steps):  # at the start of a fade, and after it
            progress = plan.progress(index, step)
            for case, rows in cases.items():
                for player in system.players:
                    where = f"{player.name}, stage {index}, {case}"
                    _check_terms(system, player, chosen(real, rows), progress, where)


def _check_terms(
    system: System, player: Player, batch: Batch, progress: Progress, where: str
) -> None:
    terms = system.losses(player.name, batch, progress)
    for name, value in terms.items():
        assert torch.isfinite(value).all(), f"{where}: {name} is {value.tolist()}"
    if not terms:
        return
    total = torch.stack([value.sum() for value in terms.values()]).sum()
    for gradient in torch.autograd.grad(total, player.parameters, allow_unused=True):
        assert gradient is None or torch.isfinite(gradient).all(), f"{where}: gradient not finite"


def chosen(batch: Batch, rows: list[int]) -> Batch:
    tensors = {item.name: getattr(batch, item.name) for item in fields(batch)}
    return replace(batch, **{name: t[rows] for name, t in tensors.items() if t is not None})


def check_turns(prepared: Prepared) -> None:
    """A turn changes its own player's network and no other; an epoch changes all of each."""
    for system, plan, data, index in stages(prepared):
        loop = Loop(system, plan, data, Workers(), Means())
        begin = {p.name: values(p.module.named_parameters()) for p in system.players}
        for step in range(plan.stages[index].steps):
            progress = plan.progress(index, step)
            for player in due(system.players, progress):
                others = [p for p in system.players if p is not player]
                before = [values(other.module.state_dict().items()) for other in others]
                loop.turn(player, progress)
                for other, old in zip(others, before, strict=True):
                    moved = changed(old, dict(other.module.state_dict()))
                    assert not moved, f"the turn of {player.name} moves {other.name}: {moved}"
        for player in system.players:
            moved = changed(begin[player.name], dict(player.module.named_parameters()))
            # a critic's last bias cancels in a difference of scores: one number may stay
            still = [n for n, p in player.module.named_parameters() if p.numel() > 1]
            still = sorted(set(still) - set(moved))
            assert not still, f"stage {index} leaves parameters of {player.name} alone: {still}"


def values(named: Any) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in named}


def changed(before: dict[str, Tensor], now: dict[str, Tensor]) -> list[str]:
    return [name for name, old in before.items() if not torch.equal(old, now[name])]


def check_resume(prepared: Prepared) -> None:
    """A run that is stopped inside a stage and resumed ends in the bits of one that is not."""
    whole = final_hashes(0, 1, [prepared])
    with tempfile.TemporaryDirectory() as folder:
        running = run(prepared, store=folder)
        for report in running:
            if report.position >= Position(len(prepared.settings.stages) - 1, 1):
                break
        running.close()
        rows = [r.stage for r in run(prepared, store=folder, resume=True) if r.stage]
    assert rows[-1].hashes == whole[0], "a resumed run ends in other bits than a whole one"


def check_workers(prepared: Sequence[Prepared], worker_counts: Sequence[int] = (2, 3)) -> None:
    """Any number of workers ends in the bits of one."""
    alone = run_multiprocess(1, final_hashes, prepared)[0]
    for world in worker_counts:
        several = [replace(p, settings=override(p.settings, {"workers": world})) for p in prepared]
        for rank, theirs in enumerate(run_multiprocess(world, final_hashes, several)):
            for one, mine, other in zip(prepared, alone, theirs, strict=True):
                differ = sorted(key for key in mine if mine[key] != other[key])
                assert not differ, f"{one.system}: {world} workers, rank {rank}: {differ}"


def final_hashes(rank: int, world: int, prepared: Sequence[Prepared]) -> list[dict[str, str]]:
    """The hashes of the last stage's end of each run."""
    found = []
    for one in prepared:
        rows = [report.stage for report in run(one, rank=rank, world=world) if report.stage]
        found.append(rows[-1].hashes)
    return found
