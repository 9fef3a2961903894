"""The study report: closed-form tables, and no search that it fails on."""

import base64
import io
import math
import re
import warnings
from dataclasses import replace

import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial
from PIL import Image

from ganforge.search.report.animation import Frame, animate
from ganforge.search.report.build import build_report
from ganforge.search.report.facts import StudyFacts
from ganforge.search.report.figure import png
from ganforge.search.report.importance import importance
from ganforge.search.report.parallel import Scale
from ganforge.search.report.table import TrialRow, as_csv, as_parquet, ranks, table
from ganforge.tracking.palette import colour
from ganforge.training.report import StageResult

PSNR = "validation/psnr"
DOMAINS = {
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "loss": CategoricalDistribution(["hinge", "wasserstein", None]),
}


def trial(number: int, state: str, scores: list[float], **params: object) -> TrialRow:
    stages = [
        StageResult(
            k, 16 * 2**k, seconds=10.0 + k, workers=2, metrics={PSNR: s, f"{PSNR}_bicubic": 20.0}
        )
        for k, s in enumerate(scores)
    ]
    return TrialRow(number, f"run{number}", state, state, params, PSNR, stages, 40.0, 2)


ROWS = [
    trial(0, "finished", [20.0, 22.0, 24.0], rate=1e-2, loss="hinge"),
    trial(1, "stopped", [19.0], rate=1e-3, loss="wasserstein"),
    trial(2, "finished", [20.0, 23.0, 23.5], rate=3e-3, loss="hinge"),
    trial(3, "failed", [], rate=1e-1, loss=None),
]


def study_of(rows: list[TrialRow]) -> optuna.Study:
    pruned = dict.fromkeys(("stopped", "paused"), TrialState.PRUNED)
    states = {"finished": TrialState.COMPLETE, **pruned}
    made = optuna.create_study(direction="maximize")
    for row in rows:
        values = {k + 1: s.metrics[PSNR] for k, s in enumerate(row.stages)}
        made.add_trial(
            create_trial(
                params=dict(row.params),
                distributions={key: DOMAINS[key] for key in row.params},
                value=row.score if values else None,
                intermediate_values=values,
                state=states[row.state] if values else TrialState.FAIL,
            )
        )
    return made


def frames(count: int, width: int = 64, height: int = 48) -> list[Frame]:
    found = []
    for number in range(count):
        buffer = io.BytesIO()
        Image.new("RGB", (width + 8 * number, height), (40 * number, 99, 0)).save(buffer, "PNG")
        found.append(Frame(buffer.getvalue(), f"stage {number}", number / count, number % 2 == 1))
    return found


def searched(rows: list[TrialRow]) -> StudyFacts:
    return StudyFacts(
        "Search s of a system", rows, [16, 32, 64], "validation/psnr", "max", study_of(rows),
        ["rate"], 0, lambda: frames(3),
    )  # fmt: skip


def test_the_table_has_a_line_for_each_trial_and_its_cost():
    found = table(ROWS, 3)
    assert list(found["trial"]) == [0, 1, 2, 3]
    assert list(found["score"])[:3] == [24.0, 19.0, 23.5] and math.isnan(found["score"][3])
    assert found["stage 1 seconds"][0] == 11.0 and found["stage 1 device-seconds"][0] == 22.0
    assert math.isnan(found["stage 1 score"][1])
    assert list(found["device-seconds"]) == [80.0] * 4
    assert list(found["rate"]) == [1e-2, 1e-3, 3e-3, 1e-1]


def test_seconds_of_stages_outlive_the_process_that_a_trial_began_in():
    short = replace(ROWS[0], seconds=5.0)
    assert table([short], 3)["seconds"][0] == 10.0 + 11.0 + 12.0


def test_csv_and_parquet_hold_the_same():
    found = table(ROWS, 3)
    csv = pd.read_csv(io.BytesIO(as_csv(found)))
    parquet = pd.read_parquet(io.BytesIO(as_parquet(found)))
    assert list(csv.columns) == list(parquet.columns) == list(found.columns)
    for name in ("score", "rate", "stage 2 seconds"):
        pd.testing.assert_series_equal(csv[name], parquet[name], check_dtype=False)
    mixed = table([trial(0, "finished", [1.0], size="a"), trial(1, "finished", [1.0], size=2)], 1)
    assert list(pd.read_parquet(io.BytesIO(as_parquet(mixed)))["size"]) == ["a", "2"]


def test_ranks_by_stage():
    assert ranks(ROWS, 3, "max") == {
        0: [1, 2, 1],
        1: [3, None, None],
        2: [1, 1, 2],
        3: [None, None, None],
    }
    assert ranks(ROWS, 3, "min")[1] == [1, None, None]


def test_a_scale_places_numbers_by_size_and_words_in_order():
    log = Scale([1e-1, 1e-3, 1e-2], True)
    assert [log.position(v) for v in (1e-3, 1e-2, 1e-1)] == pytest.approx([0, 0.5, 1])
    words = Scale(["b", "a", "b"], True)
    assert [words.position(v) for v in ("a", "b")] == [0.0, 1.0] and not words.log
    assert Scale([3, 3], False).position(3) == 0.5
    assert Scale([True, False], False).ticks() == [(0.0, "False"), (1.0, "True")]
    assert math.isnan(log.position(None))
    assert [word for _, word in Scale(list(range(9)), False).ticks()] == ["0", "2", "4", "6", "8"]


def test_a_search_gives_every_file():
    more = [
        trial(4 + k, "finished", [18.0 + k] * 3, rate=2e-3 * (k + 1), loss="hinge")
        for k in (0, 1, 2)
    ]
    files, left_out = build_report(searched(ROWS + more))
    assert left_out == []
    names = ("animation.webp", "optimization_history.png", "stage_ranks.png", "importance.png")
    for name in (*names, "parallel_coordinates.png"):
        assert Image.open(io.BytesIO(files[f"report/{name}"])).size[0] > 60
    page = files["report/report.html"].decode()
    inline = re.findall(r'src="data:image/\w+;base64,([^"]+)"', page)
    images = {content for path, content in files.items() if path.endswith(("png", "webp"))}
    assert {base64.b64decode(text) for text in inline} == images
    # nothing is fetched from anywhere
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "Best: trial 0 with validation/psnr 24.000 (bicubic 20.000)." in page


@pytest.mark.parametrize(
    "rows",
    [
        ROWS[:1],
        [trial(k, "finished", [20.0] * 3, rate=1e-3, loss="hinge") for k in range(5)],
        ROWS[3:],
        [trial(0, "stopped", [20.0], rate=1e-3), trial(1, "stopped", [21.0], rate=1e-2)],
        [trial(k, "finished", [20.0 + k] * 3, loss="hinge") for k in range(5)],
    ],
    ids=["one", "equal", "failed", "stopped", "one setting"],
)
def test_what_cannot_be_drawn_is_left_out_with_a_reason(rows: list[TrialRow]):
    files, left_out = build_report(replace(searched(rows), frames=list))
    assert {"report/trials.csv", "report/trials.parquet", "report/report.html"} <= files.keys()
    assert any(line.startswith("animation: ") for line in left_out)
    assert all("\n" not in line and "Error" not in line for line in left_out)
    page = files["report/report.html"].decode()
    assert page.count("Left out: ") == len(left_out)


def test_an_animation_has_one_frame_size_and_is_small():
    content = animate(frames(5, width=900, height=1500))
    assert len(content) <= 2_000_000
    shown = Image.open(io.BytesIO(content))
    assert shown.n_frames == 5 and shown.size == (720, 930)
    shown.seek(4)
    assert shown.convert("RGB").getpixel((300, 300))[0] > 140


def test_noise_is_shrunk_until_it_fits():
    noise = []
    for number in range(6):
        buffer = io.BytesIO()
        Image.effect_noise((700, 900), 120).convert("RGB").save(buffer, "PNG")
        noise.append(Frame(buffer.getvalue(), f"{number}", number / 6, False))
    content = animate(noise)
    assert len(content) <= 2_000_000 and Image.open(io.BytesIO(content)).n_frames == 6


def test_ticks_have_as_many_digits_as_tell_them_apart():
    assert [text for _, text in Scale([29.91, 30.13], False).ticks()] == ["29.9", "30.1"]
    close = [text for _, text in Scale([29.91, 29.93, 30.0, 30.02, 30.1, 30.13], False).ticks()]
    assert close == ["29.91", "29.96", "30.02", "30.07", "30.13"]


def test_neighbours_have_different_colours():
    assert len({colour(number) for number in range(10)}) == 10 and colour(11) == colour(1)


def test_settings_of_later_stages_explain_nothing_of_the_first(monkeypatch: pytest.MonkeyPatch):
    domain = FloatDistribution(0.0, 1.0)
    names = ("rate", "weight", "stages.0.rate", "stages.1.rate")
    made = optuna.create_study(direction="maximize")
    for number in range(6):
        values = {name: ((number + 1) * 0.37 * k) % 1 for k, name in enumerate(names, 1)}
        made.add_trial(
            create_trial(
                params=values,
                distributions=dict.fromkeys(names, domain),
                value=float(number),
                intermediate_values={1: number / 2, 2: float(number)},
            )
        )
    asked = []
    real = optuna.importance.get_param_importances

    def spy(study: optuna.Study, **options: object) -> dict[str, float]:
        asked.append(set(study.trials[0].params))
        found = real(study, **options)  # type: ignore[arg-type]
        assert sum(found.values()) == pytest.approx(1)
        return found

    monkeypatch.setattr(optuna.importance, "get_param_importances", spy)
    assert png(importance(made, 2, "max")).startswith(b"\x89PNG")
    assert asked == [set(names), set(names) - {"stages.1.rate"}]


def test_many_trials_are_told_apart_by_their_score_and_few_by_name() -> None:
    rows = [
        trial(k, "paused" if k % 3 else "finished", [20 + k % 7.0], rate=1e-4 * (k + 1), loss=None)
        for k in range(120)
    ]
    with warnings.catch_warnings():
        # where the legend is larger than the image nothing is left for axes
        warnings.simplefilter("error")
        png(searched(rows).parallel())
    legend = searched(rows).parallel().axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "trial 6, the best",
        "better",
        "worse",
        "not finished",
    ]
    few = searched(rows[:3]).parallel().axes[0].get_legend()
    assert few is not None
    named = {text.get_text() for text in few.get_texts()}
    assert named == {"trial 0", "trial 1 (paused)", "trial 2 (paused)"}
