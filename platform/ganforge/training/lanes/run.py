"""The first stage of several prepared runs as one program, stored as `run` stores them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ganforge.data.base import Data
from ganforge.schedule import Plan
from ganforge.settings import SettingsError
from ganforge.training.checkpoint import Store
from ganforge.training.lanes.alike import check_alike
from ganforge.training.lanes.program import train_lanes
from ganforge.training.lineage import environment
from ganforge.training.loop import NotFinite, Training
from ganforge.training.measure import measure
from ganforge.training.prepare import Prepared
from ganforge.training.report import Report
from ganforge.training.resume import begin, find
from ganforge.training.run import Kept, be_deterministic, check_collapse, open_run_data
from ganforge.training.run_record import RunRecord
from ganforge.training.workers import Workers


@dataclass(frozen=True)
class _Lane:
    """One run among the others: what `run` holds for a run."""

    prepared: Prepared
    plan: Plan
    training: Training
    record: RunRecord
    kept: Kept

    @classmethod
    def of(cls, prepared: Prepared, number: int, count: int, store: str | None) -> "_Lane":
        """Lane `number` of `count`, whose store must be empty.

        Grouped convolutions round otherwise than those of a run by itself, and may do so by the
        number of groups: the environment says which lane of how many a state comes from, so that it
        never passes for that of a run by itself. What the other lanes hold does not matter.
        """
        settings = prepared.settings
        plan, states = prepared.plan(), Store(store) if store else None
        find(states, False, Workers())
        present = environment(plan.device, settings.threads, settings.packages)
        present["lanes"] = f"{number} of {count}"
        record = RunRecord(prepared, plan, prepared.lineage(), present, None, 0)
        kept = Kept(states, record, settings.keep, None, None)
        return cls(prepared, plan, begin(prepared, plan, None), record, kept)

    def finished(self, report: Report, data: Data) -> Report:
        """The report with everything measured, after its state has been stored."""
        assets = self.prepared.assets
        report = measure(self.training, self.plan, data, Workers(), report, assets)
        check_collapse(report, self.prepared.settings)
        report = self.record.describe(self.training, report)
        if self.plan.stores(report.position):
            self.kept.keep(report, self.training)
        return report


def run_lanes(
    prepared: Sequence[Prepared], stores: Sequence[str] = ()
) -> Iterator[list[Report | NotFinite]]:
    """Train stage 0 of all runs as one program; yield what `run` yields for each of them.

    They may differ in what optimizers are given and in weights of terms: see `check_alike`. A run
    that diverges or collapses ends, and its error stands in place of its reports; the others go on.
    With a store for each, all different, `run(…, resume=True)` continues any of them alone with its
    later stages. The seconds of a stage are those of the whole program.
    """
    if stores and len(set(stores)) != len(prepared):
        raise SettingsError(
            f"lanes: {len(prepared)} runs and {len(set(stores))} different stores; "
            "give each run its own"
        )
    count = len(prepared)
    uris = list(stores) or [None] * count
    if prepared:
        be_deterministic(prepared[0].settings, torch.device("cpu"))
    pairs = zip(prepared, uris, strict=True)
    lanes = [_Lane.of(one, number, count, uri) for number, (one, uri) in enumerate(pairs)]
    trainings, plans = [lane.training for lane in lanes], [lane.plan for lane in lanes]
    check_alike([training.system for training in trainings], plans)
    ended: dict[int, NotFinite] = {}
    data = open_run_data(prepared[0], lanes[0].plan)
    try:
        for reports in train_lanes(trainings, plans, data):
            for number, report in enumerate(reports):
                if isinstance(report, NotFinite):
                    ended.setdefault(number, report)
                elif number not in ended:
                    try:
                        reports[number] = lanes[number].finished(report, data)
                    except NotFinite as error:
                        ended[number] = error
            yield [ended.get(number, report) for number, report in enumerate(reports)]
            if len(ended) == count:
                return
    finally:
        data.close()
