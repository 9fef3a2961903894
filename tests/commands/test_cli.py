"""The command line: bad input gets one clear line and exit code 2 before anything starts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganforge.commands.cli import main
from ganforge.commands.configure import CliOptions, check_terms, configure
from ganforge.settings import SettingsError, override, to_json
from ganforge.systems.progressive_gan_sr import Settings
from ganforge.systems.srgan import SRGAN


def flagship(**options: Any) -> Settings:
    """The settings that options of the command line resolve to, for the flagship."""
    settings = configure(CliOptions(**options))[1]
    assert isinstance(settings, Settings)
    return settings


QUICK = ["--preset", "quick", "--dry-run"]
PSNR = ["--metric", "validation/psnr"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("bad")
    made = {name: root / name for name in ("empty", "one", "small", "text", "cut")}
    for folder in made.values():
        folder.mkdir()
    noise = np.arange(96 * 96 * 3, dtype=np.uint64).reshape(96, 96, 3) * 2654435761 >> 24
    good = Image.fromarray(noise.astype(np.uint8))
    good.save(made["one"] / "a.png")
    for name in ("small", "text", "cut"):
        good.save(made[name] / "good.png")
    good.resize((40, 90)).save(made["small"] / "tiny.png")
    (made["text"] / "words.png").write_text("not an image")
    data = (made["cut"] / "good.png").read_bytes()
    (made["cut"] / "cut.png").write_bytes(data[:20])
    (root / "space_typo.py").write_text(
        "from ray import tune\nSPACE = {'generator.learning_rte': tune.loguniform(1e-4, 1e-3)}\n"
    )
    (root / "space_range.py").write_text(
        "from ray import tune\nSPACE = {'generator.betas.0': tune.uniform(0.5, 1.5)}\n"
    )
    (root / "space_seed.py").write_text(
        "from ray import tune\nSPACE = {'seed': tune.randint(0, 9)}\n"
    )
    (root / "weights.pt").write_text("not tensors")
    (root / "broken.json").write_text("{")
    (root / "shape.json").write_text('{"system": 5, "settings": {}}')
    (root / "model" / "0").mkdir(parents=True)
    (root / "model" / "0" / "generator.safetensors").write_bytes(b"cut off")
    (root / "model" / "settings.json").write_text(to_json(configure(CliOptions(preset="quick"))[1]))
    return {name: str(path) for name, path in made.items()} | {"root": str(root)}


BAD = [
    (["train", "progresive_gan_sr"], "unknown system 'progresive_gan_sr'; did you mean"),
    (["train", "--set", "generator.learning_rte=1"], "did you mean 'generator.learning_rate'?"),
    (["train", "--set", "critic_steps=2.5"], "critic_steps = '2.5': Input should be a valid int"),
    (["train", "--set", "width=-4"], "width = '-4': Input should be greater than or equal to 4"),
    (["train", "--set", "width"], "--set width: must be KEY=VALUE"),
    (["train", "--set", "seed=1", "--set", "seed=2"], "--set seed is given twice"),
    (["train", "--preset", "quik"], "preset = quik: progressive_gan_sr has paper, described"),
    (["train", "--target", "96"], "target = 96: must be a power of two"),
    (["train", "--workers", "64"], "workers = 64: must be at most shards (4)"),
    (["train", "--metric", "validation/psnrr", *QUICK], "metric = validation/psnrr: "),
    (
        ["train", "--set", "keep=best:1", "--set", "keep_by=validation/psnrr", *QUICK],
        "keep_by = validation/psnrr: is not measured",
    ),
    (["train", "--set", "keep_by=validation/psnr", *QUICK], "with keep = last nothing is kept by"),
    (
        [
            "train",
            "--set",
            "keep=best:1",
            "--set",
            "keep_by=validation/psnr, validation/psnr",
            *QUICK,
        ],
        "keep_by = validation/psnr, validation/psnr: give each metric once",
    ),
    (["evaluate"], "give --benchmark DIR, or --images DIR"),
    (["evaluate", "--images", "x", "--model", "m"], "--model m: is for --benchmark; --images"),
    (["evaluate", "--images", "x", "--lpips", "alex"], "--lpips alex: is for --benchmark"),
    (["evaluate", "--images", "x", "--stage", "0"], "--stage 0: is for --benchmark"),
    (["evaluate", "--images", "x", "--rgb"], "--rgb: is for --benchmark"),
    (["train", "--data", "{root}/nowhere", *QUICK], "nowhere: there is no such folder"),
    (["train", "--data", "{root}/weights.pt", *QUICK], "weights.pt: is a file"),
    (["train", "--data", "{empty}", *QUICK], "empty: has no images"),
    (["train", "--data", "{one}", *QUICK], "at least 2 are needed"),
    (["train", "--data", "{small}", *QUICK], "1 of 2 images are smaller than"),
    (["train", "--data", "{text}", *QUICK], "words.png"),
    (["train", "--data", "{cut}", *QUICK], "cut.png"),
    (["train", "--settings", "{root}/broken.json"], "broken.json: not a JSON file"),
    (["train", "--settings", "{root}/shape.json"], "'system' must be a name"),
    (["train", "--scale", "3"], "scale = 3: Input should be 2 or 4"),
    (["train", "--start", "0"], "start = 0: must be a power of two"),
    (["train", "--storage", "{root}/weights.pt", "--preset", "quick"], "cannot be a folder"),
    (["evaluate", "--model", "{root}/model", "--benchmark", "x"], "are not of stage 0"),
    (["reproduce", "--run", "nosuch"], "mlflow.db: the file does not exist"),
    (["tune", "--preset", "quick", "--dry-run", "--space", "nope"], "space = nope: there is no"),
    (["tune", *QUICK, "--points", "nope.json"], "points = nope.json: cannot be read"),
    (["tune", *QUICK, "--nodes", "3"], "nodes = 3: there is no cluster here"),
    (["tune", *QUICK, "--register", "a/b:c"], "--register"),
    (["train", "my.py"], "is named with its class, my.py:Class"),
    (["train", "--workers", "2", "--set", "workers=1"], "--workers says 2; give one of the two"),
    (["train", "--seed", "2", "--set", "seed=1"], "--seed says 2"),
    (["train", "--gpu", "--set", "device=cpu"], "--gpu (GANFORGE_GPU) says cuda"),
    (["train", "--data", "{one}", "--set", "data.source=digits"], "one names the images"),
    (["train", "--set", "generator.betas=0.5"], "betas = ['0.5']: has too few values"),
    (["train", "--set", "perceptual.network=nowhere.pt", *QUICK], "nowhere.pt: no such file"),
    (
        ["train", "--set", "adversarial_weight=0", "--set", "pixel_weight=0", *QUICK],
        "stages.0: adversarial_weight and pixel_weight and perceptual.weight are 0 or unused",
    ),
    (["register", "--model", "models:/faces@champion"], "give the id of an MLflow run"),
    (["register", "--model", "0" * 32, "--name", "a/b"], "must have none of / : @"),
    (["tune", "--preset", "quick", "--register", "a/b"], "must have none of / : @"),
    (["export", "--model", "{root}/model", "--output", "a.pt"], "ends in .onnx"),
    (
        ["train", "--set", "validation.sliced_wasserstein=no", "--metric", "validation/swd"],
        "metric = validation/swd",
    ),
    (["scan", "x" * 300], "is too long for a path: a part of one has at most 255 bytes"),
    (["train", "--data", "x" * 300, "--dry-run"], "is too long for a path"),
    (["scan", "~nobody-of-that-name/x"], "~nobody-of-that-name/x: its first part must name a user"),
    (
        ["evaluate", "--model", "~nobody-of-that-name", "--benchmark", "x"],
        "~nobody-of-that-name: its first part must name a user of this machine; write ./ before",
    ),
    (
        ["train", "--from=~nobody-of-that-name/m.pth"],
        "--from=~nobody-of-that-name/m.pth: its first part must name a user",
    ),
    (["train", "--wrong-option"], "No such option"),
    (["train", "--settings", "{root}/absent.json"], "absent.json: No such file"),
    (
        ["train", "--preset", "quick", "--set", "perceptual.network={root}/weights.pt"],
        "perceptual.network = ",
    ),
    (["tune", "--preset", "quick", "--seed", "-1"], "seed = -1: must be from 0 to"),
    (["plan", "--preset", "quick", "--seed", "4294967296"], "seed = 4294967296: must be from 0"),
    (["tune", "--space", "nothing"], "space = nothing: there is no such search space"),
    (["tune", "--space", "{root}/space_typo.py"], "did you mean 'generator.learning_rate'?"),
    (["tune", "--space", "{root}/space_range.py"], "generator.betas.0"),
    (["tune", "--space", "{root}/space_seed.py"], "seed"),
    (["tune", "--resume", "20260101T000000Z-ab12"], "no such search in ganforge-runs; it has none"),
    (["tune", "--resume"], "nothing to resume: no search of experiment ganforge in ganforge-runs"),
    (["tune", "--reason", "too wide"], "says why a search is changed; give --resume too"),
    (["tune", "--rungs", "643"], "rungs = 643: stage 0 has 256 steps"),
    (["plan", "--rungs", "643"], "rungs = 643: stage 0 has 256 steps"),
    (["train", "--listener", "wandb"], "listener = 'wandb': there is no such listener; give"),
    (["tune", "--tensorboard", "{root}/broken.json/x"], "broken.json/x: cannot be written"),
    (["tune", "--trial-limit", "3trials"], "trial-limit = '3trials': must be a number above 0"),
    (["tune", "--confirm-seeds", "3"], "confirm-seeds = 3: give --confirm too"),
    (["tune", "--trials", "2", "--set", "stages.7.epochs=1"], "stages has 3 entries, 0 to 2"),
    (["tune", *PSNR, "--metric", "validation/ssmi", *QUICK], "did you mean validation/ssim?"),
    (["tune", *PSNR, "--metric", "cost/work", "--strategy", "freeze-thaw"], "give one --metric"),
    (["tune", "--metric", "cost/work", *PSNR, *QUICK], "give --metric validation/psnr before it"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda v: " ".join(v)[:60] if v else "")
def test_bad_input_is_one_clear_line(arguments, message, folders, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main([argument.format(**folders) for argument in arguments])
    printed = capsys.readouterr().err
    assert left.value.code == 2
    assert message in printed
    # which images would be used is said before what is wrong elsewhere
    (line,) = [line for line in printed.splitlines() if not line.startswith("images  ")]
    assert line.startswith("error: ")
    if arguments[0] != "reproduce":  # looking into a store makes an empty one
        assert not list(tmp_path.iterdir()), "nothing was begun"


@pytest.mark.parametrize("command", ["tune", "plan"])
def test_what_the_stages_are_too_short_for_is_all_that_is_printed(
    command, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main([command, "--rungs", "643"])
    out, err = capsys.readouterr()
    assert (out + err).startswith("error: rungs = 643: stage 0 has 256 steps")


def test_no_summary_of_a_command_is_cut(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = capsys.readouterr().out.partition("Commands:")[2].strip().splitlines()
    assert len(listed) > 12 and not [line for line in listed if not line.endswith(".")]
    assert "..." not in "".join(listed)


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120
    )


HEAVY = "torchvision ray mlflow optuna pandas"


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], "torch " + HEAVY),
        (["systems"], "torch " + HEAVY),
        (["train", "nothing"], "torch " + HEAVY),
        (["train", "--set", "widht=3"], HEAVY),
        (["train", "--data", "nowhere"], HEAVY),
    ],
)
def test_refusals_come_before_heavy_imports(arguments, absent, tmp_path):
    code = (
        "import sys\nfrom ganforge.commands.cli import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        f"print('loaded', [m for m in {absent.split()!r} if m in sys.modules])\n"
    )
    assert python(code, tmp_path).stdout.splitlines()[-1] == "loaded []"


@pytest.mark.parametrize("script", ["train", "tune", "reproduce"])
def test_each_trainer_runs_alone_from_an_empty_folder(script, tmp_path):
    source = Path(__file__).parents[2] / "trainers" / f"{script}.py"
    copy = tmp_path / source.name
    copy.write_bytes(source.read_bytes())
    arguments = ["--help"] if script == "reproduce" else ["--preset", "quick", "--dry-run"]
    done = subprocess.run(
        [sys.executable, str(copy), *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    if script != "reproduce":
        record = json.loads(done.stdout)
        assert record["system"] == "progressive_gan_sr" and record["settings"]["width"] == 16


def test_precedence_of_preset_file_ladder_and_set(tmp_path):
    file = tmp_path / "s.json"
    quick = flagship(preset="quick")
    from ganforge.settings import override

    file.write_text(to_json(override(quick, {"width": 8, "seed": 5})))
    from_file = flagship(settings_file=str(file))
    assert (from_file.width, from_file.seed, from_file.batch_size) == (8, 5, 8)
    settled = flagship(
        settings_file=str(file), target=128, seed=6, changes=["width=32", "stages.3.epochs=9"]
    )
    assert (settled.width, settled.seed) == (32, 6)
    assert [s.resolution for s in settled.stages] == [16, 32, 64, 128]
    assert settled.stages[3].epochs == 9 and settled.stages[3].fade_epochs == 1


def test_paths_are_absolute_and_files_may_give_a_part_of_a_group(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settled = flagship(data=("my photos",), changes=["data.cache_directory=c"])
    assert settled.data.root == str(tmp_path / "my photos")
    assert settled.data.cache_directory == str(tmp_path / "c")
    part = {"system": "progressive_gan_sr", "settings": {"generator": {"learning_rate": 0.01}}}
    Path("part.json").write_text(json.dumps(part))
    settled = flagship(preset="quick", settings_file="part.json")
    assert settled.generator.learning_rate == 0.01 and settled.generator.betas == (0.9, 0.99)


def test_a_ladder_keeps_what_a_file_says_of_its_stages(tmp_path):
    quick = flagship(preset="quick", changes=["stages.1.critic_steps=3"])
    file = tmp_path / "s.json"
    file.write_text(to_json(quick))
    longer = flagship(settings_file=str(file), target=128)
    assert [longer.at(k).critic_steps for k in range(4)] == [1, 3, 1, 1]


def test_scale_four_and_start_four_build_their_ladders():
    four = flagship(preset="quick", scale=4)
    assert [s.resolution for s in four.stages] == [32, 64, 128] and four.scale == 4
    low = flagship(preset="paper", start=4, target=512)
    assert [s.resolution for s in low.stages] == [8, 16, 32, 64, 128, 256, 512]
    with pytest.raises(SettingsError, match="target = 8"):
        configure(CliOptions(preset="paper", start=16, target=8))


@pytest.mark.parametrize("network", ["efflite0", "efficientnet-lite0"])
def test_a_perceptual_network_by_its_name_is_no_path(network):
    check_terms(SRGAN, override(SRGAN.Settings(), {"perceptual.network": network}))
    other = override(SRGAN.Settings(), {"perceptual.network": f"{network}s"})
    with pytest.raises(SettingsError, match=r"lite0s: no such file; .*, efflite0, .* or a path"):
        check_terms(SRGAN, other)


def test_weights_that_are_not_there_hide_no_other_mistake():
    options = CliOptions(system="srgan", changes=["wdth=4", "initial_weights=nowhere.pth"])
    with pytest.raises(SettingsError) as caught:
        configure(options)
    lines = str(caught.value).split("\n")
    assert len(lines) == 2 and "unknown setting 'wdth'" in str(caught.value)
    assert "initial_weights = nowhere.pth: no such file; give none or a file" in lines


@pytest.mark.parametrize("path", ["x" * 300, "~nobody-of-that-name/m.pth"])
def test_weights_at_what_is_no_path_are_one_line(path):
    with pytest.raises(
        SettingsError, match=r"initial_weights = .*not a path .*give none or a file"
    ):
        configure(CliOptions(system="srgan", changes=[f"initial_weights={path}"]))
