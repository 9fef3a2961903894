"""Where a trial runs, with how many workers, and what the loss of a machine cost it."""

from ganforge.cluster.placement import machines_of
from ganforge.schedule import Plan, Position
from ganforge.search.trial import Crew, Trial
from ganforge.training.checkpoint import Damaged, Store


def update_machines(trial: Trial, group: str) -> None:
    """Note the machines of a trial's new workers; after a loss also from where they continue."""
    before, trial.machines = trial.machines, tuple(machines_of(group))
    if not before and not trial.elastic:
        return
    position = stored(trial)
    images = trial.plan.images_before(position)
    where = f"(stage {position.index + 1}, step {position.step})"
    present = f"{trial.workers} of {trial.settings.workers} workers"
    if trial.elastic:
        had = trial.crews[-1].workers if trial.crews else trial.workers
        trial.crews.append(Crew(images, trial.workers))
        if before and trial.workers > had:
            trial.news = f"continues with {present} from image {images} {where}"
            return
    if not before:
        return
    again = next_yield(trial.plan, position) - images
    trial.news = (
        f"lost a worker on {', '.join(before)}; continues from image {images} "
        f"{where}, up to {again} images are trained again"
    )
    if trial.elastic:
        trial.news += f", with {present}"
    trial.losses.append(trial.news)


def stored(trial: Trial) -> Position:
    """Where the newest stored state is, from which new workers continue."""
    store = Store(trial.folder)
    for name in store.names():
        try:
            found = store.manifest(name)
        except Damaged:
            continue
        return Position(found["index"], found["step"])
    return Position()


def next_yield(plan: Plan, position: Position) -> int:
    """Images up to the first report after `position`: a loss cannot cost more than those between,
    since a state is stored at each report."""
    for index, stage in plan.stages_from(position):
        for step in range(position.step_in(index) + 1, stage.steps + 1):
            if plan.yields(Position(index, step)) is not None:
                return plan.images_before(Position(index, step))
    return plan.images_before(position)
