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

# room -> the rooms of this package it must not import, besides those below it
ROOMS_ABOVE = {
    "layers.py": {"networks", "systems", "training", "data", "tracking", "cluster", "settings"},
    "losses.py": {"networks", "systems", "training", "data", "tracking", "cluster", "settings"},
    "networks": {"systems", "training", "data", "tracking", "cluster", "settings"},
    "schedule.py": {"networks", "systems", "training", "data", "tracking", "cluster"},
    "settings.py": {"networks", "systems", "training", "data", "tracking", "cluster"},
    "data": {"networks", "systems", "training", "tracking", "cluster"},
    "systems": {"training", "tracking", "cluster", "verbs", "cli"},
    "training": {"tracking", "cluster", "verbs", "cli"},
    "tracking": {"cluster", "verbs", "cli"},
    "cluster": {"verbs", "cli"},
}


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
    return path.relative_to(PACKAGE).parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path):
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "ray":
            assert room(path) == "cluster"
        if top == "mlflow":
            assert room(path) == "tracking"
        if name.startswith("torch.distributed"):
            assert path.name == "workers.py", "torch.distributed"
        if top == "ganforge" and rest:
            above = ROOMS_ABOVE.get(room(path), set())
            assert rest[0] not in above and f"{rest[0]}.py" not in above, name


def test_trainers_import_installed_packages_only_and_never_each_other():
    for path in (ROOT / "trainers").glob("*.py"):
        assert imports(path) <= {"sys", "ganforge.cli"}


def test_random_draws_come_from_the_reseeded_generator_alone():
    for part in ("systems", "data", "training"):
        for path in (PACKAGE / part).rglob("*.py"):
            assert "random" not in imports(path), path
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and node.attr == "random":
                    owner = node.value
                    assert not (isinstance(owner, ast.Name) and owner.id in ("np", "numpy")), path


def test_files_are_small():
    budgets = {path: 250 for path in FILES}
    budgets |= {
        p: 170
        for p in (PACKAGE / "systems").glob("*.py")
        if p.stem not in ("settings", "base", "progressive_gan_sr")
    }
    budgets |= {p: 80 for p in (ROOT / "trainers").glob("*.py")}
    for path, budget in budgets.items():
        assert len(path.read_text().splitlines()) <= budget, path
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
