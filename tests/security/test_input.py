"""Settings, spaces and options that are none: each kind that once ended in a traceback, was
ignored, or was refused without its key."""

import json
import re

import pytest
from pydantic import model_validator
from ray import tune

import search_spaces
from ganforge.commands.cli import main
from ganforge.commands.configure import CliOptions, configure
from ganforge.search.space import check_space
from ganforge.settings import (
    SettingsError,
    Strict,
    flatten,
    override,
    parse_json,
    read_json,
    setting,
    to_json,
)
from ganforge.systems.catalog import SYSTEMS, load_system
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR, Settings

QUICK = override(Settings(), ProgressiveGANSR.PRESETS["quick"])


def refused(*changes: str, **options: object) -> list[str]:
    """The lines that refuse what --set and other options ask of the flagship's quick preset."""
    with pytest.raises(SettingsError) as caught:
        configure(CliOptions(preset="quick", changes=list(changes), **options))
    return str(caught.value).split("\n")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("stages.².epochs=1", "unknown setting 'stages.².epochs'; did you mean 'stages.².epochs'?"),
        ("stages.00.epochs=1", "unknown setting 'stages.00.epochs': stages has "),
        ("scale=²", "scale = '²': Input should be 2 or 4"),
        ("stages=x", "stages.0 = 'x': must be a table of settings; `ganforge settings` lists them"),
        ("keep=best:²", "keep = 'best:²': must be all, last, or best:N with N ≥ 1"),
        ("stages.0.batch_size=x", "stages.0.batch_size = 'x': Input should be a valid integer, "),
        ("width=" + "9" * 30, f"width = {'9' * 30}: must be below 2**63"),
        ("width=" + "9" * 5000, f"width = '{'9' * 78}…: must be below 2**63"),
        ("data.root=", "data.root = '': must be the path of a folder, or none"),
        ("data.root=a\0b", "data.root = 'a\\x00b': must be the path of a folder, or none"),
        ("data.root=~no-such-user/x", "data.root = '~no-such-user/x': its first part must name"),
        ("system=abc", "system = 'abc': must be progressive_gan_sr, whose settings these are"),
        ("system=", "system = '': must be progressive_gan_sr"),
        ("stages.0.overrides={}", "stages.0.overrides: give the settings themselves, such as"),
        ("a\x1b[31m=1", "unknown setting 'a\\x1b[31m'; `ganforge settings` lists them"),
    ],
)
def test_each_kind_of_odd_setting_is_one_line(change, line):
    (found,) = refused(change)
    if "did you mean" not in line:
        assert found.startswith(line)
    assert found.startswith(line.partition(";")[0])


@pytest.mark.parametrize("system", SYSTEMS)
def test_however_long_a_value_is_its_line_is_short(system):
    settings = load_system(system).Settings()
    for key in flatten(settings):
        try:
            override(settings, {key: "9" * 5000})
        except SettingsError as error:
            assert all(len(line) < 1000 for line in str(error).split("\n")), key


def test_a_rule_of_ones_own_may_show_a_long_value():
    class Mine(Strict):
        name: str = setting("x", "a name")

        @model_validator(mode="after")
        def _check(self):
            if len(self.name) > 1:
                raise ValueError(f"name = {self.name}: must be a letter")
            return self

    with pytest.raises(SettingsError, match=r"^name = 9+….*9: must be a letter$") as caught:
        override(Mine(), {"name": "9" * 5000})
    assert len(str(caught.value)) < 1000


def test_a_hundred_thousand_brackets_are_refused():
    for text in ("[" * 100_000, '{"a":' * 50_000, "[" * 50 + "]" * 50):
        assert refused(f"generator.betas={text}")[0].startswith("generator.betas")
        with pytest.raises(ValueError):
            parse_json(text)


def test_a_group_and_a_part_of_it_are_not_both_given():
    lines = refused("stages=x", "stages.0.epochs=2")
    assert "--set stages.0.epochs: --set stages sets it too; give one of the two" in lines
    with pytest.raises(SettingsError, match=r"^stages\.0\.epochs: stages is given as a whole too"):
        override(QUICK, {"stages": "x", "stages.0.epochs": 2})


def test_a_key_that_is_no_text_is_refused():
    for key in (1, None, (), b"width"):
        with pytest.raises(SettingsError, match="a key must be the name of a setting"):
            override(QUICK, {key: 1})


def test_all_mistakes_are_named_at_once_whatever_their_kind():
    lines = refused(
        "batch_size=9", "workers=9", "stages.1.resolution=7", "keep=best:0", "widht=1", "abc",
        "generator.betas.0=3", "stages.0.learning_rate=x", "data.root=", "system=abc", "seed=x",
        "stages.2.generator.learning_rate=-1", "seed=2",
    )  # fmt: skip
    heads = [
        "batch_size = 9:", "workers = 9:", "stages.1.resolution = 7:", "keep = 'best:0':",
        "unknown setting 'widht'", "--set abc:", "generator.betas.0 = 3.0:",
        "unknown setting 'stages.0.learning_rate'", "data.root = '':", "system = 'abc':",
        "seed = 'x':", "stages.2.generator.learning_rate = '-1':", "--set seed is given twice",
    ]  # fmt: skip
    assert not [head for head in heads if not any(line.startswith(head) for line in lines)], lines


def test_a_mistake_that_a_groups_own_rule_finds_hides_no_other_in_the_group():
    changes = {"stages.0.batch_size": "-1", "stages.0.resolution": "9" * 30}
    with pytest.raises(SettingsError) as caught:
        override(QUICK, changes)
    assert [line.partition(" = ")[0] for line in str(caught.value).split("\n")] == [
        "stages.0.resolution",
        "stages.0.batch_size",
    ]


def test_what_follows_from_a_named_mistake_is_not_named():
    (line,) = refused("shards=x", "batch_size=15")
    assert line.startswith("shards = 'x'")


@pytest.mark.parametrize("scale", [0, -2, 3])
@pytest.mark.parametrize("system", ["srgan", "progressive_gan_sr"])
def test_a_scale_that_is_none_is_refused(system, scale):
    if system == "srgan" and scale == 3:
        return  # SRGAN has it
    (line,) = refused(system=system, scale=scale, target=12)
    assert line.startswith(f"scale = {scale}: Input should be")


def test_a_settings_file_says_nothing_twice_and_nothing_unknown(tmp_path):
    good = json.loads(to_json(QUICK))
    text = to_json(QUICK).replace('"seed": 0', '"seed": 0, "seed": 1')
    bad = {
        text: "seed is given twice; keep one",
        json.dumps(
            good | {"setings": {}}
        ): "unknown key 'setings' next to 'settings'; did you mean",
        json.dumps(good | {"schema": True}): "schema = True: this ganforge reads schemas",
        "[" * 100_000: "more than 12 deep",
        json.dumps(good | {"system": "x" * 300}): "'system' must be a name",
        json.dumps(good | {"settings": good["settings"] | {"system": "wgan"}}): "system = 'wgan'",
    }
    path = tmp_path / "s.json"
    for content, message in bad.items():
        path.write_text(content)
        with pytest.raises(SettingsError, match=re.escape(message)):
            configure(CliOptions(settings_file=str(path)))
    path.write_text(json.dumps(good | {"system": "a\nb"}))
    for system in (None, "wgan"):
        with pytest.raises(SettingsError, match=r"(unknown system 'a\\nb'|is for a\\nb, not)"):
            configure(CliOptions(settings_file=str(path), system=system))
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(SettingsError, match="must be a text in UTF-8"):
        configure(CliOptions(settings_file=str(path)))
    assert read_json(to_json(QUICK))["settings"] == good["settings"]


@pytest.mark.parametrize(
    ("space", "line"),
    [
        ({1: tune.uniform(0, 1)}, "search space: 1: a key must be a setting's name, as text"),
        ({"widht": tune.randint(4, 8)}, "unknown setting 'widht'; did you mean 'width'?"),
        ({"widht": 5}, "unknown setting 'widht'; did you mean 'width'?"),
        ({"width": tune.qrandn(4, 8, 0)}, "width: this domain cannot be searched (its step is 0"),
        ({"width": tune.choice([])}, "width: this domain cannot be searched (it has no values"),
        ({"width": tune.choice([object()])}, "width: this domain cannot be searched (Object of"),
        ({"width": tune.sample_from(lambda _: 1 / 0)}, "width: this domain cannot be searched"),
        (
            {"width": tune.qlograndint(4, 6, 7)},
            "width: this domain cannot be searched (its bounds 4 and 6 hold no value",
        ),
        (
            {"generator.betas": tune.choice([[0, 0.9]]), "generator.betas.0": tune.uniform(0, 0.5)},
            "generator.betas.0: generator.betas is searched as a whole too; keep one",
        ),
        ({"width": tune.randn(0, 1)}, "width: this domain cannot be searched"),
    ],
)
def test_each_kind_of_odd_domain_is_refused_by_its_key(space, line):
    with pytest.raises(SettingsError) as caught:
        check_space(space, QUICK)
    assert any(found.startswith(line) for found in str(caught.value).split("\n")), caught.value


def test_a_file_that_fails_is_named_with_its_line(tmp_path):
    path = tmp_path / "space.py"
    path.write_text("from ray import tune\nSPACE = {\n    'width': tune.quniform(4, 8, 0),\n}\n")
    with pytest.raises(SettingsError, match=r"space\.py: line 3: ZeroDivisionError: division by"):
        search_spaces.load(str(path))


def complaint(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["train", "--preset", "A", "--preset", "B"], "--preset is given 2 times: must be given"),
        (["train", "--gpu", "--gpu"], "--gpu is given 2 times"),
        (["upscale", "a", "--model", "x", "--output=y", "--output", "z"], "--output is given 2"),
        (["train", "--data", ""], "--data: must not be empty; give a value or leave it out"),
        (["sync", ""], "path: must not be empty"),
        (["evaluate", "--benchmark", "a", "--benchmark", ""], "--benchmark: must not be empty"),
        (["interpolate", "--model", "a", "--output", "b", "--alpha", "nan"], "--alpha"),
        (["train", "--sed", "1"], "No such option: --sed"),
        (["reproduce", "--run", "x", "--tracking-uri", "ftp://x"], "tracking URI = ftp://x: must"),
    ],
)
def test_an_option_is_given_once_with_a_value(words, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = complaint(words, capsys)
    assert text.startswith("error: ") and line in text and len(text.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_options_that_are_lists_and_help_may_be_repeated(capsys):
    for words in (["settings", "wgan", "--json", "--help", "--help"], ["train", "--help"]):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert not left.value.code
    words = ["train", "--set", "width=8", "--set", "seed=1", "--dry-run", "--preset=quick"]
    with pytest.raises(SystemExit) as left:
        main(words)
    assert not left.value.code and '"seed": 1' in capsys.readouterr().out
