"""How large the generator of a trial is."""

from ganforge.schedule import Plan
from ganforge.settings import SettingsError
from ganforge.systems.catalog import load_system
from ganforge.training.loop import grow
from ganforge.training.prepare import Prepared


def parameters(prepared: Prepared, plan: Plan, stages_done: int) -> int:
    """The numbers that the generator has which is deployed after so many stages, at least 1.

    A function of the settings: the networks are built and grown as a run does, and not trained.
    SettingsError for a system that deploys nothing. `prepared` must have its tensors.
    """
    index = stages_done - 1
    system = load_system(prepared.system)(prepared.settings, prepared.assets)
    for number in range(stages_done):
        grow(system, plan, number)
    try:
        network = system.deploy(plan.progress(index, plan.stages[index].steps))
    except TypeError as error:
        raise SettingsError(
            f"metric = model/parameters: {error}; name another metric, or give the system a method "
            "`deploy`"
        ) from None
    return sum(parameter.numel() for parameter in network.parameters())
