"""What `ganforge doctor` reports: one finding for each thing it checked."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self

Verdict = Literal["ok", "warning", "error"]
#: The content of a YAML file whose keys are still to be checked.
Config = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked. `fix` says what to do about a warning or an error."""

    subject: str
    verdict: Verdict
    message: str
    fix: str = ""

    @classmethod
    def ok(cls, subject: str, message: str) -> Self:
        return cls(subject, "ok", message)

    @classmethod
    def warning(cls, subject: str, message: str, fix: str) -> Self:
        return cls(subject, "warning", message, fix)

    @classmethod
    def error(cls, subject: str, message: str, fix: str) -> Self:
        return cls(subject, "error", message, fix)


def findings_of(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Run one check of a file; content that it cannot handle is a finding too."""
    found: list[Finding] = []
    try:
        for finding in check():
            found.append(finding)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as problem:
        message = f"cannot be checked ({type(problem).__name__}: {problem})"
        found.append(Finding.error(name, message, "compare this part with the shipped file"))
    return found
