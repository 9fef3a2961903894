"""Ray Tune's searcher and scheduler, both looking into the book."""

from typing import Any, Self

import optuna
from optuna.samplers import TPESampler
from optuna.study import Study
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from ganforge.cluster.coordinator import TrialCoordinator
from ganforge.search.space import Space, distributions
from ganforge.search.study import SearchState
from ganforge.training.report import read_stages


class Unsaved:
    """Part of a running search: Tune's own copies of it, which nobody reads, are empty."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: Any) -> Self:
        return self


class SeededSearch(Unsaved, OptunaSearch):
    """Tune's Optuna search with a seeded TPE sampler, whose trials are numbered suggestions.

    Suggestions come from the book, which knows those of an interrupted search. Ray tells Optuna a
    trial stopped early as complete; the book tells it as pruned.
    """

    def __init__(self, space: Space, metric: str, mode: str, seed: int, startup_trials: int):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.distributions = distributions(space)
        sampler = TPESampler(seed=seed, n_startup_trials=startup_trials)
        super().__init__(space=dict(self.distributions), metric=metric, mode=mode, sampler=sampler)
        self.search_state: SearchState | None = None
        self._numbers: dict[str, int] = {}

    @property
    def study(self) -> Study:
        assert self._ot_study is not None
        return self._ot_study

    def suggest(self, trial_id: str) -> Any:
        assert self.search_state is not None
        trial = self.search_state.suggest()
        if trial is None:
            return Searcher.FINISHED
        self._numbers[trial_id] = trial.number
        settings = trial.settings.model_dump(mode="json")
        return {
            "trial": trial.number,
            "settings": settings,
            "store": trial.folder,
            "run": trial.run,
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Scores reach the study through the scheduler, at rungs alone."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        assert self.search_state is not None
        number = self._numbers[trial_id]
        state = self.search_state.state_of(number, error)
        if state is not None and not self.search_state.trials[number].told:
            self.search_state.tell(number, state)

    def save(self, checkpoint_path: str) -> None:
        """The journal is what a search is resumed from."""

    def restore(self, checkpoint_path: str) -> None:
        """The journal is what a search is resumed from."""


class StageEnds(Unsaved, FIFOScheduler):
    """Successive halving whose rungs are stage ends; other reports are not looked at.

    A summary carries all scores of its trial so far, so that an end that was stored but not told,
    because a process died in between, still gets its decision.
    """

    def __init__(self, search_state: SearchState, exchange: TrialCoordinator, metric: str):
        super().__init__()
        self.search_state, self.exchange, self.score_name = search_state, exchange, metric

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        number = trial.config["trial"]
        for stage in read_stages(result.get("stages", ())).values():
            stages_done, score = stage.index + 1, stage.metrics[self.score_name]
            self.exchange.decide(
                number, stages_done, self.search_state.reached(number, stages_done, score)
            )
        # a trial that is to stop returns by itself (cluster/exchange.py)
        return TrialScheduler.CONTINUE
