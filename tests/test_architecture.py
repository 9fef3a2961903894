"""The house rules, read from the sources."""

import ast
import importlib.machinery
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "platform" / "ganforge"
FILES = sorted(PACKAGE.rglob("*.py"))

# from the top: a room imports only what stands below it, or itself. docs/architecture.md has the
# image. `training` and `inference` stand side by side: inference reads what training stored.
LAYERS = [
    {"__main__", "__init__"},
    {"api"},
    {"commands", "testing"},
    {"search", "doctor", "comparison"},
    {"cluster"},
    {"tracking"},
    {"inference"},
    {"training"},
    {"systems"},
    {"metrics"},
    {"augmentation", "data", "losses", "networks"},
    {"layers"},
    {
        "addresses",
        "append_log",
        "console",
        "assets",
        "draws",
        "errors",
        "events",
        "listeners",
        "local_files",
        "memory",
        "migrations",
        "object_store",
        "output_files",
        "precision",
        "quiet",
        "reach",
        "run_names",
        "schedule",
        "settings",
        "user_file",
    },
]
LEVEL = {room: len(LAYERS) - number for number, rooms in enumerate(LAYERS) for room in rooms}
RAY = {"cluster", "search", "doctor"}
#: formulas: they see no settings, files, devices or ranks
MATHEMATICS = {"augmentation", "losses", "layers", "networks"}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found.add(node.module or "")
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path):
    mine = room(path)
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "ray":
            assert mine in RAY
        if top == "mlflow":
            assert mine == "tracking"
        if name.startswith("torch.distributed"):
            assert path.name == "workers.py", "torch.distributed"
        if top == "ganforge" and rest and rest[0] != mine:
            assert LEVEL[rest[0]] <= LEVEL[mine], f"{name} stands above {mine}"
            assert not (mine in MATHEMATICS and rest[0] == "settings"), name


def test_no_two_files_import_each_other_in_a_circle():
    paths = {module(path): path for path in FILES}
    graph = {name: targets(path, paths) for name, path in paths.items()}
    waiting = {name: set(found) - {name} for name, found in graph.items()}
    # a file whose imports are all taken away is in no circle
    while free := {name for name, found in waiting.items() if not found}:
        waiting = {name: found - free for name, found in waiting.items() if name not in free}
    assert not waiting, f"a circle among {sorted(waiting)}"


def targets(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of this package that a file imports, those inside functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ganforge."):
            below = (node.module or "").removeprefix("ganforge.")
            for alias in node.names:
                inner = f"{below}.{alias.name}"
                found.add(inner if inner in known else below)
        elif isinstance(node, ast.Import):
            found |= {a.name[9:] for a in node.names if a.name.startswith("ganforge.")}
    return found & known.keys()


def test_trainers_import_installed_packages_only_and_never_each_other():
    for path in (ROOT / "trainers").glob("*.py"):
        assert imports(path) <= {"sys", "ganforge.commands.cli"}


def test_random_draws_come_from_the_reseeded_generator_alone():
    for part in ("systems", "data", "training"):
        for path in (PACKAGE / part).rglob("*.py"):
            assert "random" not in imports(path), path
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and node.attr == "random":
                    owner = node.value
                    assert not (isinstance(owner, ast.Name) and owner.id in ("np", "numpy")), path


def test_no_file_is_a_drawer():
    own = ("platform", "search_spaces", "trainers", "tests")
    assert not [path for part in own for path in (ROOT / part).rglob("utils.py")]


def test_platform_is_the_standard_module():
    assert not (ROOT / "platform" / "__init__.py").exists()
    spec = importlib.machinery.PathFinder.find_spec("platform", [str(ROOT), *sys.path])
    assert spec is not None and spec.origin is not None
    assert Path(spec.origin).parent == Path(ast.__file__).parent


def test_platform_is_the_standard_module_in_the_repository_root():
    code = "import platform; print(platform.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert Path(found.stdout.strip()).parent == Path(ast.__file__).parent


def test_nothing_names_a_machine_or_a_registry():
    words = ("/wo" + "rk/", "/tmp/" + "gf", "py" + "pi.org", "python" + "hosted")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".yaml", ".txt", ".json"):
            text = path.read_text()
            assert not [word for word in words if word in text], name
