"""What ganforge requires of other packages, against what is installed (as `pip check` does it)."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, requires, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "ganforge"


@dataclass(frozen=True)
class Unmet:
    """A requirement that is not met. `installed` is empty where the package is missing."""

    package: str
    installed: str
    required: str
    required_by: str


def unmet(project: str = PROJECT) -> list[Unmet]:
    """The unmet requirements of a project and of all that it requires, directly or not.

    Extras of the project that were not installed are no fault: of an extra's requirements only
    those that are installed are checked. PackageNotFoundError where the project is not installed.
    """
    found: dict[Unmet, None] = {}
    todo = [(project, "", True)]
    todo += [(project, extra, False) for extra in extras(project)]
    seen = set()
    while todo:
        name, extra, must = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for requirement in _requirements(name, extra):
            required = str(requirement.specifier) or "any version"
            try:
                installed = version(requirement.name)
            except PackageNotFoundError:
                if must:
                    found[Unmet(requirement.name, "", required, name)] = None
                continue
            if not requirement.specifier.contains(installed, prereleases=True):
                found[Unmet(requirement.name, installed, required, name)] = None
            package = canonicalize_name(requirement.name)
            todo += [(package, part, True) for part in ("", *requirement.extras)]
    return sorted(found, key=lambda row: (row.package, row.required_by))


def extras(project: str = PROJECT) -> dict[str, list[str]]:
    """The project's extras, each with those of its requirements that are missing."""
    found = {}
    for extra in distribution(project).metadata.get_all("Provides-Extra") or ():
        names = {requirement.name for requirement in _requirements(project, extra)}
        found[extra] = sorted(name for name in names if not is_installed(name))
    return found


def is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _requirements(name: str, extra: str) -> Iterator[Requirement]:
    """What a package requires here; with `extra`, only what this extra adds."""
    for line in requires(name) or ():
        requirement = Requirement(line)
        marker = requirement.marker
        plain = marker is None or marker.evaluate({"extra": ""})
        applies = plain or (marker is not None and marker.evaluate({"extra": extra}))
        if applies and not (extra and plain):
            yield requirement
