"""What a run continues from: the newest state in its store, a given start, or nothing.

Other settings or data are another run. Other code is judged by its bits: the steps before the
newest state are trained again, and must end in it.
"""

import logging
from dataclasses import dataclass, replace
from typing import Any

import torch

from ganforge.data.base import Data
from ganforge.local_files import Linked
from ganforge.schedule import Plan, Position
from ganforge.settings import SettingsError
from ganforge.systems.catalog import load_system
from ganforge.training.checkpoint import Snapshot, Store, restore, state_hashes, stored_means
from ganforge.training.compare import images_since
from ganforge.training.lineage import (
    Start,
    code_differences,
    differences,
    digest,
    environment,
)
from ganforge.training.loop import Training, train
from ganforge.training.prepare import Prepared
from ganforge.training.workers import Workers

logger = logging.getLogger("ganforge")
_CODE = "code "
_ACCEPT = "--accept code continues without the proof"


def find(store: Store | None, resume: bool, workers: Workers) -> Snapshot | None:
    """The newest state in the store that verifies; the same one on every worker.

    Without `resume` the store must be empty: two runs in one store would delete each other's
    states.
    """
    if store is None:
        return None
    if workers.rank == 0 and resume:
        try:
            store.sweep()
        except Linked as error:
            raise SettingsError(f"storage = {store.uri}: {error}") from None
    found = store.newest() if resume else None
    newest = digest(found.manifest) if found is not None else None
    seen = workers.gather({workers.rank: newest if resume else bool(store.names())})
    if not resume and any(seen):
        raise SettingsError(
            f"storage = {store.uri}: holds the states of a run already; resume it, "
            "or name another storage"
        )
    if len(set(seen)) > 1:
        raise SettingsError(
            f"storage = {store.uri}: the workers do not see the same states there; use a "
            "storage that all machines share"
        )
    return found


def started(found: Snapshot | None, start: Snapshot | None) -> Start | None:
    """Where the lineage of this run begins: as its own states record it, or at `start`."""
    given = None
    if start is not None:
        manifest = start.manifest
        earlier = [row["stage_id"] for row in manifest["stages"][: manifest["index"]]]
        given = Start((*earlier, manifest["stage_id"]), manifest["step"])
    if found is None:
        return given
    recorded = found.manifest["start"]
    began = Start(tuple(recorded["stage_ids"]), recorded["step"]) if recorded else None
    if given is not None and given != began:
        raise SettingsError("cannot resume: the stored run began at another state than this start")
    return began


@dataclass(frozen=True)
class Equivalent:
    """Code that gives the same bits as the code that a run was begun with.

    `stage_ids` are the ids of its stages up to the state at which the code changed: they stay.
    `codes` are the ids of the codes, in order; `proven` says that the bits were compared.
    """

    stage_ids: tuple[str, ...]
    codes: tuple[str, ...]
    proven: bool = True

    def codes_of(self, index: int) -> tuple[str, ...]:
        """The codes that stage `index` may have been trained with."""
        return self.codes if index < len(self.stage_ids) else self.codes[-1:]


def recorded_equivalent(found: Snapshot | None) -> Equivalent | None:
    """What a stored state remembers of a change of code before it."""
    recorded = found.manifest.get("equivalent") if found is not None else None
    if not recorded:
        return None
    return Equivalent(tuple(recorded["stage_ids"]), tuple(recorded["codes"]), recorded["proven"])


def equivalent_code(found: Snapshot, prepared: Prepared) -> Equivalent:
    """The stored state's stages keep their ids under the present code.

    Without the proof (`--accept code`) the stage that continues gets an id of its own.
    """
    manifest, index = found.manifest, found.position.index
    old, new = digest(recorded_code(found)), digest(prepared.code)
    before = recorded_equivalent(found)
    codes = (*(before.codes if before else (old,)), new)
    last = manifest["stage_id"]
    if prepared.accept_code:
        last = digest({"accepted": codes, "continues": [last, found.position.step]})
    ids = (*(row["stage_id"] for row in manifest["stages"][:index]), last)
    return Equivalent(ids, codes, proven=not prepared.accept_code)


def recorded_code(found: Snapshot) -> dict[str, str]:
    """The code of a stored state, by definition (or file, in older states)."""
    facts = found.manifest["identity"]
    return {k.removeprefix(_CODE): v for k, v in facts.items() if k.startswith(_CODE)}


def check_same(prepared: Prepared, plan: Plan, found: Snapshot) -> list[str]:
    """Refuse to continue from the state of another run, naming what differs.

    A line for each definition of the code that differs: those are not refused here.
    """
    manifest, equivalent = found.manifest, recorded_equivalent(found)
    lineage = prepared.lineage(started(found, None), equivalent.stage_ids if equivalent else ())
    index, step = found.position.index, found.position.step
    known = index < len(lineage.stage_ids)
    code = code_differences(recorded_code(found), prepared.code)
    recorded, present = manifest["identity"], lineage.facts()
    if known and (manifest["stage_id"] == lineage.stage_ids[index] or code):
        kept = len(lineage.start.stage_ids) if lineage.start else 0
        lines = differences(*(_deciding(facts, kept, index) for facts in (recorded, present)))
        length = plan.stages[index].steps
        if step > length or (step == length and manifest["kind"] != "stage"):
            lines.append(
                f"stages.{index}: the stored state is at step {step}, but the stage has {length}"
            )
        if not lines:
            return code
    else:
        lines = differences(_without_code(recorded), _without_code(present))
    lines += images_since(recorded.get("data"), prepared)
    lines += [f"code {line}" for line in code]
    raise SettingsError(
        "cannot resume: the stored state belongs to another run\n  " + "\n  ".join(lines)
    )


def check_store(prepared: Prepared, uri: str) -> None:
    """What a worker would refuse on resuming, found by the driver before any record is changed."""
    found = Store(uri).newest()
    if found is not None:
        check_same(prepared, prepared.plan(), found)


def replay(
    prepared: Prepared,
    plan: Plan,
    data: Data,
    workers: Workers,
    store: Store,
    found: Snapshot,
    start: Snapshot | None,
    code: list[str],
) -> None:
    """Train from the state before `found` up to it, under the present code; other bits are refused.

    Nothing is reported or stored. `code` are the definitions that differ. Where no state before it
    is kept, the run is trained from its start, if `found` is the first state after that.
    """
    position = found.position
    before = store.before(position) or _origin(plan, found, start, code)
    training = begin(prepared, plan, before)
    # a rollback between the two went back to this very state: every report of such a run is stored
    training.rollbacks = rollbacks_of(found)
    logger.warning(
        "the code differs from that of the stored state; training from %s to %s again to compare:"
        "\n  %s",
        training.position,
        position,
        "\n  ".join(code),
    )
    # a yield at the very position, whatever the settings say of reports now
    through = replace(plan, checkpoint_every=position.step, validate_every_epochs=None)
    for _ in train(training, through, data, workers):
        if training.position == position:
            break
    recorded, here = found.manifest["state"], state_hashes(training.system)
    if recorded["state_sha256"] == here["state_sha256"]:
        return
    groups = [k.removesuffix("_sha256") for k, v in recorded.items() if here.get(k) != v]
    lines = [f"code {line}" for line in code]
    past, present = (
        found.manifest["environment"],
        environment(plan.device, prepared.settings.threads, prepared.settings.packages),
    )
    lines += [f"environment {line}" for line in environment_differences(past, present)]
    raise SettingsError(
        f"cannot resume: the code differs, and gives other bits at {position} "
        f"({', '.join(groups)} differ)\n  " + "\n  ".join(lines) + "\n  " + _ACCEPT
    )


def _origin(
    plan: Plan, found: Snapshot, start: Snapshot | None, code: list[str]
) -> Snapshot | None:
    """Where a run began, if its first stored state is `found`: None for its very beginning."""
    missing = ""
    if found.manifest["start"] and start is None:
        missing = "the state that the run was started at is not given"
    first = start.position if start is not None else Position()
    for index in range(first.index, found.position.index + 1):
        low = first.step if index == first.index else 0
        end = found.position.step if index == found.position.index else plan.stages[index].steps + 1
        if any(plan.stores(Position(index, step)) for step in range(low + 1, end)):
            missing = missing or "no stored state before it is kept"
    if not missing:
        return start
    lines = [f"code {line}" for line in code]
    raise SettingsError(
        f"cannot resume: the code differs from that of the stored state at "
        f"{found.position}, and whether it gives the same bits cannot be tried: {missing}"
        "\n  " + "\n  ".join(lines) + "\n  " + _ACCEPT
    )


def begin(prepared: Prepared, plan: Plan, snapshot: Snapshot | None) -> Training:
    """A system before its first stage, or as a snapshot left it."""
    kind = load_system(prepared.system)
    weights = prepared.settings.initial_weights
    if weights != "none" and weights not in prepared.assets:
        raise SettingsError(
            f"initial_weights = {weights}: the run has this name and not its tensors; give the "
            "file, or --from"
        )
    system = kind(prepared.settings, prepared.assets)
    training = Training(system, Position())
    if snapshot is None:
        return training
    for index in range(snapshot.position.index + 1):
        system.grow(index)
        system.to(plan.device).to(memory_format=torch.channels_last)  # pyright: ignore
        for player in system.players:
            player.follow()
    try:
        restore(system, snapshot.groups)
    except (KeyError, RuntimeError) as error:
        raise SettingsError(
            f"the stored state does not fit the networks of these settings: {error}"
        ) from None
    training.position, training.rollbacks = snapshot.position, rollbacks_of(snapshot)
    training.means = stored_means(snapshot.groups, plan.device)
    return training


def rollbacks_of(snapshot: Snapshot) -> tuple[Position, ...]:
    """The positions at which the run of a stored state had diverged and gone back."""
    return tuple(Position(*position) for position in snapshot.manifest.get("rollbacks", ()))


def check_start(prepared: Prepared, plan: Plan, start: Snapshot) -> None:
    """A stage that is continued, and not left, must be the stage it was."""
    index, step = start.position.index, start.position.step
    if index >= len(plan.stages):
        raise SettingsError(
            f"start: the state is of stage {index}, but the settings have {len(plan.stages)} stages"
        )
    if step >= plan.stages[index].steps:
        return
    recorded, present = (
        {k: v for k, v in facts.items() if _concerns(k, index)}
        for facts in (start.manifest["identity"], prepared.lineage().facts())
    )
    lines = differences(recorded, present)
    if lines:
        raise SettingsError(
            f"start: stage {index} is not at its end (step {step} of {plan.stages[index].steps}), "
            "so it cannot continue under other settings\n  " + "\n  ".join(lines)
        )


def _without_code(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if not key.startswith(_CODE)}


def _deciding(facts: dict[str, Any], kept: int, index: int) -> dict[str, Any]:
    """What decided a state of stage `index`, but for the code: no stage that keeps a recorded id,
    none after it, and not its own length."""
    found = _without_code(facts)
    for key in list(found):
        if key.startswith("stages."):
            number = int(key[7:].partition(":")[0])
            if number < kept or number > index or key == f"stages.{index}: steps":
                del found[key]
    return found


def _concerns(key: str, index: int) -> bool:
    """Whether a line of `Lineage.facts` enters the id of stage `index` itself."""
    if key.startswith("stages."):
        return key.startswith(f"stages.{index}: ") and key != f"stages.{index}: steps"
    return True


def environment_differences(recorded: dict[str, Any], present: dict[str, Any]) -> list[str]:
    """What a recorded environment says otherwise; a package that it does not name, because an
    earlier version did not record it, says nothing."""
    past = {key: value for key, value in recorded.items() if key != "before"}
    return differences(past, {key: value for key, value in present.items() if key in past})


def environment_from(present: dict[str, Any], snapshot: Snapshot | None) -> dict[str, Any]:
    """The environment of a run that continues from `snapshot`.

    A state that passed through two environments is a function of both, and so names both.
    """
    if snapshot is None:
        return present
    recorded = snapshot.manifest["environment"]
    lines = environment_differences(recorded, present)
    if not lines:
        return recorded
    logger.warning(
        "continuing from a state of another environment, so the results are no longer those of an "
        "uninterrupted run bit by bit:\n  %s",
        "\n  ".join(lines),
    )
    return present | {"before": snapshot.manifest["environment_id"]}
