"""What a run's page opens with."""

from dataclasses import replace

from ganforge.systems.settings import SystemSettings
from ganforge.tracking.description import (
    Description,
    data_words,
    describe_run,
    markdown_table,
    reproduce_command,
)
from ganforge.tracking.versions import source
from ganforge.training.report import StageResult


def scored(resolution: int, score: float, bicubic: float | None = None) -> StageResult:
    metrics = {"validation/psnr": score}
    if bicubic is not None:
        metrics["validation/psnr_bicubic"] = bicubic
    return StageResult(resolution.bit_length() - 5, resolution, metrics=metrics)


FACTS = Description(
    "Trial 3 of search s of progressive_gan_sr",
    "stopped early at stage 1",
    "validation/psnr",
    [scored(16, 29.5, 29.25), scored(32, 30.125, 29.25)],
    {"Train it again and compare": reproduce_command("sqlite:///mlflow.db", "abc")},
    {"generator.learning_rate": 0.0123456, "loss": "a|b"},
    "photos, fingerprint `0123`",
    ["no perceptual term"],
)


def test_a_description_says_what_it_is_how_good_and_how_to_get_it_again():
    lines = describe_run(FACTS).splitlines()
    wanted = "Outcome: stopped early at stage 1. **validation/psnr 30.125** (bicubic 29.250)."
    # two spaces at the end break a line in markdown
    assert lines[0] == f"**Trial 3 of search s of progressive_gan_sr**. {wanted}  "
    command = "ganforge reproduce --run abc --tracking-uri sqlite:///mlflow.db"
    assert lines[1] == f"Train it again and compare: `{command}`  "
    assert lines[2].startswith("Data set: photos, fingerprint `0123`")
    assert "| 1 | 32 px | 30.125 | 29.25 |" in lines
    assert "| `generator.learning_rate` | 0.012346 |" in lines
    assert "| `loss` | a\\|b |" in lines
    assert "> no perceptual term" in lines
    if found := source():
        assert f"`{found['mlflow.source.git.commit'][:12]}`" in lines[2]


def test_what_is_not_known_is_left_out():
    begun = describe_run(replace(FACTS, outcome="running", stages=(), commands={}, remarks=()))
    assert "Outcome: running." in begun
    assert "Train" not in begun and "bicubic" not in begun and "resolution" not in begun
    plain = describe_run(replace(FACTS, stages=[scored(16, 0.25)]))
    assert "**validation/psnr 0.250**." in plain and "bicubic" not in plain


def test_a_table_in_markdown():
    assert markdown_table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_data_without_a_folder_is_the_built_in_set():
    settings = SystemSettings(system="progressive_gan_sr")
    assert data_words(settings, "ab" * 32) == "built-in photographs, fingerprint `abababababab`"
