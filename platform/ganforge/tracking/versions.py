"""What a run was made with: versions of the libraries, the commit of this code."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBRARIES = ("ganforge", "torch", "torchvision", "ray", "mlflow", "optuna", "numpy")


def versions() -> dict[str, str]:
    """Tags `version.<library>`."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[f"version.{name}"] = version(name)
        except PackageNotFoundError:
            continue
    return found


def source() -> dict[str, str]:
    """Tags naming the git commit of the package's source; none where it is not a work tree."""
    folder = Path(__file__).resolve().parents[1]
    commit = _git(folder, "rev-parse", "HEAD")
    # an installed package inside somebody else's repository is not that repository's code
    if commit is None or not _git(folder, "ls-files", "__init__.py"):
        return {}
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"mlflow.source.git.commit": commit, "git.dirty": str(bool(changes)).lower()}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
