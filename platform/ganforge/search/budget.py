"""What a whole search may take: time, device-hours, trials or money."""

import re
from dataclasses import dataclass
from typing import Literal

from ganforge.settings import SettingsError, shown

_FORM = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z$-]+)\s*", re.IGNORECASE)
Unit = Literal["seconds", "device-seconds", "trials", "money"]
_UNITS: dict[str, tuple[Unit, float]] = {
    "s": ("seconds", 1),
    "m": ("seconds", 60),
    "min": ("seconds", 60),
    "h": ("seconds", 3600),
    "d": ("seconds", 86400),
    "gpu-hours": ("device-seconds", 3600),
    "cpu-hours": ("device-seconds", 3600),
    "device-hours": ("device-seconds", 3600),
    "trials": ("trials", 1),
    "$": ("money", 1),
}


@dataclass(frozen=True)
class Spent:
    """What a search has taken so far: seconds since it began (while it ran), seconds times workers
    of all that was trained, and trials that were begun."""

    seconds: float = 0.0
    device_seconds: float = 0.0
    trials: int = 0


@dataclass(frozen=True)
class Budget:
    """A limit; `price` is the money that a device costs for an hour."""

    text: str
    amount: float
    unit: Unit
    price: float = 0.0

    def used(self, spent: Spent) -> float:
        """What is used of `amount`, in its unit."""
        if self.unit == "seconds":
            return spent.seconds
        if self.unit == "device-seconds":
            return spent.device_seconds
        if self.unit == "trials":
            return float(spent.trials)
        return spent.device_seconds / 3600 * self.price

    def exhausted(self, spent: Spent) -> bool:
        """Whether nothing more is to be begun. Trials that were begun are trained, whatever their
        number; time and money end a trial at its next rung."""
        return self.used(spent) >= self.amount

    def left(self, spent: Spent) -> float:
        """What is left of `amount`, in its unit; at least 0."""
        return max(0.0, self.amount - self.used(spent))

    @property
    def ends_trials(self) -> bool:
        return self.unit != "trials"


def parse_budget(text: str, price: float | None = None) -> Budget:
    """`30m`, `2h`, `8gpu-hours`, `200trials` or, with the `price` of a device-hour, `20$`."""
    found = _FORM.fullmatch(text)
    unit = _UNITS.get(found[2].lower()) if found else None
    if found is None or unit is None or not float(found[1]) > 0:
        raise SettingsError(
            f"budget = {shown(text)}: must be a number above 0 with a unit: 30m, 2h, 8gpu-hours, "
            "200trials, or 20$ with --price"
        )
    if unit[0] == "money" and price is None:
        raise SettingsError(
            f"budget = {shown(text)}: money needs --price, what an hour of one device costs"
        )
    if price is not None and not price > 0:
        raise SettingsError(f"price = {price}: must be above 0")
    return Budget(text.strip(), float(found[1]) * unit[1], unit[0], price or 0.0)


def parse_trial_limit(text: str) -> Budget:
    """`30m`, or `2gpu-hours`: what the stages of one trial may take."""
    try:
        found = parse_budget(text, 1.0)
    except SettingsError:
        found = None
    if found is None or found.unit not in ("seconds", "device-seconds"):
        raise SettingsError(
            f"trial-limit = {shown(text)}: must be a number above 0 with a unit of time: 30m, 2h, "
            "or 2gpu-hours"
        )
    return found


_MOST_BYTES = 2.0**62
_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def parse_bytes(text: str) -> int:
    """`20G`, `500M` or a plain number of bytes; decimal units."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)b?\s*", text, re.IGNORECASE)
    if found is None:
        raise SettingsError(f"keep-bytes = {shown(text)}: must be a number of bytes, as in 20G")
    # beyond any disk, and with as many digits as somebody types
    return int(min(float(found[1]) * _BYTES[found[2].lower()], _MOST_BYTES))
