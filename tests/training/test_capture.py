"""Passes that are recorded once and replayed give the bits of passes that are computed each time,
and what could not is refused; with recorders that replay a tape of kernels, or compute again, where
a GPU replays a graph."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from ganforge.schedule import Progress, finished
from ganforge.settings import override
from ganforge.systems.catalog import SYSTEMS, load_system
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR
from ganforge.testing import small
from ganforge.training import capture, loop
from ganforge.training.capture import Captures, NotCapturable, StagePart, check
from ganforge.training.prepare import prepare
from ganforge.training.run import run

from .tape import TapeRecorder


@dataclass
class Again:
    """What a CUDA graph does, by the function itself: on the recorded tensors, into the recorded
    vector."""

    compute: Any
    found: Any
    replays: int = 0

    def replay(self) -> None:
        self.replays += 1
        self.found.vector.copy_(self.compute().vector)


class Recorder:
    def __init__(self):
        self.recorded: list[Again] = []
        self.others: list[Again | None] = []

    def __call__(self, compute, other):
        self.others.append(other)
        drawn = torch.default_generator.get_state()
        found = compute()
        torch.default_generator.set_state(drawn)
        self.recorded.append(Again(compute, found))
        return self.recorded[-1], found


@pytest.fixture
def recorder(monkeypatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(loop, "captures", lambda *_: Captures(made))
    # the CPU's generator stands for the GPU's
    monkeypatch.setattr(capture, "check", lambda compute: compute())
    return made


def hashes(prepared) -> list[dict[str, str]]:
    return [dict(report.stage.hashes) for report in run(prepared) if report.stage]


CAPTURABLE = [name for name in SYSTEMS if vars(load_system(name)).get("capturable")]


def test_all_systems_without_a_pool_of_images_can_be_captured():
    pools = {name for name in SYSTEMS if load_system(name).shard_buffers}
    assert set(CAPTURABLE) == set(SYSTEMS) - pools


@pytest.mark.parametrize("name", CAPTURABLE)
def test_a_replayed_run_has_the_bits_of_a_computed_one(name, monkeypatch):
    prepared = small(name)
    plain = hashes(prepared)
    made = TapeRecorder()
    monkeypatch.setattr(loop, "captures", lambda *_: Captures(made))
    monkeypatch.setattr(capture, "check", lambda compute: compute())
    assert hashes(prepared) == plain
    assert len(made.tapes) >= 2 and all(tape.replays for tape in made.tapes)


def test_a_fade_and_what_follows_it_are_recorded_apart(recorder, tiny):
    prepared = prepare("progressive_gan_sr", tiny())
    replayed = hashes(prepared)
    players, parts = 2, 3  # stage 0, the fade of stage 1, the rest of stage 1
    assert len(recorded := recorder.recorded) == players * parts
    assert all(again.replays for again in recorded)
    # the memory of a stage that is over is gone: the first of the next one shares none
    assert [recorder.others.index(None), recorder.others[players]] == [0, None]
    assert all(other in recorded[players:] for other in recorder.others[players + 1 :])
    loop.captures = capture.captures
    assert hashes(prepared) == replayed


def progress(**changes: Any) -> Progress:
    settings = override(ProgressiveGANSR.Settings(), ProgressiveGANSR.PRESETS["quick"])
    return replace(finished(settings, 0), **changes)


def test_a_recorded_pass_does_not_know_the_step():
    whole = progress()
    names = ("index", "stage", "step", "settings", "fading", "alpha")
    part = StagePart(**{name: getattr(whole, name) for name in names})
    assert part.stage == whole.stage and part.index == 0
    with pytest.raises(NotCapturable, match=r"progress\.step"):
        _ = part.step


def test_draws_on_the_cpu_are_refused():
    check(lambda: None)
    with pytest.raises(NotCapturable, match="draw on the CPU"):
        check(lambda: torch.rand(1))


def test_what_is_refused_runs_as_it_is(monkeypatch, tiny):
    """The reason is kept by player, and the run has the bits of one without captures."""
    prepared = prepare("progressive_gan_sr", tiny())
    plain = hashes(prepared)
    made = Captures(Recorder())
    monkeypatch.setattr(loop, "captures", lambda *_: made)
    assert hashes(prepared) == plain
    # the penalty's random point is drawn on the CPU here; the generator draws nothing
    assert set(made.refused) == {"critic"}


def test_the_promise_is_not_inherited_and_needs_a_gpu():
    settings = ProgressiveGANSR.Settings()
    gpu = torch.device("cuda", 0)
    own = type("Own", (ProgressiveGANSR,), {})
    built_in, derived = (kind.__new__(kind) for kind in (ProgressiveGANSR, own))
    assert capture.captures(built_in, settings, gpu) is not None
    assert capture.captures(derived, settings, gpu) is None
    assert capture.captures(built_in, settings, torch.device("cpu")) is None
    pooled = type("Pooled", (ProgressiveGANSR,), {"capturable": True, "shard_buffers": ("pool",)})
    assert capture.captures(pooled.__new__(pooled), settings, gpu) is None
    off = override(settings, {"cuda_graphs": False})
    assert capture.captures(built_in, off, gpu) is None


def test_a_recording_that_fails_ends_the_run_with_the_fix(monkeypatch, tiny):
    def failing(compute, other):
        raise RuntimeError("use_count > 0 INTERNAL ASSERT FAILED")

    monkeypatch.setattr(capture, "check", lambda compute: compute())
    monkeypatch.setattr(loop, "captures", lambda *_: Captures(failing))
    with pytest.raises(RuntimeError, match=r"critic: .*INTERNAL ASSERT.*Fix: cuda_graphs = false"):
        hashes(prepare("progressive_gan_sr", tiny()))


def test_a_player_that_sits_out_records_nothing(recorder, tiny):
    """The critic, where the adversarial term has no weight."""
    list(run(prepare("progressive_gan_sr", tiny(adversarial_weight=0.0))))
    parts = 3
    assert len(recorder.recorded) == parts
