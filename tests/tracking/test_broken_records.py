"""Artifacts of a run that are not what they should be: one line that names the file, everywhere."""

import pytest
from generators import record_run
from run_files import log_files

from ganforge.commands.cli import main
from ganforge.settings import SettingsError
from ganforge.tracking.artifacts import fetch_images
from ganforge.tracking.queries import fetch_stages, fetch_states
from ganforge.tracking.run_ref import RunRef


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(scope="module")
def run(uri) -> RunRef:
    return RunRef(uri, record_run(uri, "broken"))


def test_a_sound_record_is_read(uri, run):
    """The fault-free partner of all below, with the values that JSON and Python write otherwise."""
    text = '[{"index": 1, "seconds": 3, "metrics": {"a": NaN, "b": 1, "c": Infinity}, "new": [1]}]'
    log_files(run, {"stages.json": text.encode()})
    (result,) = fetch_stages(uri, run.run_id)
    assert (result.index, result.seconds, result.metrics["b"]) == (1, 3, 1)
    assert fetch_states(uri, run.run_id) == fetch_images(uri, run.run_id) == {}


STAGES = [
    "",
    "{",
    "null",
    "7",
    '"text"',
    "{}",
    "[1]",
    "[null]",
    "[{}]",
    '[{"index": null}]',
    '[{"index": "zero"}]',
    '[{"index": [0]}]',
    '[{"index": 0, "metrics": null}]',
    '[{"index": 0, "metrics": {"a": "b"}}]',
    '[{"index": 0, "settings": []}]',
    '[{"index": 0, "state_sha256": 7}]',
    '[{"index": 0, "code": {"a": {}}}]',
    '[{"index": -1}]',
    '[{"index": 1000000}]',
    '[{"index": 1' + "0" * 400 + "}]",
    '[{"index": 0, "settings": ' + '{"a":' * 700 + "1" + "}" * 700 + "}]",
    "[" * 5000 + "]" * 5000,
    "\xff\x00",
]


@pytest.mark.parametrize("text", STAGES, ids=range(len(STAGES)))
def test_stages_that_are_none(text, uri, run, tmp_path, capsys):
    log_files(run, {"stages.json": text.encode("latin-1")})
    with pytest.raises(SettingsError, match=r"artifact stages\.json is not a list of finished st"):
        fetch_stages(uri, run.run_id)
    for words in (
        ("sample", "--model", run.run_id, "--output", str(tmp_path / "out")),
        ("reproduce", "--run", run.run_id),
    ):
        with pytest.raises(SystemExit) as left:
            main([*words, "--tracking-uri", uri])
        assert left.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: run {run.run_id}: its artifact stages.json")


@pytest.mark.parametrize("text", ["[]", "null", '{"a": 1}', '{"a": {}}', "\xff"])
def test_hashes_that_are_none(text, uri, run):
    name = "states/000-000000001.json"
    log_files(run, {name: text.encode("latin-1"), "images.json": text.encode("latin-1")})
    with pytest.raises(SettingsError, match=r"states/000-000000001\.json is not a table of sha256"):
        fetch_states(uri, run.run_id)
    with pytest.raises(SettingsError, match=r"images\.json is not a table of sha256"):
        fetch_images(uri, run.run_id)


def test_a_state_of_another_name_is_left_out(uri, run):
    names = ["a.json", "1.json", "-.json", "\N{SUPERSCRIPT TWO}-1.json", "1--2.json"]
    log_files(run, {f"states/{name}": b"{}" for name in names})
    log_files(run, {"states/000-000000001.json": b'{"state_sha256": "0"}'})
    assert list(fetch_states(uri, run.run_id).values()) == [{"state_sha256": "0"}]


@pytest.mark.parametrize("text", ["", "[]", "\xff", '{"system": 7, "settings": {}}', "[" * 100_000])
def test_settings_that_are_none(text, uri, run, tmp_path, capsys):
    log_files(run, {"settings.json": text.encode("latin-1")})
    with pytest.raises(SystemExit) as left:
        main(["sample", "--model", run.run_id, "--tracking-uri", uri, "--output", str(tmp_path)])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: run {run.run_id}: its artifact settings.json is not a settings")
