"""What a page shows of recorded runs: their images, matched by their pixels, with their values."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import ganforge
from PIL import Image
from recorded_grids import Recorded, put, record

from ganforge.comparison.collect import Collector
from ganforge.settings import SettingsError
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR
from ganforge.systems.settings import ladder
from ganforge.tracking.client import open_client
from ganforge.tracking.compared import compared_runs
from ganforge.tracking.preference import read_choice, record_choices
from ganforge.tracking.runs import Opening, open_run


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("store"), num_stages={2: 1})


def read(folder: Path) -> dict:
    text = (folder / "data.js").read_text("ascii")
    return json.loads(text.partition("const COMPARISON = ")[2].rstrip().removesuffix(";"))


def test_the_folder_has_the_images_of_the_runs(recorded: Recorded, tmp_path: Path) -> None:
    page = tmp_path / "page"
    assert ganforge("compare", "faces", "--output", page, "--tracking-uri", recorded.uri) == 0
    data = read(page)
    assert [run["id"] for run in data["runs"]] == recorded.runs
    assert data["rows"] == 2 and data["metric"] == "validation/psnr" and data["title"] == "faces"
    for run in data["runs"]:
        for frame in run["frames"]:
            pixels = np.asarray(Image.open(page / "tiles" / f"{frame['panes']['generated']}.png"))
            expected = recorded.generated[run["id"], frame["stage"]]
            assert np.array_equal(pixels.reshape(expected.shape), expected)
            assert frame["mark"] == 100 * (frame["stage"] + 1)
    # what all runs were given is kept once; the stopped run shows the same images as the others
    assert len({run["frames"][0]["panes"]["bicubic"] for run in data["runs"]}) == 1
    assert all(frame["rows"] == [0, 1] for run in data["runs"] for frame in run["frames"])
    assert len(list((page / "tiles").iterdir())) == 2 * 3 + 3 + 2
    best = max(data["runs"], key=lambda run: np.mean(run["frames"][-1]["difference"]))
    assert best["id"] == recorded.runs[1]
    made = recorded.generated[best["id"], 1].astype(int)
    bicubic = Image.open(page / "tiles" / f"{best['frames'][-1]['panes']['bicubic']}.png")
    other = np.asarray(bicubic).reshape(made.shape)
    expected = np.abs(made - other).mean((1, 2, 3))
    assert best["frames"][-1]["difference"] == pytest.approx(expected, abs=1e-3)
    # the same again replaces nothing unasked
    assert ganforge("compare", "faces", "--output", page, "--tracking-uri", recorded.uri) == 2
    again = ("compare", "faces", "--output", page, "--overwrite", "--ends")
    assert ganforge(*again, "--tracking-uri", recorded.uri) == 0


def test_runs_are_named_by_experiment_search_or_id(recorded: Recorded) -> None:
    def ids(*sources: str) -> list[str]:
        return [run.run_id for run in compared_runs(recorded.uri, sources)]

    assert ids("faces") == ids("faces-search") == recorded.runs
    assert ids(recorded.runs[2], "faces") == [recorded.runs[2], *recorded.runs[:2]]
    with pytest.raises(SettingsError, match="neither an experiment, a search nor a run in"):
        ids("face")
    with pytest.raises(SettingsError, match="neither an experiment"):
        ids("x' or tags.kind != '")


def test_a_second_look_fetches_what_is_new(recorded: Recorded, tmp_path: Path) -> None:
    store = record(tmp_path, 1, experiment="new", sides=(16,))
    client = open_client(store.uri)
    settings = ProgressiveGANSR.Settings().model_copy(update={"stages": ladder(8, 16)})
    run = open_run(store.uri, "new", Opening("train", "young", settings))
    folder = tmp_path / "page"
    folder.mkdir()
    collector = Collector(store.uri, ("new",), folder, overwrite=True)
    first = collector.collect()
    assert len(first["runs"]) == 1 and first["total"] == 2, "one has no grid yet"
    root = Path(client.get_run(store.runs[0]).info.artifact_uri.removeprefix("file://"))
    content = (root / "grids" / "stage-0-000010.png").read_bytes()
    young = client.get_run(run.run_id).info
    put(young, "grids/stage-0-000000.png", content)
    put(young, "grids/stage-0-000001.png", b"not a PNG")
    second = collector.collect()
    assert [one["name"] for one in second["runs"]] == ["trial 0", "young"]
    assert any("stage-0-000001.png is not shown" in line for line in collector.trouble)


def test_names_of_others_are_data(tmp_path: Path) -> None:
    store = record(tmp_path, 1, sides=(16,), experiment="</script><script>hit()</script>")
    page = tmp_path / "page"
    title = "</script><script>hit()</script>"
    assert ganforge("compare", title, "--output", page, "--tracking-uri", store.uri) == 0
    text = (page / "data.js").read_text("ascii")
    assert "<" not in text and read(page)["title"] == title
    assert read(page)["runs"][0]["experiment"] == title


def test_a_tile_is_not_written_through_a_link(recorded: Recorded, tmp_path: Path, capsys) -> None:
    page, secret = tmp_path / "page", tmp_path / "secret"
    page.mkdir()
    secret.mkdir()
    (page / "tiles").symlink_to(secret)
    assert ganforge("compare", "faces", "--output", page, "--tracking-uri", recorded.uri) == 2
    assert "is a link or a file" in capsys.readouterr().err
    assert not list(secret.iterdir())


def test_pixels_of_the_strips_are_read_as_they_are(recorded: Recorded, tmp_path: Path) -> None:
    """No colour profile and no palette that a browser would apply."""
    page = tmp_path / "page"
    assert ganforge("compare", "faces", "--output", page, "--tracking-uri", recorded.uri) == 0
    for path in (page / "tiles").iterdir():
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            assert image.mode == "RGB" and not set(image.info) & {"icc_profile", "gamma", "srgb"}


def test_what_is_refused_leaves_no_folder(recorded: Recorded, tmp_path: Path, capsys) -> None:
    page, store = tmp_path / "page", ("--tracking-uri", recorded.uri)
    assert ganforge("compare", "nope", "--output", page, *store) == 2
    assert "neither an experiment, a search nor a run" in capsys.readouterr().err
    assert ganforge("compare", "faces", "--metric", "foo", "--output", page, *store) == 2
    error = capsys.readouterr().err
    assert "metric = foo: none of the 3 runs has it; their metrics are: validation/psnr" in error
    assert not page.exists()
    # what a system measures is a metric of its runs before the first value
    measured = ProgressiveGANSR.metrics[0].name
    assert ganforge("compare", "faces", "--metric", measured, "--output", page, *store) == 0


@pytest.mark.parametrize("below", ["", "page"])
def test_a_file_is_not_a_folder_for_the_page(
    recorded: Recorded, tmp_path: Path, capsys, below: str
) -> None:
    file = tmp_path / "best.png"
    file.write_bytes(b"mine")
    arguments = ("--output", file / below, "--overwrite", "--tracking-uri", recorded.uri)
    assert ganforge("compare", "faces", *arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "is not usable as a folder" in error
    assert file.read_bytes() == b"mine"


def choice(number: int, first: str, second: str) -> dict[str, object]:
    runs = {"first": first, "second": second}
    return {"key": f"{number:016x}", **runs, "better": "first", "image": 0, "mark": 100}


def test_choices_of_runs_that_are_absent_are_left_out(tmp_path: Path, capsys) -> None:
    store = record(tmp_path, 3, images=1, sides=(16,))
    first, second, deleted = store.runs
    client = open_client(store.uri)
    client.delete_run(deleted)
    file = tmp_path / "choices.json"

    def applied(*choices: object) -> int:
        file.write_text(json.dumps({"format": 1, "choices": choices}))
        return ganforge("compare", "--apply", file, "--tracking-uri", store.uri)

    absent = "0" * 32
    lost = [choice(1, first, absent), choice(2, deleted, second)]
    assert applied(*lost) == 2
    assert f"run = {absent}: unavailable from" in capsys.readouterr().err
    assert "preference" not in client.get_run(first).data.tags, "nothing is recorded of either run"
    assert applied(*lost, choice(3, first, second)) == 0
    shown = capsys.readouterr()
    assert "recorded      1 choices\n" in shown.out
    assert shown.err.count("\n") == 1 and "warning: 2 choices are left out" in shown.err
    assert absent in shown.err and deleted in shown.err
    # what was recorded before is not counted as new
    assert applied(choice(3, first, second), choice(4, second, first)) == 0
    assert "recorded      1 choices; 1 were recorded before\n" in capsys.readouterr().out
    tags = client.get_run(first).data.tags
    assert (tags["preference.won"], tags["preference.lost"]) == ("1", "1")
    file.write_text("{}")
    assert ganforge("compare", "--apply", file, "--tracking-uri", store.uri) == 2
    assert 'begins with {"format": 1, "choices": [' in capsys.readouterr().err


def test_a_page_has_an_id_of_its_own_and_the_choices_of_its_records(tmp_path: Path) -> None:
    store = record(tmp_path, 2, images=1, sides=(16,))
    first, second = store.runs

    def page(*sources: str) -> dict:
        given = ("--output", tmp_path / "page", "--overwrite", "--tracking-uri", store.uri)
        assert ganforge("compare", *sources, *given) == 0
        return read(tmp_path / "page")

    before = page("faces", first)
    assert before["recorded"] == []
    record_choices(store.uri, [read_choice(choice(7, first, second))])
    # half recorded: it is still to be applied
    info = open_client(store.uri).get_run(first).info
    put(info, f"preference/{8:016x}-won.json", b"{}")
    record(tmp_path, 1, images=1, sides=(16,))
    after = page(first, "faces")
    assert after["id"] == before["id"] != page("faces")["id"]
    assert after["recorded"] == [f"{7:016x}"] and len(after["runs"]) == 3
