"""A small generator that behaves like a trained one, and a run it is recorded in."""

import json
from pathlib import Path

import torch

from ganforge.inference.model import Model, build, grown
from ganforge.schedule import finished
from ganforge.settings import override, read_json, to_json
from ganforge.systems.catalog import load_system
from ganforge.systems.progressive_gan_sr import Settings
from ganforge.systems.settings import StageSettings, ladder
from ganforge.training.checkpoint import pack


def small_settings(**changes: object) -> Settings:
    given = {key.replace("__", "."): value for key, value in changes.items()}
    base = {
        "width": 16,
        "bicubic_skip": True,
        "perceptual.network": "none",
        "stages": ladder(8, 32),
    }
    return override(Settings(), base | given)


def lively(settings: Settings, stage: int) -> tuple[dict, bytes]:
    """The record in settings.json and a stage's weights, with every layer at work: fresh ones have
    biases of 0 and, beside a bicubic skip, a last layer of 0."""
    record = read_json(to_json(settings))
    system = grown(record, stage)
    torch.manual_seed(1)
    average = system.players[1].average
    assert average is not None
    for name, parameter in average.named_parameters():
        if name.endswith("bias") or "to_image" in name:
            parameter.data = torch.randn_like(parameter) * 0.1
    network = system.deploy(finished(settings, stage))
    return record, pack(dict(network.state_dict()))


def small_model(stage: int = 1, **changes: object) -> Model:
    record, weights = lively(small_settings(**changes), stage)
    return build(record, stage, weights)


def write_folder(folder: Path, stage: int = 1, **changes: object) -> Path:
    """A folder with settings.json and stages/K/generator.safetensors."""
    record, weights = lively(small_settings(**changes), stage)
    place = folder / "stages" / str(stage)
    place.mkdir(parents=True)
    (place / "generator.safetensors").write_bytes(weights)
    (folder / "settings.json").write_text(json.dumps(record))
    return folder


def write_untrained(folder: Path, system: str, **changes: object) -> Path:
    """The folder of a system's first weights, of stage 0: 16 px unless `changes` say more."""
    kind = load_system(system)
    given = {key.replace("__", "."): value for key, value in changes.items()}
    settings = override(kind.Settings(), {"stages": (StageSettings(resolution=16),)} | given)
    made = kind(settings, {})
    made.grow(0)
    for player in made.players:
        player.follow()
    place = folder / "stages" / "0"
    place.mkdir(parents=True)
    weights = pack(dict(made.deploy(finished(settings, 0)).state_dict()))
    (place / "generator.safetensors").write_bytes(weights)
    (folder / "settings.json").write_text(to_json(settings))
    return folder


def record_run(uri: str, experiment: str, psnr: float = 30.0, **changes: object) -> str:
    """A finished run of two stages in a store; its id."""
    from run_files import log_files

    from ganforge.tracking.runs import Opening, end_run, open_run

    settings = small_settings(**changes)
    tracking = open_run(uri, experiment, Opening("train", "a run", settings, fingerprint="f" * 64))
    rows = []
    for stage in range(2):
        weights = lively(settings, stage)[1]
        log_files(tracking, {f"stages/{stage}/generator.safetensors": weights})
        rows.append(
            {
                "index": stage,
                "resolution": settings.stages[stage].resolution,
                "data": "f" * 64,
                "metrics": {"validation/psnr": psnr + stage},
            }
        )
    log_files(tracking, {"stages.json": json.dumps(rows).encode()})
    end_run(tracking, "FINISHED", "finished", metrics={"validation/psnr": psnr + 1})
    return tracking.run_id
