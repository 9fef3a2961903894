"""What `ganforge doctor` says: one line for each thing looked at."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["good", "warning", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `remedy` says what to do where it is not good."""

    subject: str
    verdict: Verdict
    words: str
    remedy: str = ""


def good(subject: str, words: str) -> Finding:
    return Finding(subject, "good", words)


def warning(subject: str, words: str, remedy: str) -> Finding:
    return Finding(subject, "warning", words, remedy)


def wrong(subject: str, words: str, remedy: str) -> Finding:
    return Finding(subject, "wrong", words, remedy)
