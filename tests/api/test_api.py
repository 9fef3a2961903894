"""The Python API does what the commands do: equal records, equal pixels, equal messages."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import ganforge as command
from generators import write_folder
from mlflow import MlflowClient
from PIL import Image
from small import METRIC, SYSTEM
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ganforge
from ganforge.api.start import changes
from ganforge.settings import override
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR
from ganforge.testing import small as small_run
from ganforge.training.run import run as run_prepared

pytestmark = pytest.mark.ray


#: two stages of four steps
SETTINGS = {
    "images_per_epoch": 16,
    "width": 4,
    "batch_size": 4,
    "stages": {"0": {"epochs": 1}, "1": {"epochs": 1, "fade_epochs": 0.5}},
    "validation": {"images": 1, "samples": 1, "max_side": 32, "sliced_wasserstein": False},
    "reports_per_stage": 2,
}
GIVEN = {"system": SYSTEM, "preset": "quick", "target": 32, "settings": SETTINGS, "quiet": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def heard() -> list[ganforge.Event]:
    """What happened to `run`."""
    return []


@pytest.fixture(scope="module")
def run(folder: Path, images: Path, heard: list[ganforge.Event]) -> ganforge.Run:
    given = {"tracking_uri": f"sqlite:///{folder}/mlflow.db", "storage": folder / "runs"}
    listeners = [heard.append, f"tensorboard:{folder}/logs"]
    return ganforge.train(images, **GIVEN, **given, on_event=listeners)


def test_names_are_imported_when_they_are_used():
    import subprocess
    import sys

    code = (
        "import ganforge, sys; print([n for n in ('torch', 'ray', 'mlflow') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert {"train", "tune", "load", "Study", "Run"} <= set(dir(ganforge))
    assert all(getattr(ganforge, name) for name in ganforge.__all__)
    assert issubclass(ganforge.SettingsError, ganforge.GanforgeError)
    assert issubclass(ganforge.TrainingFailed, ganforge.GanforgeError)


def test_the_command_line_makes_the_same_record(run: ganforge.Run, folder: Path, images: Path):
    words = ["--preset", "quick", "--target", 32]
    words += [part for change in changes(SETTINGS) for part in ("--set", change)]
    uri = f"sqlite:///{folder}/other.db"
    options = ["--data", images, "--tracking-uri", uri, "--storage", folder / "others"]
    assert command("train", SYSTEM, *options, *words) == 0
    [other] = (folder / "others").glob("train-*")
    recorded = json.loads((other / "about" / "run.json").read_text())["tracking"]
    there = ganforge.Run(recorded["run_id"], uri, METRIC.name)
    assert there.settings == run.settings
    assert [s.hashes for s in there.stages] == [s.hashes for s in run.stages]
    assert [s.stage_id for s in there.stages] == [s.stage_id for s in run.stages]


def test_a_run_shows_its_stages_curves_and_images(run: ganforge.Run):
    assert [stage.index for stage in run.stages] == [0, 1]
    assert run.score == run.stages[-1].metrics[METRIC.name]
    curves = run.curves()
    assert curves.index.name == "images" and METRIC.name in curves
    assert curves[METRIC.name].dropna().iloc[-1] == pytest.approx(run.score)
    assert run.grid().tobytes() != run.grid(0).tobytes()
    with pytest.raises(ganforge.SettingsError, match="no sample grid of stage 7"):
        run.grid(7)
    assert METRIC.name in run._repr_html_()


def test_listeners_get_the_points_that_are_recorded(
    run: ganforge.Run, heard: list[ganforge.Event], folder: Path
):
    [name] = {event.run for event in heard}
    assert (heard[0].kind, heard[-1].kind, heard[-1].outcome) == ("started", "ended", "finished")
    assert {event.run_id for event in heard} == {run.run_id}
    assert heard[0].settings["width"] == 4
    assert heard[-2].grid is not None
    last = Image.open(io.BytesIO(heard[-2].grid))
    assert last.tobytes() == run.grid().tobytes()
    events = EventAccumulator(str(folder / "logs" / name))
    events.Reload()
    client = MlflowClient(run.uri)
    recorded = client.get_run(run.run_id).data.metrics
    scalars = set(events.Tags()["scalars"])
    # the best so far is MLflow's alone: its tables show the last value
    assert scalars == {key for key in recorded if not key.endswith("_best")}
    for key in scalars:
        mine = sorted((p.step, np.float32(p.value)) for p in events.Scalars(key))
        theirs = client.get_metric_history(run.run_id, key)
        assert mine == sorted((p.step, np.float32(p.value)) for p in theirs)


def test_it_reproduces(run: ganforge.Run):
    assert run.reproduce() is True


def test_an_image_of_any_kind_is_enlarged(run: ganforge.Run, images: Path, tmp_path: Path):
    model = run.model()
    path = images / "0.png"
    made = model.upscale(path)
    written = model.upscale(path, output=tmp_path / "large")
    assert [file.name for file in written] == ["0.png"]
    with Image.open(path) as small, Image.open(written[0]) as large:
        assert made.size == large.size == tuple(side * model.scale for side in small.size)
        pixels = np.asarray(large.convert("RGB"))
        assert np.array_equal(np.asarray(made), pixels)
        assert np.array_equal(np.asarray(model.upscale(small)), pixels)
        levels = np.asarray(small)
        assert np.array_equal(model.upscale(levels), pixels)
        assert np.array_equal(model.upscale(levels, tile=16), pixels)
        planes = torch.from_numpy(levels.copy()).permute(2, 0, 1)[None] / 127.5 - 1
        tensor = model.upscale(planes)
    assert tensor.shape == (1, 3, *pixels.shape[:2])
    assert (((tensor[0].permute(1, 2, 0) + 1) * 127.5).numpy() - pixels).__abs__().max() < 0.51
    assert model.upscale(levels[..., 0]).shape == pixels.shape[:2]
    exact = model.upscale(levels, outscale=3.5, filter="bicubic", tile=16, batch=2)
    wanted = tuple(int(side * 3.5 + 0.5) for side in levels.shape[:2])
    assert exact.shape[:2] == wanted == model.upscale(planes, outscale=3.5).shape[-2:]
    (file,) = model.upscale(path, output=tmp_path / "wide", width=100)
    before = file.stat().st_mtime_ns
    assert model.upscale(path, output=tmp_path / "wide", width=100, skip_existing=True) == [file]
    assert file.stat().st_mtime_ns == before and Image.open(file).width == 100
    half = model.upscale(levels, half=True, device="cpu")
    assert 0 <= np.abs(half.astype(int) - pixels).max() < 16
    with pytest.raises(ganforge.SettingsError, match="outscale and width: give one of"):
        model.upscale(levels, outscale=2, width=3)
    with pytest.raises(ganforge.SettingsError, match="--device tpu: must be cpu"):
        model.upscale(levels, device="tpu")


def test_what_is_no_image_is_refused(run: ganforge.Run):
    model = run.model()
    with pytest.raises(ganforge.SettingsError, match="a list is not enlarged; give a path"):
        model.upscale([1, 2])
    with pytest.raises(
        ganforge.SettingsError, match=r"an array float64 .* must be uint8 or uint16"
    ):
        model.upscale(np.zeros((4, 4, 3)))
    with pytest.raises(ganforge.SettingsError, match="has 5 channels"):
        model.upscale(np.zeros((4, 4, 5), np.uint8))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"a tensor torch\.uint8 .* must be of floats"),
        (torch.zeros(3, 8, 8), r"of shape \(3, 8, 8\)"),
        (torch.zeros(0, 3, 8, 8), r"of shape \(0, 3, 8, 8\)"),
        (np.zeros((0, 4, 3), np.uint8), "must be uint8 or uint16"),
        (Image.new("I;16", (8, 8), 30000), "PIL's mode I;16 is not enlarged"),
        (Image.new("F", (8, 8)), "PIL's mode F is not enlarged"),
    ],
)
def test_pixels_that_would_be_taken_for_others_are_refused(run: ganforge.Run, image, message):
    with pytest.raises(ganforge.SettingsError, match=message):
        run.model().upscale(image)


def test_tiles_are_of_a_size_that_covers_the_image(run: ganforge.Run):
    for tile in (-1, 0, 15, "x", 16.0):
        with pytest.raises(
            ganforge.SettingsError, match=r"tile = .*: must be a whole number from 16"
        ):
            run.model().upscale(np.zeros((40, 40, 3), np.uint8), tile=tile)


def test_an_image_is_upright_however_it_is_given(run: ganforge.Run, images: Path, tmp_path: Path):
    path = tmp_path / "turned.jpg"
    with Image.open(images / "1.png") as image:
        turned = Image.Exif()
        turned[0x0112] = 6
        image.convert("RGB").save(path, quality=95, exif=turned)
    model = run.model()
    with Image.open(path) as image:
        assert model.upscale(image).size == model.upscale(path).size != image.size


def test_what_is_loaded_is_what_is_taken_home(run: ganforge.Run, tmp_path: Path):
    """And not what its reference names by then."""
    import shutil

    from safetensors.torch import load_file

    for stage, name in ((0, "first"), (1, "second")):
        run.model(stage).export(tmp_path / f"{name}.safetensors")
    loaded = run.model()
    elsewhere = ganforge.TrainedModel("moved/away", loaded.model)
    elsewhere.export(tmp_path / "taken.safetensors")
    wanted, taken = (load_file(tmp_path / f"{n}.safetensors") for n in ("second", "taken"))
    assert all(torch.equal(wanted[key], taken[key]) for key in wanted)
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (20, 16), (200, 30, 30)).save(folder / "good.png")
    shutil.copy(__file__, folder / "bad.png")
    with pytest.raises(ganforge.GanforgeError, match=r"1 of 2 images are not upscaled: .*bad\.png"):
        elsewhere.upscale(folder, output=tmp_path / "large")
    assert [path.name for path in (tmp_path / "large").iterdir()] == ["good.png"]


def test_a_trial_without_a_record_has_no_model(run: ganforge.Run, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nameless = ganforge.Run("", run.uri, run.metric)
    for call in (nameless.model, nameless.curves, nameless.grid, lambda: ganforge.load("")):
        with pytest.raises(ganforge.SettingsError):
            call()
    with pytest.raises(ganforge.SettingsError, match="deadbeef"):
        ganforge.Run("deadbeef", run.uri, run.metric).curves()


def test_images_that_are_others_are_not_trained_on(run: ganforge.Run, images: Path, tmp_path: Path):
    import shutil

    shutil.copytree(images, tmp_path / "more")
    Image.new("RGB", (64, 64), (1, 2, 3)).save(tmp_path / "more" / "new.png")
    with pytest.raises(ganforge.SettingsError, match="is not trained again"):
        run.reproduce(tmp_path / "more")


def test_settings_are_values_and_not_their_texts():
    given = {
        "stages": [{"resolution": 16, "epochs": 1}, {"resolution": 32, "epochs": np.int64(2)}],
        "generator": {"betas": (np.float64(0.5), 0.9), "learning_rate": torch.tensor(0.25)},
        "data": {"roots": ("one folder", "another, too")},
        "perceptual.network": None,
    }
    settings = override(ProgressiveGANSR.Settings(), dict(c.split("=", 1) for c in changes(given)))
    assert [row.epochs for row in settings.stages] == [1, 2]
    assert settings.generator.betas == (0.5, 0.9) and settings.generator.learning_rate == 0.25
    assert settings.data.roots == ("one folder", "another, too")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"settings": ["width=4"]}, "settings = .*must be a dictionary"),
        ({"settings": {"nogroup": {}}}, "unknown setting 'nogroup'"),
        ({"settings": {"width=4": 5}}, "width=4: a key must be the name of a setting"),
        ({"trials": 0}, "trials = 0: must be a whole number from 1"),
        ({"trials": 1.5}, r"trials = 1\.5: must be"),
        ({"patience": -2}, "patience = -2: must be a whole number from 0"),
        ({"concurrent": "a"}, "concurrent = 'a'"),
        ({"budget": 30}, "budget = 30: must be a text"),
        ({"seed": "x"}, "seed = 'x'"),
        ({"metric": 3}, "metric = 3: must be a text, or several"),
        ({"metric": [3]}, "metric = 3: must be a text"),
        ({"space": 3}, "space = 3: must be a path or a text"),
        ({"system": 3}, "system = 3: must be a text"),
        ({"data": b"x"}, "data = b'x': must be a folder, or several"),
        ({"data": 3}, "data = 3: must be a folder, or several"),
        ({"data": []}, r"data = \[\]: must be a folder, or several; leave it out"),
        ({"gpu": "yes"}, "gpu = 'yes': must be True or False"),
        ({"resume": 3}, "resume = 3: must be True or False"),
        ({"seeds": 0}, "seeds = 0: must be a whole number from 1"),
        ({"points_by": 3}, "points_by = 3: must be a text"),
        ({"points_by": "preference"}, "points"),
        ({"settings": {"width": None}}, "width = none|'none'"),
        ({"begin_with": 3}, "begin_with = 3: must be a path or a text"),
        ({"on_event": 3}, "on_event = 3: must be a function of one event"),
        ({"on_event": ["nowhere"]}, "listener = 'nowhere': there is no such listener"),
    ],
)
def test_arguments_of_other_types_are_refused(given: dict, message: str):
    with pytest.raises(ganforge.SettingsError, match=message):
        ganforge.tune(**{"system": SYSTEM, "preset": "quick"} | given)


def test_a_model_is_taken_home(run: ganforge.Run, tmp_path: Path):
    image = np.arange(24 * 20 * 3, dtype=np.uint8).reshape(24, 20, 3)
    for stage, name in ((0, "first.safetensors"), (1, "second.safetensors"), (1, "third.pth")):
        path = run.model(stage).export(tmp_path / name)
        read = ganforge.load(path)
        assert read.model.stage == stage and read.model.system == SYSTEM
        assert np.array_equal(read.upscale(image), run.model(stage).upscale(image))
    with pytest.raises(ganforge.SettingsError, match="--output"):
        run.model().export(tmp_path / "missing" / "generator.onnx")


def test_what_is_no_path_or_switch_is_refused(run: ganforge.Run, images: Path, tmp_path: Path):
    model = run.model()
    for call, said in (
        (lambda: model.evaluate(None), "benchmark = None: must be a path"),
        (lambda: model.export(None), "path = None: must be a path"),
        (lambda: model.upscale(images / "0.png", half="no"), "half = 'no': must be True or False"),
        (
            lambda: model.upscale(np.zeros((8, 8, 3), np.uint8), tmp_path / "x.png"),
            "output = .*images from memory are returned and not written",
        ),
        (
            lambda: model.upscale(images / "0.png", tmp_path / "x.png"),
            "output = .*x.png: is the folder that results are written into",
        ),
    ):
        with pytest.raises(ganforge.SettingsError, match=said):
            call()
    assert not list(tmp_path.iterdir())
    assert len(repr(model)) < 300 and "scale 2" in repr(model)


def test_a_folder_of_several_runs_is_not_a_model(tmp_path: Path):
    for name in ("first", "second"):
        write_folder(tmp_path / "runs" / name)
    with pytest.raises(ganforge.SettingsError, match="states of 2 runs; give the folder of one"):
        ganforge.load(tmp_path / "runs")
    assert ganforge.load(tmp_path / "runs" / "second").model.system == SYSTEM


def test_a_benchmark_is_a_table_with_means(run: ganforge.Run, images: Path, tmp_path: Path):
    for part in ("HR", "LR"):
        (tmp_path / part).mkdir()
    for name in ("0.png", "1.png"):
        with Image.open(images / name) as image:
            image.save(tmp_path / "HR" / name)
            halved = (image.width // 2, image.height // 2)
            image.resize(halved, Image.Resampling.BICUBIC).save(tmp_path / "LR" / name)
    frame = run.model().evaluate(tmp_path)
    assert len(frame) == 3
    numbers = frame.select_dtypes("number")
    assert numbers["psnr"].iloc[-1] == pytest.approx(numbers["psnr"].iloc[:2].mean())
    assert (numbers["psnr_bicubic"] > 20).all()


def test_samples_are_functions_of_their_number(tmp_path: Path):
    list(run_prepared(small_run("conditional_gan"), store=str(tmp_path / "run")))
    model = ganforge.load(tmp_path / "run")
    three, two = model.sample(3, label=7), model.sample(2, label=7)
    assert [a.tobytes() for a in three[:2]] == [b.tobytes() for b in two]
    assert three[0].tobytes() != three[1].tobytes()
    with pytest.raises(ganforge.SettingsError, match="labels 0 to 9"):
        model.sample(1, label=10)
    with pytest.raises(ganforge.SettingsError, match="upscale"):
        model.upscale(np.zeros((4, 4, 3), np.uint8))


def test_bad_input_is_refused_with_the_words_of_the_command(folder: Path, images: Path):
    given = {"tracking_uri": f"sqlite:///{folder}/mlflow.db", "storage": folder / "runs"}
    with pytest.raises(
        ganforge.SettingsError, match=r"unknown setting 'wdth'.*did you mean 'width'"
    ):
        ganforge.train(images, SYSTEM, settings={"wdth": 4}, **given)
    with pytest.raises(ganforge.SettingsError, match=r"critic\.learning_rate = '-1'"):
        ganforge.train(images, SYSTEM, settings={"critic": {"learning_rate": -1}}, **given)
    with pytest.raises(ganforge.SettingsError, match="no such file or folder"):
        ganforge.load("nothing/here")


def test_a_search_over_a_dictionary_is_a_study(folder: Path, images: Path, tmp_path: Path):
    from ray import tune

    heard: list[ganforge.Event] = []
    study = ganforge.tune(
        images,
        **GIVEN,
        space={
            "critic.learning_rate": tune.loguniform(1e-4, 1e-2),
            "critic_steps": tune.choice([1]),
        },
        trials=2,
        on_event=heard.append,
        experiment="study",
        tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
        storage=tmp_path / "runs",
    )
    frame = study.to_dataframe()
    assert isinstance(frame, pd.DataFrame) and list(frame["trial"]) == [0, 1]
    assert not study.interrupted and len(study.trials) == 2
    for number, trial in enumerate(study.trials):
        kinds = [event.kind for event in heard if event.run_id == trial.run_id]
        assert (kinds[0], kinds[-1]) == ("started", "ended") and kinds.count("report") >= 4
        mine = [event for event in heard if event.trial == number and METRIC.name in event.metrics]
        assert mine[-1].metrics[METRIC.name] == trial.score
        assert mine[-1].run == f"{study.search_id}/trial-{number:04d}"
        assert set(mine[-1].searched) == {"critic.learning_rate", "critic_steps"}
    scores = [trial.score for trial in study.trials]
    assert study.best.score == max(scores)
    assert study.best.run_id in {trial.run_id for trial in study.trials}
    assert len(repr(study)) < 300 and f"trial {study.result.best.number}" in repr(study)
    shown = study._repr_html_()
    assert "critic.learning_rate" in shown and "data:image/png;base64," in shown
    for made in (study.plot.history(), study.plot.ranks(), study.plot.parallel()):
        drawn = Image.open(io.BytesIO(made._repr_png_()))
        assert min(drawn.size) > 300 and len(drawn.convert("L").getcolors()) > 10
    with pytest.raises(ganforge.GanforgeError, match="needs two settings and four trials"):
        study.plot.importance()
    with pytest.raises(ganforge.GanforgeError, match="the search has one metric"):
        study.plot.pareto()
    assert study.best.preference is None
    page = study.compare(tmp_path / "page")
    text = (page.parent / "data.js").read_text()
    assert page.name == "index.html" and all(trial.run_id in text for trial in study.trials)
    with pytest.raises(ganforge.SettingsError, match="exists already; --overwrite"):
        study.compare(tmp_path / "page")
