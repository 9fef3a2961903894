"""What happens when a run leaves the real numbers and its settings say `rollback`.

The run goes back to its newest stored state and continues with halved learning rates. Where it
diverges is a function of the stage and the environment, and so is where it goes back to: every
report of such a run is stored. A process that dies on the way does the same again.
"""

from ganforge.schedule import Plan
from ganforge.training.checkpoint import Snapshot, collect
from ganforge.training.loop import NotFinite, Training
from ganforge.training.prepare import Prepared
from ganforge.training.resume import begin

#: a run that diverges once more ends: an eighth of the learning rates was not low enough
MOST_ROLLBACKS = 3


class LastGood:
    """The state that a run goes back to, in the memory of each of its workers."""

    def __init__(self, snapshot: Snapshot | None):
        self.snapshot = snapshot

    def keep(self, training: Training) -> None:
        """Remember the state at a yield at which it is stored."""
        groups = {
            group: {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
            for group, tensors in collect(training.system).items()
        }
        index, step = training.position.index, training.position.step
        self.snapshot = Snapshot(groups, {"index": index, "step": step})

    def go_back(
        self, prepared: Prepared, plan: Plan, training: Training, error: NotFinite
    ) -> Training:
        """The run at its last good state, with one rollback more; NotFinite after the last one."""
        rollbacks = (*training.rollbacks, training.position)
        if len(rollbacks) > MOST_ROLLBACKS:
            raise NotFinite(
                f"{error}. It diverged again after {MOST_ROLLBACKS} rollbacks, at "
                f"{0.5**MOST_ROLLBACKS:g} of the learning rates"
            ) from None
        found = begin(prepared, plan, self.snapshot)
        found.rollbacks = rollbacks
        return found
