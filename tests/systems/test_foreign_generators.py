"""Published networks as generators of SRGAN and ESRGAN: from a file, from scratch, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from run_files import log_files
from safetensors.torch import load, save_file
from stored_states import states
from torch import Tensor, nn

from ganforge.assets import tensors_sha256
from ganforge.commands.cli import main
from ganforge.commands.configure import CliOptions, configure
from ganforge.commands.export import ExportOptions, export
from ganforge.commands.models import find_model
from ganforge.inference.tiles import upscale
from ganforge.networks import foreign
from ganforge.settings import SettingsError, override
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import StageSettings, SystemSettings
from ganforge.systems.srgan import SRGAN
from ganforge.testing import check_system
from ganforge.tracking.artifacts import input_files
from ganforge.tracking.recorder import Recorder
from ganforge.tracking.runs import Opening, end_run, open_run
from ganforge.training.checkpoint import Store
from ganforge.training.lineage import environment
from ganforge.training.prepare import prepare
from ganforge.training.run import run

spandrel = pytest.importorskip("spandrel", reason="spandrel has the published networks")

#: a small network of each family: arguments of its class
SMALL: dict[str, dict[str, Any]] = {
    "Compact": {"num_feat": 8, "num_conv": 1},
    "DAT": {"embed_dim": 32, "depth": [2], "num_heads": [2], "split_size": [4, 8]},
    "DITN": {"dim": 8, "ITL_blocks": 1, "SAL_blocks": 1},
    "ESRGAN": {"num_filters": 8, "num_blocks": 2},
    "HAT": {"embed_dim": 32, "depths": [1], "num_heads": [2], "window_size": 8, "img_size": 16},
    "OmniSR": {"num_feat": 16},
    "PLKSR": {"dim": 16, "n_blocks": 1, "kernel_size": 5},
    "RCAN": {"n_resgroups": 1, "n_resblocks": 1, "n_feats": 16, "reduction": 4},
    "RealPLKSR": {"dim": 16, "n_blocks": 1, "kernel_size": 5},
    "SAFMN": {"dim": 8, "n_blocks": 1},
    "SPAN": {"feature_channels": 8},
    "SwiftSRGAN": {"num_channels": 8, "num_blocks": 1},
    "SwinIR": {"embed_dim": 12, "depths": [2], "num_heads": [2], "img_size": 16},
}
#: two crops of 32 pixels a shard, two steps on pixels
_TINY: dict[str, Any] = {
    "scale": 2,
    "critic_width": 4,
    "critic_dense": 4,
    "batch_size": 4,
    "shards": 2,
    "pixel_weight": 1.0,
    "perceptual.network": "none",
    "average_decay": 0.5,
    "reports_per_stage": 2,
    "validation.images": 1,
    "validation.samples": 1,
    "validation.max_side": 32,
    "validation.sliced_wasserstein": False,
    "data.max_side": 64,
    "device": "cpu",
}


def tiny(system: str = "srgan", task: str = "pixel", **changes: Any) -> SystemSettings:
    rows = (StageSettings(resolution=32, iterations=2, task=task),)
    return override(load_system(system).Settings(), _TINY | {"stages": rows} | changes)


def chosen(family: str, **more: Any) -> dict[str, Any]:
    """The settings of a small network of a family."""
    shape = json.dumps(SMALL[family] | more)
    return {"generator_architecture": f"spandrel:{family}", "generator_shape": shape}


def resolved(settings: SystemSettings) -> SystemSettings:
    return load_system(settings.system).resolve(settings)[0]


def network(family: str, scale: int = 2, seed: int = 5) -> nn.Module:
    torch.manual_seed(seed)
    return foreign.build(family, SMALL[family], scale, 3).network


def file_of(family: str, folder: Path, scale: int = 2) -> Path:
    path = folder / f"{family}.pth"
    torch.save({"params_ema": network(family, scale).state_dict()}, path)
    return path


def begun_with(path: Path, system: str = "srgan", **changes: Any) -> SystemSettings:
    """As `train SYSTEM --from PATH` has it."""
    words = [f"{key}={value}" for key, value in changes.items()]
    options = CliOptions(system=system, initial_weights=str(path), changes=words)
    named = configure(options)[1].model_dump()
    keys = ("generator_architecture", "generator_shape", "initial_weights", "scale")
    return tiny(system, **{key: named[key] for key in keys})


# ---- from a file ----


@pytest.mark.filterwarnings("ignore:'saved_variables' is deprecated:DeprecationWarning")
@pytest.mark.parametrize("family", SMALL)
def test_a_family_begins_with_a_file_is_trained_and_opens_again(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = begun_with(file_of(family, tmp_path))
    assert f"spandrel:{family} of" in capsys.readouterr().err
    prepared = prepare("srgan", settings)
    system = load_system("srgan")(prepared.settings, prepared.assets)
    system.begin_with(set())
    first = dict(system.generator.network.state_dict())
    given = network(family).state_dict()
    assert first.keys() == given.keys() and all(torch.equal(first[k], given[k]) for k in given)
    list(run(prepared, store=str(tmp_path / "states")))
    home = tmp_path / "home.pth"
    export(ExportOptions(str(tmp_path / "states"), str(home), "pth"))
    mine = find_model(str(tmp_path / "states"), None).model.network
    theirs = spandrel.ModelLoader().load_from_file(home)
    moved = theirs.model.state_dict()
    assert moved.keys() == given.keys()
    assert not all(torch.equal(moved[k], given[k]) for k in given)
    image = torch.rand(3, 16, 24) * 2 - 1
    with torch.inference_mode():
        opened = (theirs.model.eval()((image[None] + 1) / 2) * 2 - 1).clamp(-1, 1)[0]
    assert torch.equal(upscale(mine, image), opened)


def test_what_is_known_by_its_content_is_the_same_run_without_the_file(tmp_path: Path) -> None:
    path = file_of("SPAN", tmp_path)
    prepared = prepare("srgan", begun_with(path))
    path.unlink()
    again = prepare("srgan", prepared.settings)
    assert again.lineage().stage_ids == prepared.lineage().stage_ids
    # a search that is continued is told the hash alone
    by_hash = begun_with(Path(prepared.settings.initial_weights))
    assert prepare("srgan", by_hash).settings == prepared.settings
    assert states(again, tmp_path / "one") == states(prepared, tmp_path / "two")


def test_other_names_and_a_stored_generator_are_the_same_network(tmp_path: Path) -> None:
    """BasicSR calls ESRGAN's layers otherwise than the first code, which spandrel has."""
    given = network("ESRGAN").state_dict()
    renamed = {
        name.replace("model.0.", "conv_first.")
        .replace("model.1.sub.2.", "conv_body.")
        .replace("model.1.sub.", "body.")
        .replace("RDB", "rdb")
        .replace(".0.weight", ".weight")
        .replace(".0.bias", ".bias")
        .replace("model.3.", "conv_up1.")
        .replace("model.5.", "conv_hr.")
        .replace("model.7.", "conv_last."): tensor
        for name, tensor in given.items()
    }
    paths = [tmp_path / f"{name}.safetensors" for name in ("one", "two", "three")]
    stored = {f"network.network.{name}": tensor for name, tensor in given.items()}
    for path, tensors in zip(paths, (given, renamed, stored), strict=True):
        save_file(tensors, path)
    found = [prepare("esrgan", begun_with(path, "esrgan")).settings for path in paths]
    assert found[0] == found[1] == found[2]


def test_batch_norm_of_a_file_keeps_its_statistics(tmp_path: Path) -> None:
    prepared = prepare("srgan", begun_with(file_of("SwiftSRGAN", tmp_path)))
    scratch = prepare("srgan", tiny(**chosen("SwiftSRGAN")))
    for one, kept in ((prepared, True), (scratch, False)):
        reports = [r.averaged for r in run(one) if r.averaged is not None]
        after = load(reports[-1])
        moved = [name for name in after if name.endswith("running_mean") and after[name].any()]
        assert bool(moved) is not kept


def test_a_recorded_run_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without the file and without a cache: trained again, evaluated, exported."""
    path, uri = file_of("Compact", tmp_path), f"sqlite:///{tmp_path}/mlflow.db"
    prepared = prepare("srgan", begun_with(path))
    opening = Opening("train", "a", prepared.settings, fingerprint=prepared.facts.fingerprint)
    tracking = open_run(uri, "published", opening)
    log_files(tracking, input_files(prepared))
    recorder = Recorder(tracking, *SRGAN.metric)
    for report in run(prepared, store=str(tmp_path / "states")):
        recorder.log(report)
    assert recorder.close()
    end_run(tracking, "FINISHED", "finished")
    path.unlink()
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "empty"))
    words = ["--run", tracking.run_id, "--tracking-uri", uri]
    with pytest.raises(SystemExit) as left:
        main(["reproduce", *words])
    assert not left.value.code
    made = [tmp_path / name for name in ("home.pth", "home.safetensors", "home.pt2")]
    for file, kind in zip(made, ("pth", "safetensors", "torch"), strict=True):
        export(ExportOptions(tracking.run_id, str(file), kind, tracking_uri=uri))
    weights = [spandrel.ModelLoader().load_from_file(file).model.state_dict() for file in made[:2]]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


# ---- from scratch ----


def test_the_system_keeps_its_promises_with_a_published_generator() -> None:
    sides = {"stages.0.resolution": 32, "stages.1.resolution": 32}
    check_system("srgan", chosen("Compact") | sides, worker_counts=(2,))


@pytest.mark.parametrize(("system", "other"), [("srgan", "rrdbnet"), ("esrgan", "srresnet")])
def test_either_system_takes_the_others_generator(system: str, other: str, tmp_path: Path) -> None:
    changes = {"generator_architecture": other, "width": 4, "blocks": 1}
    prepared = prepare(system, tiny(system, "adversarial", **changes))
    assert len(states(prepared, tmp_path)) == 2


def test_a_resumed_run_has_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    """With three shards, whose mean of a constant is rounded, and with weights that a network
    derives from others when it is measured."""
    for family in ("SPAN", "SwinIR"):
        settings = tiny("esrgan", "adversarial", batch_size=6, shards=3, **chosen(family))
        prepared = prepare("esrgan", settings)
        whole = states(prepared, tmp_path / f"{family}-whole")
        assert len(whole) == 2
        if family == "SPAN":
            parts = states(prepared, tmp_path / "parts", 1) | states(prepared, tmp_path / "parts")
            assert whole == parts
        last = Store(str(tmp_path / f"{family}-whole")).newest().groups["networks"]
        built = foreign.build(family, SMALL[family], 2, 3).network
        for name, buffer in built.named_buffers():
            assert torch.equal(last[f"generator.network.{name}"], buffer)


def test_first_weights_are_a_function_of_the_seed() -> None:
    def first(seed: int) -> dict[str, Tensor]:
        system = load_system("srgan")(tiny(seed=seed, **chosen("DAT")), {})
        return dict(system.generator.state_dict())

    one, two, other = first(1), first(1), first(2)
    assert tensors_sha256(one) == tensors_sha256(two) != tensors_sha256(other)


def test_measuring_a_network_that_writes_its_own_weights_does_not_change_it() -> None:
    torch.manual_seed(0)
    generator = foreign.build("SPAN", SMALL["SPAN"], 2, 3)
    before, image = tensors_sha256(generator.state_dict()), torch.rand(1, 3, 8, 8)
    with torch.inference_mode():
        evaluated = generator.eval()(image)
    assert tensors_sha256(generator.state_dict()) == before
    with torch.no_grad():
        torch.testing.assert_close(generator.train()(image), evaluated, atol=1e-3, rtol=0)
    generator.write_derived()
    assert tensors_sha256(generator.state_dict()) != before


def test_nothing_is_drawn_in_a_forward_pass() -> None:
    torch.manual_seed(0)
    for family in ("SwinIR", "HAT", "DAT", "OmniSR"):
        generator = foreign.build(family, SMALL[family], 2, 3)
        state = torch.get_rng_state()
        generator(torch.zeros(2, 3, 16, 16))
        assert torch.equal(torch.get_rng_state(), state), family


# ---- identity ----


def test_ids_of_runs_without_it_stay_as_they_were() -> None:
    for system in ("srgan", "esrgan"):
        settings = load_system(system).Settings()
        assert not {k for k in settings.identity(0) if k.startswith("generator_")}
        assert settings.packages == ()
    settings = tiny(**chosen("Compact"))
    assert settings.identity(0)["generator_architecture"] == "spandrel:Compact"
    found = environment(torch.device("cpu"), 1, settings.packages)
    assert found["spandrel"] not in ("none", "")


def test_a_shape_has_one_spelling() -> None:
    one, two = (
        {"generator_architecture": "spandrel:Compact", "generator_shape": text}
        for text in ('{"num_feat":8,"num_conv":1}', '{ "num_conv": 1, "num_feat": 8 }')
    )
    assert resolved(tiny(**one)) == resolved(tiny(**two))


# ---- refused ----


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator_architecture": "srresnt"}, "must be srresnet, rrdbnet, .* did you mean srres"),
        ({"generator_architecture": "spandrel:swinir"}, "one of ATD.* did you mean spandrel:SwinI"),
        ({"generator_shape": "{}"}, r"generator_shape = '\{\}': is for spandrel:FAMILY"),
        (chosen("Compact") | {"generator_shape": "[1]"}, "must be default, or arguments"),
        (chosen("Compact", width=3), "has no argument width; it takes num_in_ch"),
        (chosen("Compact", num_feat=-1), r"no network of scale = 2 with these arguments .*; give"),
        (chosen("SAFMN") | {"channels": 1}, "takes images of 3 channels, not of channels = 1"),
        (
            {"generator_architecture": "spandrel:UpCunet3x"},
            "enlarges 3 times of scale = 2; give another scale",
        ),
        (chosen("SAFMN") | {"scale": 4, "stages.0.resolution": 48}, "stages.K.resolution = 32"),
        (
            chosen("DAT") | {"batch_size": 2, "generator_shape": "default"},
            r"cannot be given 1 sources .*raise batch_size / shards \(1\)",
        ),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        resolved(tiny(**changes))


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'ganforge\[models\]'"):
        resolved(tiny(**chosen("Compact")))


def test_a_scale_that_is_not_the_files_is_refused(tmp_path: Path) -> None:
    path = str(file_of("Compact", tmp_path))
    options = CliOptions(system="srgan", initial_weights=path, scale=4)
    with pytest.raises(SettingsError, match=r"scale = 4: .* with scale = 2; leave scale out"):
        configure(options)
    # an architecture that is chosen must be that of the file
    with pytest.raises(SettingsError, match="tensors fit a network of srgan"):
        prepare("srgan", tiny(initial_weights=path, **chosen("SAFMN")))
