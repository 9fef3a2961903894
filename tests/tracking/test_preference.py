"""Choices between runs: kept once, summed up as a tag and a metric that runs are ranked by."""

import json
from pathlib import Path

import pytest
from command_line import ganforge
from recorded_grids import Recorded, record

from ganforge.settings import SettingsError
from ganforge.tracking.client import open_client
from ganforge.tracking.preference import Choice, Preference, read_choice, record_choices
from ganforge.tracking.queries import best_run, list_files, ranked_params


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("store"), 3, images=1, sides=(16,))


def key(number: int) -> str:
    return f"{number:016x}"


def test_the_share_is_laplaces() -> None:
    assert Preference().share == 0.5
    assert Preference(1, 0, 0).share == pytest.approx(2 / 3)
    assert Preference(19, 1, 0).share > Preference(1, 0, 0).share
    assert Preference(0, 0, 4).share == 0.5
    assert Preference(3, 1, 2).share == pytest.approx((3 + 1 + 1) / 8)


def test_choices_are_counted_once_and_rank_the_runs(recorded: Recorded) -> None:
    first, second, third = recorded.runs
    choices = [
        Choice(key(1), first, second, "second", 0, 100),
        Choice(key(2), second, third, "first", 0, 100),
        Choice(key(3), third, first, "tied", 0, 100),
    ]
    record_choices(recorded.uri, choices)
    found = record_choices(recorded.uri, choices)  # applied again it is the same
    assert found == {first: Preference(0, 1, 1), second: Preference(2), third: Preference(0, 1, 1)}
    run = open_client(recorded.uri).get_run(second)
    assert run.data.tags["preference"] == "0.7500" and run.data.tags["preference.won"] == "2"
    assert run.data.metrics["preference"] == pytest.approx(0.75)
    assert len(list_files(recorded.uri, first, "preference")) == 2
    # as a metric: `reproduce --metric preference`, `tune --points … --points-by preference`
    assert best_run(recorded.uri, "faces", "preference", "max") == second
    ranked = ranked_params(recorded.uri, "faces", "preference", "max", 10)
    assert ranked[0]["generator.learning_rate"] == "0.0002" and len(ranked) == 3


def test_a_saved_file_is_applied_or_refused_whole(recorded: Recorded, tmp_path: Path, capsys):
    first, second, _ = recorded.runs
    good = {"key": key(9), "first": first, "second": second, "better": "first", "image": 0}
    good["mark"] = 100
    file = tmp_path / "choices.json"

    def applied(*choices: object) -> int:
        file.write_text(json.dumps({"format": 1, "choices": choices}))
        return ganforge("compare", "--apply", file, "--tracking-uri", recorded.uri)

    before = open_client(recorded.uri).get_run(first).data.tags
    assert applied(good, good | {"key": "../../../x"}) == 2
    assert "choice 2: a choice's key: must be 16 hexadecimal digits" in capsys.readouterr().err
    assert open_client(recorded.uri).get_run(first).data.tags == before
    assert applied(good) == 0
    assert "recorded      1 choices" in capsys.readouterr().out
    for text in ("", "[]", "{}", '{"format": 2, "choices": []}', "[" * 100000):
        file.write_text(text)
        assert ganforge("compare", "--apply", file, "--tracking-uri", recorded.uri) == 2
        assert "choices.json" in capsys.readouterr().err
    assert applied(good | {"first": "0" * 32}) == 2
    assert "unavailable from" in capsys.readouterr().err


GOOD = {"key": key(1), "first": "a", "second": "b", "better": "tied", "image": 1, "mark": 2}


@pytest.mark.parametrize(
    "change",
    [
        {"key": "A" * 16}, {"key": "0" * 15}, {"key": 7}, {"first": "b"}, {"first": "../b"},
        {"second": ""}, {"better": "won"}, {"image": -1}, {"image": True}, {"image": 1.0},
        {"mark": 10**9}, {"more": 1},
    ],
)  # fmt: skip
def test_what_is_not_a_choice_is_refused(change: dict[str, object]) -> None:
    assert read_choice(GOOD)
    with pytest.raises(SettingsError, match="a choice"):
        read_choice(GOOD | change)
    with pytest.raises(SettingsError, match="a choice"):
        read_choice([])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--points-by", "preference"], "ranks the runs of --points EXPERIMENT"),
        (["--points-by", "validation/psnr", "--points", "x"], "must be preference"),
    ],
)
def test_points_are_ranked_by_preference_alone(options: list[str], message: str, capsys) -> None:
    assert ganforge("tune", "srgan", *options) == 2
    assert message in capsys.readouterr().err
