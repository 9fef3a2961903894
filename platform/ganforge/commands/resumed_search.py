"""Which search `ganforge tune --resume` continues, and what of it is kept."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ganforge.commands.configure import CliOptions
from ganforge.commands.given_once import GivenOnce
from ganforge.commands.start import checked_storage
from ganforge.settings import SettingsError, shown

if TYPE_CHECKING:
    from ganforge.search.journal import Event
    from ganforge.search.limits import Limits

DEFAULT_TRIALS = 4
#: with how many further seeds each of the best is trained, where nothing else is said
CONFIRM_SEEDS = 2
#: lifts a limit that a search has
NONE = "none"


class Resumable(GivenOnce):
    """A command whose `--resume` may be followed by the id of a search. A word after it is one if
    it begins with a digit, as no name of a system does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _search_named(args))


def _search_named(args: list[str]) -> list[str]:
    """`--resume ID` and `--resume=ID` as the two options that they mean."""
    found: list[str] = []
    after = ""
    for number, word in enumerate(args):
        if word == "--":
            return [*found, *args[number:]]
        if word.startswith("--resume="):
            found += ["--resume", f"--search={word.partition('=')[2]}"]
        elif after == "--resume" and re.match("[0-9]", word):
            found.append(f"--search={word}")
        else:
            found.append(word)
        after = word
    return found


@dataclass(frozen=True)
class LimitOptions:
    """The options that limit a search; None where one was not given."""

    trials: int | None = None
    budget: str | None = None
    price: float | None = None
    patience: int | None = None
    trial_limit: str | None = None
    confirm: int | None = None
    confirm_seeds: int | None = None

    def limits(self, recorded: Mapping[str, Any] | None = None) -> "Limits":
        """The limits that are meant: what is not given is as `recorded`, in a resumed search. A
        budget or patience alone leaves the number of trials open."""
        from ganforge.search.budget import parse_budget, parse_trial_limit
        from ganforge.search.limits import UNLIMITED_TRIALS, Limits

        known = dict(recorded or {})
        budget = _given(self.budget, known.get("budget"))
        price = known.get("price") if self.price is None else self.price
        patience = known.get("patience") if self.patience is None else self.patience
        trial_limit = _given(self.trial_limit, known.get("trial_limit"))
        confirm = known.get("confirm", 0) if self.confirm is None else self.confirm
        if self.confirm_seeds is not None and not confirm:
            raise SettingsError(
                f"confirm-seeds = {self.confirm_seeds}: give --confirm too, how many of the best "
                "configurations are trained again"
            )
        allowed = None if budget is None else parse_budget(budget, price)
        counted = None
        if allowed is not None and not allowed.ends_trials:
            counted = max(1, int(allowed.amount))
        trials = UNLIMITED_TRIALS if allowed is not None or patience else DEFAULT_TRIALS
        # a budget of trials says how many there are, more than a search had before too
        asked = self.trials or (counted if self.budget is not None else None)
        trials = asked or known.get("trials") or counted or trials
        if trials == UNLIMITED_TRIALS and allowed is None and not patience:
            raise SettingsError(
                "trials: nothing ends this search any more; give --trials, --budget or --patience"
            )
        return Limits(
            trials,
            allowed,
            patience or None,
            None if trial_limit is None else parse_trial_limit(trial_limit),
            confirm,
            self.confirm_seeds or known.get("confirm_seeds") or CONFIRM_SEEDS,
        )


def _given(text: str | None, recorded: str | None) -> str | None:
    if text is None:
        return recorded
    return None if text.strip().lower() == NONE else text


@dataclass(frozen=True)
class Earlier:
    """The search that is continued: its id and its events so far; none of a new one."""

    search_id: str = ""
    events: "list[Event]" = field(default_factory=list)

    @property
    def in_force(self) -> dict[str, Any]:
        """What it was asked for, as its edits have left it."""
        from ganforge.search.editing import in_force

        return in_force(self.events) if self.events else {}


def as_recorded(options: CliOptions, before: Earlier) -> CliOptions:
    """The options of a search that is continued, with what it was begun with where that is not
    given again: its rungs, and the weights that its trials begin with."""
    recorded = before.in_force
    weights = recorded.get("settings", {}).get("initial_weights", "")
    found = {
        "rungs": recorded.get("rungs"),
        "initial_weights": weights if weights.startswith("sha256:") else None,
    }
    given = {key.partition("=")[0] for key in options.changes}
    missing = {k: v for k, v in found.items() if getattr(options, k) is None and k not in given}
    return replace(options, **missing)


def earlier(storage: str, experiment: str, resume: bool, search_id: str, reason: str) -> Earlier:
    """The search to be continued; SettingsError where there is none."""
    from ganforge.search.journal import latest, named, read_events

    if reason and not (resume or search_id):
        raise SettingsError(
            f"reason = {shown(reason)}: says why a search is changed; give --resume too"
        )
    if not (resume or search_id):
        return Earlier()
    if "://" in storage:
        checked_storage(storage)  # one that does not answer is told in one line
    found = named(storage, search_id) if search_id else latest(storage, experiment)
    return Earlier(found, read_events(storage, found))
