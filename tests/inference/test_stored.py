"""A checkpoint in use: the network of its step, in a fade too."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from generators import write_untrained

from ganforge.inference.model import from_folder, stored_generators
from ganforge.inference.stored import from_store
from ganforge.schedule import Position
from ganforge.settings import SettingsError, override, to_json
from ganforge.training.checkpoint import Store, _manifest_bytes, pack
from ganforge.training.files import join
from ganforge.training.prepare import prepare
from ganforge.training.run import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory, images):
    """A run of two stages, every state kept: its place, and its states' own averaged networks."""
    from ganforge.systems.progressive_gan_sr import Settings
    from ganforge.systems.settings import ladder

    changes = {
        "width": 8, "batch_size": 8, "shards": 4, "critic_steps": 1, "pixel_weight": 1.0,
        "average_decay": 0.9, "images_per_epoch": 40, "perceptual.network": "none",
        "data.root": str(images), "data.view": "crop", "validation.images": 1,
        "reports_per_stage": 4, "device": "cpu", "keep": "all", "generator.learning_rate": 0.01,
        "stages": ladder(4, 16, epochs=2, fade_epochs=1),
    }  # fmt: skip
    settings = override(Settings(), changes)
    place = tmp_path_factory.mktemp("runs") / "one"
    prepared = prepare("progressive_gan_sr", settings)
    ends = {}
    for report in run(prepared, store=str(place)):
        if report.averaged is not None:
            ends[report.position.index] = report.averaged
    return place, settings, ends


def by_name(place: Path) -> dict[Position, str]:
    store = Store(str(place))
    return {store.load(name).position: name for name in store.names()}


def test_the_end_of_a_stage_is_the_network_that_was_recorded(trained, tmp_path):
    place, settings, ends = trained
    (tmp_path / "settings.json").write_text(to_json(settings))
    images = torch.rand(1, 3, 9, 7, generator=torch.manual_seed(0)) * 2 - 1
    for stage, weights in ends.items():
        file = tmp_path / "stages" / str(stage) / "generator.safetensors"
        file.parent.mkdir(parents=True)
        file.write_bytes(weights)
        model = from_store(str(place), stage)
        assert model is not None and (model.stage, model.scale) == (stage, 2)
        assert pack(dict(model.network.state_dict())) == weights
        recorded = from_folder(tmp_path, stage).network
        assert torch.equal(model.network(images), recorded(images))
    newest = from_store(str(place))
    assert newest is not None and newest.stage == 1
    assert pack(dict(newest.network.state_dict())) == ends[1]


def test_a_state_in_a_fade_fades(trained):
    place, _, _ = trained
    names = by_name(place)
    middle = min(p for p in names if p.index == 1 and p.step > 0)
    model = from_store(join(str(place), names[middle]))
    assert model is not None
    store = Store(str(place))
    groups = store.load(names[middle]).groups
    alpha = middle.step * 8 / 40
    from ganforge.networks.progressive import GrowingUpscaler, generator_plan

    network = GrowingUpscaler(3, 8, 2)
    network.grow_base()
    for index, channels in enumerate(generator_plan("by-resolution", 8, 4, 2)):
        network.grow_block(index, channels)
        network.grow_head(index)
    network.load_state_dict(groups["average.generator"])
    images = torch.rand(1, 3, 8, 8, generator=torch.manual_seed(0)) * 2 - 1
    expected = network(images, True, torch.tensor(alpha)).clamp(-1, 1)
    assert 0 < alpha < 1
    assert torch.equal(model.network(images), expected.detach())
    assert not torch.equal(expected, network(images, False, torch.tensor(1.0)).clamp(-1, 1))


def test_damage_is_passed_over_in_a_run_and_refused_by_name(trained, tmp_path):
    place, _, ends = trained
    copy = tmp_path / "runs"
    shutil.copytree(place, copy)
    newest = Store(str(copy)).names()[0]
    file = copy / newest / "networks.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    model = from_store(str(copy))
    assert model is not None
    assert pack(dict(model.network.state_dict())) != ends[1]
    with pytest.raises(SettingsError, match=f"{newest}.*take another one"):
        from_store(str(copy / newest))
    with pytest.raises(SettingsError, match="no end of stage 5 is kept"):
        from_store(str(place), 5)
    assert from_store(str(tmp_path / "nothing")) is None


def test_the_best_measured_state_is_kept_inside_a_stage_too(trained, tmp_path):
    """Measured each epoch and trained at a rate that harms later: the best is not an end."""
    _, settings, _ = trained
    changes = {"keep": "best:1", "validation.every_epochs": 1, "generator.learning_rate": 0.05}
    prepared = prepare("progressive_gan_sr", override(settings, changes))
    place = tmp_path / "runs" / "one"
    measured: dict[Position, float] = {}
    for report in run(prepared, store=str(place)):
        if report.position.step and "validation/psnr" in report.metrics:
            measured[report.position] = report.metrics["validation/psnr"]
    best = max(measured, key=lambda where: (measured[where], where))
    found = Store(str(place)).best()
    assert found is not None and found.position == best
    assert len(measured) > 2 and found.manifest["score"] == max(measured.values())
    chosen, named = from_store(f"{place}/best"), from_store(join(str(place), by_name(place)[best]))
    assert chosen is not None and named is not None
    images = torch.rand(1, 3, 8, 8, generator=torch.manual_seed(0)) * 2 - 1
    assert torch.equal(chosen.network(images), named.network(images))
    unmeasured = tmp_path / "unmeasured"
    shutil.copytree(place, unmeasured)
    for name in Store(str(unmeasured)).names():
        forged = Store(str(unmeasured)).manifest(name)["score"]
        if forged is not None:
            shutil.rmtree(unmeasured / name)
    if Store(str(unmeasured)).names():
        with pytest.raises(SettingsError, match=r"/best: no state that was measured.*keep=best:1"):
            from_store(f"{unmeasured}/best")


def test_states_are_kept_by_the_metrics_that_are_named(trained, tmp_path):
    _, settings, _ = trained
    names = ("validation/swd", "validation/ssim")
    changes = {"keep": "best:9", "validation.every_epochs": 1, "keep_by": names}
    for length in (1, 2):
        place = tmp_path / str(length)
        more = {"keep_by": names[:length], "validation.sliced_wasserstein": True}
        prepared = prepare("progressive_gan_sr", override(settings, changes | more))
        measured: dict[Position, list[float]] = {}
        for report in run(prepared, store=str(place)):
            if report.position.step and names[0] in report.metrics:
                measured[report.position] = [
                    -report.metrics[names[0]],
                    report.metrics[names[1]],
                ][:length]
        found = Store(str(place)).best()
        assert found is not None and len(measured) > 2
        front = [
            where
            for where, one in measured.items()
            if not any(
                other != one and all(a >= b for a, b in zip(other, one, strict=True))
                for other in measured.values()
            )
        ]
        wanted = max(front, key=lambda where: (measured[where][0], where))
        assert found.position == wanted
        scores = measured[wanted]
        assert found.manifest["score"] == (scores if length > 1 else scores[0])


def forge(place: Path, **changes: object) -> str:
    """A checkpoint with another manifest, whose sha256 is right: whoever writes one can do that."""
    store = Store(str(place))
    name = store.names()[0]
    path = place / name / "manifest.json"
    manifest = {k: v for k, v in json.loads(path.read_text()).items() if k != "sha256"} | changes
    path.write_bytes(_manifest_bytes(manifest))
    return name


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {}},
        {"settings": [1]},
        {"settings": {"system": 7, "settings": {}}},
        {"settings": {"system": "wgan", "settings": {}}},
        {"settings": {"system": "os:system", "settings": {}}},
        {"stage": {}},
        {"stage": []},
        {"stage": {"resolution": "big"}},
        {"index": 10**6},
        {"index": -1},
        {"index": "0"},
        {"index": None},
        {"step": "1"},
        {"step": None},
        {"files": {}},
        {"state": None, "files": {}},
    ],
    ids=str,
)
def test_a_forged_manifest_gets_one_line(trained, tmp_path, changes):
    copy = tmp_path / "copy"
    shutil.copytree(trained[0], copy)
    assert from_store(str(copy / forge(copy))) is not None  # the same one, written again
    name = forge(copy, **changes)
    with pytest.raises(SettingsError) as raised:
        from_store(str(copy / name))
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("settings.json", b"\xff\xfe"),
        ("settings.json", b"[" * 100_000),
        ("settings.json", b"null"),
        ("settings.json", b'{"system": [], "settings": {}}'),
        ("settings.json", b'{"system": "dcgan", "settings": {"stages": 7}}'),
        ("settings.json", b'{"system": "dcgan", "settings": {"stages": []}}'),
        ("stages/0/generator.safetensors", b""),
        ("stages/0/generator.safetensors", b"\xff" * 8 + b"{}"),
        ("stages/0/generator.safetensors", b"\x02\0\0\0\0\0\0\0{}"),
        ("stages/0/generator.safetensors", b"\x80\x04cos\nsystem\n."),
    ],
)
def test_a_folder_that_is_no_model_gets_a_clear_error(tmp_path, file, content):
    folder = write_untrained(tmp_path, "dcgan", features=4, latent_size=8)
    assert from_folder(folder).system == "dcgan"
    (folder / file).write_bytes(content)
    with pytest.raises(SettingsError):
        from_folder(folder)


@pytest.mark.parametrize("name", ["\N{SUPERSCRIPT TWO}", "-1", "9" * 5000, "zero"])
def test_stages_are_numbers(tmp_path, name):
    folder = write_untrained(tmp_path, "dcgan", features=4, latent_size=8)
    (folder / "stages" / "0").rename(folder / "stages" / name[:255])
    assert from_folder(folder).stage == 0  # the last of the settings


def test_a_folder_that_vanishes_while_it_is_searched_is_not_there(tmp_path, monkeypatch):
    """As temporary folders of other programs do, where a model is looked for above them."""
    for name in ("gone", "stages/0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "generator.safetensors").touch()
    listed = os.scandir

    def vanishing(path):
        if Path(path).name == "gone":
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert stored_generators(tmp_path) == [tmp_path / "stages" / "0" / "generator.safetensors"]
