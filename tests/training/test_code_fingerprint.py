"""The code fingerprint names the definitions that weights depend on, and nothing else."""

import ast
import re
import shutil
import textwrap
from pathlib import Path

import pytest

from ganforge.systems import SYSTEMS
from ganforge.systems.catalog import load_own_system, load_system, system_file
from ganforge.training.fingerprint import CUTS, ENTRIES, code_fingerprint, definitions
from ganforge.training.source_code import ROOT, Key, Sources, user_sources

ADVERSARIAL = {"wgan", "wgan_gp", "conditional_gan", "progan_a", "progan_t", "progressive_gan_sr"}


@pytest.fixture(scope="module")
def before() -> dict[str, dict[str, str]]:
    sources = Sources()
    return {name: code_fingerprint(load_system(name), sources) for name in SYSTEMS}


@pytest.fixture
def package(tmp_path) -> Path:
    """A copy of the package that a test may change."""
    shutil.copytree(ROOT, tmp_path / "ganforge", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "ganforge"


def edit(package: Path, file: str, old: str, new: str) -> None:
    path = package / file
    text = path.read_text()
    assert old in text, f"{file} has no {old!r}"
    path.write_text(text.replace(old, new, 1))


def moved(package: Path, before: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    """The systems whose fingerprint changed, each with the names of what did."""
    found, sources = {}, Sources(package)
    for name, old in before.items():
        new = code_fingerprint(load_system(name), sources)
        differ = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        if differ:
            found[name] = differ
    return found


def test_where_the_package_lies_does_not_count(package, before):
    assert moved(package, before) == {}


def test_entries_and_cuts_are_there():
    """A renamed function must be renamed here too, or it would silently no longer count."""
    for name in (*ENTRIES, *(cut for cut in CUTS if ":" in cut)):
        module, _, inner = name.partition(":")
        source = Sources().module(module)
        assert source is not None, name
        *_, last = inner.split(".")
        fields = {ast.unparse(n.target) for n in ast.walk(source.tree) if type(n) is ast.AnnAssign}
        defined = {getattr(node, "name", "") for node in ast.walk(source.tree)}
        assert last in defined | fields, name
    for name in (cut for cut in CUTS if ":" not in cut):
        assert Sources().module(name) is not None, name


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("layers.py", "def leaky(", "def unused():\n    return 1\n\n\ndef leaky("),
        ("layers.py", '"""Leaky ReLU of slope 0.2."""', '"""Leaky."""  # why'),
        ("layers.py", "def leaky(features: Tensor) -> Tensor:", "def leaky(features):"),
        ("training/grid.py", "PAPER = (96, 96, 96)", "PAPER = (97, 96, 96)"),
        ("training/grid.py", "GAP = 4", "GAP = 5"),
        ("metrics/image_quality.py", "PEAK = 255.0", "PEAK = 256.0"),
        ("metrics/image_quality.py", "0.01 * PEAK", "0.02 * PEAK"),
        ("metrics/swd.py", "SMALLEST = ", "SMALLEST = 1 + "),
        ("training/loop.py", "lower the learning rates", "lower the rates"),
        ("systems/settings.py", '"seed of the training"', '"the seed"'),
        ("systems/settings.py", "workers_at_least: int |", "workers_at_least: float |"),
        ("systems/settings.py", "must be a multiple of shards", "is not a multiple of shards"),
        ("systems/dcgan.py", "learning_rate=2e-4", "learning_rate=3e-4"),
        ("systems/wgan_gp.py", '"features": 16', '"features": 18'),
    ],
)
def test_what_no_weight_depends_on_leaves_every_fingerprint(package, before, file, old, new):
    edit(package, file, old, new)
    assert moved(package, before) == {}


@pytest.mark.parametrize(
    ("file", "old", "new", "name", "systems"),
    [
        ("training/loop.py", "index, step + 1)", "index, 1 + step)", "training.loop.train", "all"),
        ("layers.py", "variance + 1e-8", "variance + 1e-7", "layers.minibatch_stddev",
         {"progan_a", "progan_t", "progressive_gan_sr"}),
        ("losses.py", "1e-12) - 1).square()", "1e-12) - 1).abs()", "losses._excess",
         {"wgan_gp", "conditional_gan", "progan_a", "progan_t", "progressive_gan_sr", "esrgan"}),
        ("layers.py", "HE_GAIN = math.sqrt(2.0)", "HE_GAIN = math.sqrt(2.1)", "layers.HE_GAIN",
         {"progan_a", "progan_t", "progressive_gan_sr"}),
        ("losses.py", "return -fake_scores.mean()", "return -fake_scores.sum()",
         "losses.wasserstein_generator",
         ADVERSARIAL | {"esrgan", "simple_gan", "dcgan", "srgan"}),
        ("systems/history.py", "< 0.5", "< 0.4", "systems.history.ReplayPool.swap",
         {"cyclegan", "superresgan_unet"}),
        ("draws.py", "* bound) >> 64", "* bound) >> 63", "draws.Draws.below", "all"),
    ],
)  # fmt: skip
def test_a_changed_definition_is_named_for_those_that_use_it(
    package, before, file, old, new, name, systems
):
    edit(package, file, old, new)
    found = moved(package, before)
    assert set(found) == (set(SYSTEMS) if systems == "all" else systems)
    whole = f"{file.removesuffix('.py').replace('/', '.')}.(whole)"
    assert all(name in differ and {*differ} <= {name, whole} for differ in found.values())


def test_the_order_of_draws_counts(package, before):
    """Two lines of one system that draw in turn, the other way round."""
    text = (package / "losses.py").read_text()
    line = "    mix = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=dtype)\n"
    first = re.search(r"\n( *real, fake = .*\n)( *mix = torch\.rand.*\n)", text)
    assert first and line.strip() in first[2]
    (package / "losses.py").write_text(text.replace(first[1] + first[2], first[2] + first[1]))
    assert set(moved(package, before)) >= {"wgan_gp", "progressive_gan_sr"}


def test_another_systems_data_do_not_count(package, before):
    for name, kind in {"cyclegan": "UnpairedData", "pix2pix": "PairedData"}.items():
        assert any(kind in key for key in before[name])
    edit(package, "data/translation.py", "class Trans", "_more = 1\n\n\nclass Trans")
    assert moved(package, before) == {}
    edit(package, "data/translation.py", "(0.8, 1.2)", "(0.7, 1.2)")
    assert set(moved(package, before)) == {"pix2pix"}


def test_measuring_and_drawing_are_outside(before):
    for name, found in before.items():
        outside = [key for key in found if key.startswith(("metrics.", "training.grid."))]
        assert not outside, f"{name}: {outside}"


USER = """
    from ganforge.systems.progressive_gan_sr import ProgressiveGANSR
    import helper, numpy
    from parts.heads import Head
    import tail

    class Mine(ProgressiveGANSR):
        def losses(self, player, batch, progress):
            return super().losses(player, batch, progress) | {"more": helper.term(batch) + tail.x}

        def draw_for_fun(self):
            return Head()

    def unused():
        return numpy.pi
"""


@pytest.fixture
def mine(tmp_path) -> Path:
    folder = tmp_path / "mine"
    (folder / "parts").mkdir(parents=True)
    file = folder / "schedule.py"  # a name that the package has, too
    file.write_text(textwrap.dedent(USER))
    (folder / "helper.py").write_text("from tail import x\n\ndef term(batch):\n    return x\n")
    (folder / "tail.py").write_text("x = 1\ny = 2\n")
    (folder / "parts" / "heads.py").write_text("class Head: ...\n")
    (folder / "alone.py").write_text("y = 1\n")
    return file


def fingerprint(file: Path) -> dict[str, str]:
    return code_fingerprint(load_own_system(f"{file}:Mine"))


def test_a_users_file_counts_by_definition(mine):
    found = fingerprint(mine)
    own = {name for name in found if name.startswith("./")}
    assert {
        "./schedule.py:Mine",
        "./schedule.py:Mine.losses",
        "./helper.py:term",
        "./tail.py:x",
    } <= own
    assert not own & {"./schedule.py:unused", "./tail.py:y", "./schedule.py:Mine.draw_for_fun"}
    assert "training.loop.train" in found
    edits = {
        "tail.py": ("x = 1", "x = 3", ["./tail.py:x"]),
        "helper.py": ("return x", "return 2 * x", ["./helper.py:term"]),
        "schedule.py": ("numpy.pi", "numpy.e", []),
    }
    for name, (old, new, differ) in edits.items():
        earlier = fingerprint(mine)
        edit(mine.parent, name, old, new)
        now = fingerprint(mine)
        assert [key for key in now if now[key] != earlier.get(key)] == differ


def test_a_moved_folder_does_not_count(mine, tmp_path):
    found = fingerprint(mine)
    shutil.copytree(mine.parent, tmp_path / "moved")
    assert fingerprint(tmp_path / "moved" / "schedule.py") == found


def test_what_travels_with_a_users_system(mine):
    assert set(user_sources(mine)) == {"schedule.py", "helper.py", "tail.py", "parts/heads.py"}
    assert user_sources(system_file("dcgan")) == {}


def closure(folder: Path, text: str, name: str = "start") -> set[str]:
    """What `name` in a file reaches of that file."""
    file = folder / "code.py"
    file.write_text(textwrap.dedent(text))
    found = definitions([Key("./code.py", name)], Sources(ROOT, file))
    return {key.partition(":")[2] for key in found}


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        ("a = 1\nb = 2\ndef start(): return a", {"start", "a"}),
        ("a = 1\na += 1\ndef start(): return a", {"start", "a"}),
        ("a = {}\na['x'] = 1\ndef start(): return a", {"start", "a"}),
        ("def f(): ...\ndef start(g=f): return g()", {"start", "f"}),
        ("def f(x): return x\n@f\ndef start(): ...", {"start", "f"}),
        ("try:\n    a = 1\nexcept ValueError:\n    a = 2\ndef start(): return a", {"start", "a"}),
        ("class A:\n    def m(self): ...\n    def n(self): ...\ndef start(): return A().m()",
         {"start", "A", "A.m"}),
        ("class A:\n    def m(self): ...\nclass B(A):\n    ...\ndef start(): return B().m()",
         {"start", "A", "A.m", "B"}),
        ("class A:\n    def m(self): ...\ndef start(): return getattr(A(), 'm')()",
         {"start", "A", "A.m"}),
        ("b = 3\nclass A:\n    def m(self): ...\ndef start(k): return getattr(A(), k)()",
         {"start", "A", "b", "(whole)"}),
        ("b = 3\ndef start(k): return globals()[k]", {"start", "b", "(whole)"}),
        ("class A:\n    c = 1\n    d = 2\ndef start(): return A.c", {"start", "A", "A.c"}),
        ("from torch import nn\nclass A(nn.Module):\n    def forward(self): ...\n"
         "    def other(self): ...\ndef start(): return A()", {"start", "A", "A.forward"}),
        ("from unknown_library import X\nclass A(X):\n    def other(self): ...\n"
         "def start(): return A()", {"start", "A", "A.other"}),
        ("import torch\ntorch.set_num_threads(1)\ndef start(): ...", {"start", "(module)"}),
        ("def message(): return 'x'\ndef start(): raise ValueError(message())", {"start"}),
        ("def kind(): ...\ndef start(x: kind) -> kind: ...", {"start"}),
        ("class K: ...\nclass A:\n    x: K\ndef start(): return A()", {"start", "A"}),
        ("def d(): ...\nclass A:\n    x: int = d()\ndef start(): return A()", {"start", "A", "d"}),
    ],
)  # fmt: skip
def test_names_are_followed(tmp_path, text, reached):
    assert closure(tmp_path, text) == reached


def test_a_star_import_counts_as_a_whole_module(tmp_path):
    (tmp_path / "other.py").write_text("x = 1\ny = 2\n")
    file = tmp_path / "code.py"
    file.write_text("from other import *\ndef start(): return x\n")
    found = definitions([Key("./code.py", "start")], Sources(ROOT, file))
    assert {"./other.py:(whole)", "./other.py:x", "./other.py:y"} <= set(found)


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("return x", "return  x  # done", True),
        ("'''Doc.'''", "'''Other.'''", True),
        ("'bad'", "'worse'", True),
        ("'careful'", "'look out'", True),
        ("x: int", "x: float", True),
        ("return x", "return -x", False),
        ("ValueError", "KeyError", False),
        ("y = 1.0", "y = 1", False),
        ("y = 1.0", "y = True", False),
        ("f'{x:.2f}'", "f'{x:.3f}'", False),
    ],
)
def test_what_of_a_definition_counts(tmp_path, old, new, same):
    text = """
    def start(x: int):
        '''Doc.'''
        y = 1.0
        z = f'{x:.2f}'
        if x:
            raise ValueError('bad')
        assert y, 'bad'
        logger.warning('careful')
        return x
    """
    file = tmp_path / "code.py"
    hashes = []
    for version in (text, text.replace(old, new)):
        file.write_text(textwrap.dedent(version))
        hashes.append(definitions([Key("./code.py", "start")], Sources(ROOT, file)))
    assert old in text and (hashes[0] == hashes[1]) == same


def test_a_file_in_another_encoding_is_read_as_it_says(tmp_path):
    file = tmp_path / "code.py"
    file.write_bytes("# -*- coding: latin-1 -*-\nname = 'größe'\n".encode("latin-1"))
    latin = definitions([Key("./code.py", "name")], Sources(ROOT, file))
    file.write_bytes(b"\xef\xbb\xbf" + "name = 'größe'\n".encode())
    assert definitions([Key("./code.py", "name")], Sources(ROOT, file)) == latin


def test_an_installed_package_is_followed_by_its_name(tmp_path):
    (tmp_path / "plugin" / "systems").mkdir(parents=True)
    for folder in ("plugin", "plugin/systems"):
        (tmp_path / folder / "__init__.py").touch()
    file = tmp_path / "plugin" / "systems" / "own.py"
    file.write_text(
        "from plugin.nets import Net\nfrom ..more import x\ndef start(): return Net, x\n"
    )
    (tmp_path / "plugin" / "nets.py").write_text("class Net: ...\n")
    (tmp_path / "plugin" / "more.py").write_text("x = 1\n")
    found = definitions([Key("./own.py", "start")], Sources(ROOT, file))
    assert set(found) == {"./own.py:start", "./../nets.py:Net", "./../more.py:x"}
