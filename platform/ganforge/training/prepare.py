"""What the driver settles once, before any worker starts: settings, files, data, code."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch

from ganforge.assets import Assets
from ganforge.data.prepare import DataFacts, prepare_data
from ganforge.metrics.features import resolve_features
from ganforge.schedule import Plan, Stage
from ganforge.settings import SettingsError, override, validated
from ganforge.systems.catalog import (
    accept_sent,
    in_file,
    load_system,
    recorded_name,
    system_file,
)
from ganforge.systems.settings import SystemSettings
from ganforge.systems.trust import sources_sha256, trust
from ganforge.training.fingerprint import code_fingerprint, definitions
from ganforge.training.initial_weights import resolve_initial_weights
from ganforge.training.lineage import Lineage, Start, lineage
from ganforge.training.source_code import ROOT, Key, Sources, user_sources


@dataclass(frozen=True)
class Prepared:
    """A run, settled: picklable, and free of this machine but for the folders that settings name.

    `sources` are the files of a system that is in no installed package: they travel along, and are
    written down where this is unpickled. `measurement` is the code that measures, by name.
    `accept_code` continues from states of other code without the proof that it gives their bits.
    """

    system: str
    settings: SystemSettings
    assets: Assets
    facts: DataFacts
    code: dict[str, str]
    warnings: tuple[str, ...] = ()
    sources: dict[str, str] = field(default_factory=dict)
    measurement: dict[str, str] = field(default_factory=dict)
    accept_code: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # the settings' class may be in a file that the other machine does not have yet
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        return _revived, (given | {"settings": self.settings.model_dump()},)

    def with_settings(self, settings: SystemSettings) -> "Prepared":
        """The same data, files and code under other settings: one trial of a search."""
        resolved, assets, warnings = _resolved(self.system, settings)
        facts = self.facts
        if _data_part(self.system, resolved) != _data_part(self.system, self.settings):
            facts = _facts(self.system, resolved)
        return replace(
            self,
            settings=resolved,
            assets=self.assets | assets,
            facts=facts,
            warnings=tuple(warnings),
        )

    def plan(self, device: torch.device | None = None) -> Plan:
        return build_plan(self.settings, self.facts.epoch_images, device)

    def lineage(self, start: Start | None = None, recorded: tuple[str, ...] = ()) -> Lineage:
        facts = self.facts.fingerprint
        return lineage(self.settings, self.plan(), facts, self.code, start, recorded)


def prepare(system: str, settings: SystemSettings) -> Prepared:
    """Resolve the files that settings name, read the data, take the code's fingerprint.

    The files of a user's own system are trusted from now on: this machine makes a run of them.
    """
    settings, assets, warnings = _resolved(system, settings)
    file = system_file(system)
    sources = user_sources(file) if in_file(system) else {}
    if sources:
        trust(sources_sha256(sources), f"a run of {system} on this machine")
    facts = _facts(system, settings)
    code = code_fingerprint(load_system(system))
    measurement = measurement_fingerprint(system)
    return Prepared(system, settings, assets, facts, code, tuple(warnings), sources, measurement)


#: the methods of a system that measure and draw
MEASURED = ("validate", "sample", "generated", "against_target", "strips")


def measurement_fingerprint(system: str) -> dict[str, str]:
    """sha256 of each definition that measures and draws, by name: they make metrics, no weights."""
    kind = load_system(system)
    read = Sources(ROOT, system_file(system))
    entries = [Key("training.measure", "measure"), read.key_of(kind)]
    return definitions(entries, read, members=MEASURED)


def _revived(given: dict[str, Any]) -> Prepared:
    system = accept_sent(given["system"], given["sources"], "a run that this user's driver started")
    settings = validated(load_system(system).Settings, given["settings"])
    return Prepared(**given | {"system": system, "settings": settings})


def _resolved(system: str, settings: SystemSettings) -> tuple[SystemSettings, Assets, list[str]]:
    settings = settings.model_copy(update={"system": recorded_name(system)})
    if not settings.exact_world_size:
        settings = override(settings, {"shards": settings.workers})
    kind = load_system(system)
    settings, assets, warnings = kind.resolve(settings)
    by_looks = settings.validation.fid_network.startswith(("efflite0", "sha256:"))
    if {"fid", "kid"} & set(kind.set_metrics) or (kind.paired and by_looks):
        network, more = resolve_features(settings.validation.fid_network)
        settings = override(settings, {"validation.fid_network": network})
        assets = assets | more
    weights, more, lines = resolve_initial_weights(system, settings, assets)
    settings = settings.model_copy(update={"initial_weights": weights})
    assets, warnings = assets | more, [*warnings, *lines, *_small_windows(settings)]
    return settings, assets, warnings


#: the papers' 286 px for windows of 256 are 1.12
MOST_JITTER = 1.5


def _small_windows(settings: SystemSettings) -> list[str]:
    """A line where training is shown small parts of images, and whole ones are measured."""
    jitter, side = getattr(settings.data, "jitter", None), settings.stages[0].resolution
    if jitter is None or settings.data.view != "resize" or jitter <= MOST_JITTER * side:
        return []
    return [
        f"data.jitter = {jitter}: training is shown windows of {side} px of images resized to "
        f"{jitter} px, {(side / jitter) ** 2:.0%} of each, and whole images are measured; for "
        f"stages.0.resolution = {side} give data.jitter={round(side * 286 / 256)}, or none"
    ]


def _facts(system: str, settings: SystemSettings) -> DataFacts:
    kind = load_system(system)
    return prepare_data(kind.Data, settings, kind.source_scale(settings), settings.seed)


def _data_part(system: str, settings: SystemSettings) -> Any:
    """What the data's facts are a function of."""
    return (
        settings.data,
        settings.validation,
        settings.seed,
        settings.channels,
        load_system(system).source_scale(settings),
        [stage.resolution for stage in settings.stages],
    )


def build_plan(
    settings: SystemSettings, epoch_images: tuple[int, ...], device: torch.device | None = None
) -> Plan:
    """Settings speak epochs, images or batches, a plan speaks images. `epoch_images[k]` is the
    data's own length of an epoch at stage k, used where the settings do not give one. SettingsError
    for a stage with fewer steps than rungs."""
    effective = tuple(settings.at(index) for index in range(len(settings.stages)))
    stages = []
    for index, row in enumerate(settings.stages):
        here = effective[index]
        epoch = here.images_per_epoch or epoch_images[index]
        stages.append(
            Stage(
                resolution=row.resolution,
                images=_first(row.images, _times(row.iterations, here), row.epochs * epoch),
                fade_images=_first(
                    row.fade_images,
                    _times(row.fade_iterations, here),
                    round(row.fade_epochs * epoch),
                ),
                batch_size=here.batch_size,
                shards=here.shards,
                task=row.task,
                epoch_images=epoch,
                alpha_unit=here.alpha_unit,
            )
        )
    for index, stage in enumerate(stages):
        if stage.steps < settings.rungs:
            raise SettingsError(
                f"rungs = {settings.rungs}: stage {index} has {stage.steps} steps; must be at most "
                "as many as the steps of every stage, so give fewer, or train it for longer"
            )
    return Plan(
        stages=tuple(stages),
        settings=effective,
        seed=settings.seed,
        reports_per_stage=settings.reports_per_stage,
        rungs=settings.rungs,
        checkpoint_every=settings.checkpoint_every,
        validate_every_epochs=settings.validation.every_epochs,
        stores_reports=settings.on_divergence == "rollback",
        device=device or torch.device("cpu"),
    )


def _times(batches: int | None, settings: SystemSettings) -> int | None:
    """So many batches, in images."""
    return None if batches is None else batches * settings.batch_size


def _first(*lengths: int | None) -> int:
    return next(length for length in lengths if length is not None)
