"""`ganforge sample` writes images of noise, the same for the same seed, and refuses the rest."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import ganforge
from generators import record_run, write_folder, write_untrained
from mlflow import MlflowClient
from PIL import Image

from ganforge.commands.cli import main


@pytest.fixture(scope="module")
def conditional(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("conditional")
    return write_untrained(folder, "conditional_gan", features=4, num_classes=3, latent_size=8)


def sample(*arguments: object) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["sample", *map(str, arguments)])
    assert not stop.value.code


def refused(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["sample", *map(str, arguments)])
    assert stop.value.code == 2
    return capsys.readouterr().err


def pixels(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.glob("0*.png"))}


def test_images_are_a_function_of_seed_and_number(conditional: Path, tmp_path: Path):
    sample("--model", conditional, "--count", 5, "--output", tmp_path / "a")
    sample("--model", conditional, "--count", 7, "--output", tmp_path / "b")
    sample("--model", conditional, "--count", 5, "--output", tmp_path / "c", "--seed", 1)
    a, b, c = (pixels(tmp_path / name) for name in "abc")
    assert list(a) == ["00000-0.png", "00001-1.png", "00002-2.png", "00003-0.png", "00004-1.png"]
    assert len(b) == 7
    for name, image in a.items():
        assert image.shape == (16, 16) and image.dtype == np.uint8
        np.testing.assert_array_equal(image, b[name])
        assert (image != c[name]).any()
    assert not (tmp_path / "a" / "grid.png").exists()


def test_one_label_and_a_grid(conditional: Path, tmp_path: Path):
    sample("--model", conditional, "--count", 4, "--label", 2, "--output", tmp_path, "--grid")
    made = pixels(tmp_path)
    assert list(made) == [f"0000{number}-2.png" for number in range(4)]
    assert len({image.tobytes() for image in made.values()}) == 4
    with Image.open(tmp_path / "grid.png") as sheet:
        assert sheet.width >= 64


def test_colour_images_without_labels(tmp_path: Path):
    model = write_untrained(tmp_path / "model", "dcgan", features=4, channels=3, latent_size=8)
    sample("--model", model, "--count", 2, "--output", tmp_path / "out", "--grid")
    made = pixels(tmp_path / "out")
    assert list(made) == ["00000.png", "00001.png"]
    assert made["00000.png"].shape == (16, 16, 3)


def test_impossible_requests_are_refused(conditional: Path, tmp_path: Path, capsys):
    out = ("--output", tmp_path / "out")
    assert "labels 0 to 2" in refused(capsys, "--model", conditional, "--label", 3, *out)
    assert "labels 0 to 2" in refused(capsys, "--model", conditional, "--label", -1, *out)
    plain = write_untrained(tmp_path / "plain", "dcgan", features=4, latent_size=8)
    assert "has no labels" in refused(capsys, "--model", plain, "--label", 1, *out)
    upscaler = write_untrained(tmp_path / "sr", "progressive_gan_sr", width=8)
    assert "not from noise" in refused(capsys, "--model", upscaler, *out)
    (tmp_path / "file").write_text("")
    assert "is not usable as a folder" in refused(
        capsys, "--model", conditional, "--output", tmp_path / "file"
    )
    assert not (tmp_path / "out").exists()


def test_a_chain_is_what_a_command_for_each_model_makes(tmp_path: Path, capsys):
    noise = write_untrained(tmp_path / "noise", "dcgan", features=4, channels=3, latent_size=8)
    models = [write_folder(tmp_path / "a"), write_folder(tmp_path / "b", width=8)]
    given = ("--model", noise, "--count", 3, "--seed", 5)
    chain = [part for model in models for part in ("--upscale", model)]
    sample(*given, *chain, "--output", tmp_path / "chain", "--grid")
    sample(*given, "--output", tmp_path / "0")
    for number, model in enumerate(models):
        words = ("upscale", tmp_path / str(number), "--model", model)
        assert ganforge(*words, "--output", tmp_path / str(number + 1)) == 0
    expected, made = pixels(tmp_path / "2"), pixels(tmp_path / "chain")
    assert list(made) == list(expected) and made["00000.png"].shape == (64, 64, 3)
    for name, levels in expected.items():
        np.testing.assert_array_equal(made[name], levels)
    sample(*given, *chain, "--output", tmp_path / "tiles", "--tile", 16)
    for name, levels in pixels(tmp_path / "tiles").items():
        assert np.abs(levels.astype(int) - expected[name]).max() <= 1

    lineage = json.loads((tmp_path / "chain" / "lineage.json").read_text())
    assert [link["model"] for link in lineage["models"]] == ["noise", "a", "b"]  # no folder of here
    files = [tmp_path / "noise" / "stages" / "0", *(model / "stages" / "1" for model in models)]
    for link, folder in zip(lineage["models"], files, strict=True):
        content = (folder / "generator.safetensors").read_bytes()
        assert link["sha256"] == hashlib.sha256(content).hexdigest()
    with Image.open(tmp_path / "chain" / "00002.png") as image:
        about = json.loads(image.info["ganforge"])
    assert about == lineage | {"number": 2, "label": None}
    assert "ganforge" not in Image.open(tmp_path / "0" / "00002.png").info
    assert "makes images from noise" in refused(
        capsys, *given, "--upscale", noise, "--output", tmp_path / "no"
    )
    assert "--tile 16: is of --upscale" in refused(
        capsys, *given, "--tile", 16, "--output", tmp_path / "no"
    )
    assert not (tmp_path / "no").exists()


def test_a_chain_is_recorded_with_the_run_in_it(tmp_path: Path, capsys):
    noise = write_untrained(tmp_path / "noise", "dcgan", features=4, channels=3, latent_size=8)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run_id = record_run(uri, "faces")
    out = tmp_path / "out"
    sample(
        "--model", noise, "--count", 1, "--upscale", run_id, "--tracking-uri", uri, "--output", out
    )  # fmt: skip
    text = (out / "lineage.json").read_text()
    said = capsys.readouterr().out
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert f"recorded as lineage/{name}.json in run {run_id}" in said
    client = MlflowClient(uri)
    (found,) = client.list_artifacts(run_id, "lineage")
    assert Path(client.download_artifacts(run_id, found.path, str(tmp_path))).read_text() == text
    assert [link["run_id"] for link in json.loads(text)["models"]] == [None, run_id]
