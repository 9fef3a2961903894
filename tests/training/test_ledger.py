"""A stage that is in the ledger is taken over bit for bit, and trained by one run at a time."""

import atexit
import hashlib
import json
import shutil
import tempfile
import threading
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
from safetensors.torch import load, save

from ganforge.assets import tensors_sha256
from ganforge.schedule import Position
from ganforge.settings import override
from ganforge.systems.progressive_gan_sr import Settings
from ganforge.training import run as run_module
from ganforge.training.checkpoint import Store
from ganforge.training.files import MANIFEST
from ganforge.training.ledger import FOLDER, Impure, Key, Ledger
from ganforge.training.lineage import digest
from ganforge.training.loop import train
from ganforge.training.multiprocess import run_multiprocess
from ganforge.training.prepare import Prepared, prepare
from ganforge.training.report import Report
from ganforge.training.run import run

NAME = "progressive_gan_sr"


@pytest.fixture
def settings(tiny):
    """Two stages of 6 steps."""
    return tiny(
        width=4,
        batch_size=4,
        shards=2,
        images_per_epoch=12,
        reports_per_stage=3,
        validation__max_side=32,
        validation__samples=1,
        threads=1,
    )


@cache
def prepared_once(settings: str) -> Prepared:
    return prepare(NAME, Settings.model_validate_json(settings))


def made(settings: Settings) -> Prepared:
    """Prepared settings; the tests share them."""
    return prepared_once(settings.model_dump_json())


@cache
def ran_once(settings: str) -> tuple[Path, list[Report]]:
    """A run of these settings in a storage with a ledger, and its reports."""
    storage = Path(tempfile.mkdtemp(prefix="ledger-"))
    atexit.register(shutil.rmtree, storage, ignore_errors=True)
    store, ledger = str(storage / "first"), Ledger(str(storage))
    reports = list(run(prepared_once(settings), store=store, ledger=ledger))
    return storage, reports


@pytest.fixture
def first(settings, tmp_path) -> list[Report]:
    """The reports of a run whose storage is copied to this test's folder."""
    storage, reports = ran_once(settings.model_dump_json())
    shutil.copytree(storage, tmp_path, dirs_exist_ok=True)
    return reports


@pytest.fixture
def trained(monkeypatch) -> list[tuple[str, int]]:
    """(thread, stage) of every stage that the loop begins, in order."""
    found: list[tuple[str, int]] = []

    def watched(training, plan, *others):
        begun = set()
        for report in train(training, plan, *others):
            if report.position.index not in begun:
                begun.add(report.position.index)
                found.append((threading.current_thread().name, report.position.index))
            yield report

    monkeypatch.setattr(run_module, "train", watched)
    return found


def ends(reports: list[Report]) -> list[tuple]:
    """What is reported of stage ends, but for speed, time and where they came from."""
    rows = []
    for report in reports:
        if report.stage is not None:
            metrics = {k: v for k, v in report.metrics.items() if not k.startswith("speed/")}
            samples = None if report.samples is None else report.samples.tolist()
            rows.append((report.position, metrics, report.state, report.averaged, samples))
    return rows


def key_of(report: Report) -> Key:
    stage = report.stage
    assert stage is not None
    return Key(stage.index, stage.stage_id, stage.environment_id, stage.steps)


def test_the_same_run_again_trains_nothing_and_ends_in_the_same_state(settings, tmp_path, trained):
    prepared, ledger = made(settings), Ledger(str(tmp_path))
    plain = list(run(prepared, store=str(tmp_path / "plain")))
    del trained[:]
    first = list(run(prepared, store=str(tmp_path / "first"), ledger=ledger))
    assert [stage for _, stage in trained] == [0, 1]
    second = list(run(prepared, store=str(tmp_path / "second"), ledger=ledger))
    assert [stage for _, stage in trained] == [0, 1]
    assert ends(second) == ends(first) == ends(plain)
    assert [r.stage.reused for r in second if r.stage] == [True, True]
    assert [r.stage.reused for r in first if r.stage] == [False, False]
    # and its own store has its own states
    states = [Store(str(tmp_path / name)).newest() for name in ("first", "second")]
    assert states[0] and states[1]
    assert states[0].manifest["state"] == states[1].manifest["state"]


def test_a_branch_equals_the_unbranched_run_of_its_settings(settings, tmp_path, first, trained):
    ledger = Ledger(str(tmp_path))
    other = override(settings, {"stages.1.critic.learning_rate": 0.01})
    alone = list(run(made(other), store=str(tmp_path / "alone")))
    del trained[:]
    branch = list(run(made(other), store=str(tmp_path / "branch"), ledger=ledger))
    assert [stage for _, stage in trained] == [1]
    assert ends(branch) == ends(alone)
    manifest = Store(str(tmp_path / "branch")).newest().manifest
    assert "0.01" in json.dumps(manifest["settings"]["settings"]["stages"][1])


def test_a_longer_stage_is_another_entry(settings, tmp_path, first, trained):
    ledger = Ledger(str(tmp_path))
    longer = override(settings, {"stages.0.epochs": 3})
    list(run(made(longer), store=str(tmp_path / "longer"), ledger=ledger))
    assert [stage for _, stage in trained] == [0, 1]
    assert len(ledger.names()) == 4


def one_of_several(rank: int, world: int, given: str, storage: str) -> list[tuple]:
    settings = Settings.model_validate_json(given)
    store, ledger = f"{storage}/second", Ledger(storage)
    return ends(list(run(made(settings), store=store, rank=rank, world=world, ledger=ledger)))


def test_two_workers_take_over_what_one_has_trained(settings, tmp_path, first):
    shared = (settings.model_dump_json(), str(tmp_path))
    assert run_multiprocess(2, one_of_several, *shared)[0] == ends(first)


def test_of_two_runs_at_once_one_trains_a_stage_and_the_other_waits(settings, tmp_path, trained):
    prepared, found = made(settings), {}

    def go(name: str) -> None:
        reports = run(prepared, store=str(tmp_path / name), ledger=Ledger(str(tmp_path)))
        found[name] = ends(list(reports))

    # torch's generator is one of the whole process: threads must not train at the same time, and
    # do so only if the claims fail
    threads = [threading.Thread(target=go, args=(n,), name=n) for n in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found["one"] == found["two"]
    assert sorted(stage for _, stage in trained) == [0, 1]


def test_the_claim_of_a_run_that_was_closed_is_free(settings, tmp_path, trained):
    prepared, ledger = made(settings), Ledger(str(tmp_path))
    with closing(run(prepared, store=str(tmp_path / "one"), ledger=ledger)) as reports:
        next(reports)
        other = Ledger(str(tmp_path))
        key = Key(0, prepared.lineage().stage_ids[0], _environment_id(settings), 6)
        assert other.claim(key) is None
    claim = other.claim(key)
    assert claim is not None
    claim.release()


def _environment_id(settings) -> str:
    import torch

    from ganforge.training.lineage import environment

    return digest(environment(torch.device("cpu"), settings.threads))


def test_a_waiting_run_departs_when_it_is_asked_to(settings, tmp_path, trained):
    prepared, ledger = made(settings), Ledger(str(tmp_path))
    key = Key(0, prepared.lineage().stage_ids[0], _environment_id(settings), 6)
    claim = ledger.claim(key)
    assert claim is not None
    reports = list(
        run(prepared, store=str(tmp_path / "one"), ledger=ledger, noticed=lambda: 2, resume=True)
    )
    assert [report.kind for report in reports] == ["departure"]
    assert not trained


def test_a_damaged_entry_is_trained_again(settings, tmp_path, first, trained, caplog):
    prepared, ledger = made(settings), Ledger(str(tmp_path))
    damaged = key_of(next(r for r in first if r.stage and r.stage.index == 1)).name
    folder = tmp_path / FOLDER / damaged
    victim = folder / "networks.safetensors"
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.unlink()  # its other name is a state of the first run
    victim.write_bytes(content)
    second = list(run(prepared, store=str(tmp_path / "second"), ledger=ledger))
    assert [stage for _, stage in trained] == [1]
    assert ends(second) == ends(first)
    assert "trained again" in caplog.text
    assert (folder / MANIFEST).is_file()


def test_two_states_under_one_identity_stop_the_run(settings, tmp_path):
    prepared, ledger = made(settings), Ledger(str(tmp_path))
    other = prepare(NAME, override(settings, {"seed": settings.seed + 1}))
    for name, what in (("first", prepared), ("second", other)):
        list(run(what, store=str(tmp_path / name)))
    first, second = (Store(str(tmp_path / name)) for name in ("first", "second"))
    one, two = first.names()[0], second.names()[0]
    manifest = first.manifest(one)
    key = Key(1, manifest["stage_id"], manifest["environment_id"], manifest["step"])
    ledger.publish(key, first, one)
    ledger.publish(key, first, one)
    with pytest.raises(Impure, match="two different states under one identity"):
        ledger.publish(key, second, two)


def test_other_measurements_are_made_again(settings, tmp_path, first, trained):
    ledger = Ledger(str(tmp_path))
    other = override(settings, {"validation.samples": 2, "validation.max_side": 48})
    alone = list(run(made(other), store=str(tmp_path / "alone")))
    del trained[:]
    second = list(run(made(other), store=str(tmp_path / "second"), ledger=ledger))
    same = made(other).lineage().stage_ids == made(settings).lineage().stage_ids
    assert same and not trained
    assert ends(second) == ends(alone)


def test_what_is_dropped_is_the_cheapest_to_train_again(settings, tmp_path, first):
    ledger = Ledger(str(tmp_path))
    entries = {entry.name: entry for entry in ledger.entries()}
    names = [key_of(report).name for report in first if report.stage]
    assert set(entries) == set(names)
    whole = sum(entry.num_bytes for entry in entries.values())
    assert ledger.collect(whole) == []
    assert ledger.collect(0, kept=names) == []
    dropped = ledger.collect(whole - 1)
    worth = {name: entries[name].seconds / entries[name].num_bytes for name in names}
    assert [entry.name for entry in dropped] == [min(names, key=lambda name: worth[name])]
    assert len(ledger.names()) == 1


def test_a_run_that_is_resumed_goes_on_behind_the_ledger(settings, tmp_path, first, trained):
    prepared, ledger = made(settings), Ledger(str(tmp_path))
    other = str(tmp_path / "cut")
    with closing(run(prepared, store=other)) as reports:
        for report in reports:
            if report.position == Position(0, 4):
                break
    del trained[:]
    after = list(run(prepared, store=other, resume=True, ledger=ledger))
    assert not trained
    assert ends(after) == ends(first)


def rewritten(storage: Path, report: Report, change) -> Path:
    """The entry of a stage with its manifest, or its tensors, changed and all sha256 made anew."""
    folder = storage / FOLDER / key_of(report).name
    manifest = json.loads((folder / MANIFEST).read_bytes())
    del manifest["sha256"]
    groups = {f.stem: load(f.read_bytes()) for f in folder.glob("*.safetensors")}
    change(manifest, groups)
    for name, tensors in groups.items():
        content = save(tensors)
        file = folder / f"{name}.safetensors"
        file.unlink()  # its other name is a state of the first run
        file.write_bytes(content)
        listed = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        manifest["files"][file.name] = manifest["files"].get(file.name) and listed
    (folder / MANIFEST).unlink()
    content = json.dumps({**manifest, "sha256": digest(manifest)}, indent=1).encode()
    (folder / MANIFEST).write_bytes(content)
    return folder


def other_weights(manifest, groups):
    groups["networks"] = {
        n: t.new_full(t.shape, 0.01) if t.is_floating_point() else t
        for n, t in groups["networks"].items()
    }


def smaller_moments(manifest, groups):
    name = next(n for n in groups if n.startswith("optimizer."))
    groups[name] = {
        n: t if n.endswith("/step") else t.reshape(-1)[:1].clone() for n, t in groups[name].items()
    }
    joined = {f"{g}/{n}": t for g, ts in groups.items() for n, t in ts.items()}
    manifest["state"]["state_sha256"] = tensors_sha256(joined)


FORGED = {
    "other weights": other_weights,
    "moments of another shape": smaller_moments,
    "stages empty": lambda m, g: m.update(stages=[]),
    "stages of text": lambda m, g: m.update(stages="x"),
    "a stage without seconds": lambda m, g: m["stages"][-1].pop("seconds"),
    "a stage of another index": lambda m, g: m["stages"][-1].update(index=7),
    "endless seconds": lambda m, g: m["stages"][-1].update(seconds=10**400),
    "metrics of text": lambda m, g: m["metrics"].update({"critic/wasserstein": "x"}),
    "no metrics": lambda m, g: m.update(metrics=None),
    "no state": lambda m, g: m.update(state={}),
    "a step of a fraction": lambda m, g: m.update(step=6.0),
    "rollbacks of a number": lambda m, g: m.update(rollbacks=5),
    "settings of text": lambda m, g: m.update(settings="x"),
    "another kind": lambda m, g: m.update(kind="checkpoint"),
    "another stage": lambda m, g: m.update(stage_id="0" * 64),
    "a name that no file has": lambda m, g: m["files"].update(
        {"\ud900.safetensors": {"sha256": "", "size": 3}}
    ),
}


#: forged so that only the networks show it
FITTING = ("moments of another shape",)


@pytest.mark.parametrize("what", [name for name in FORGED if name not in FITTING])
def test_what_is_forged_is_removed(settings, tmp_path, first, what, caplog):
    """Anyone who may write to the storage may write its entries."""
    last = next(r for r in first if r.stage and r.stage.index == 1)
    folder = rewritten(tmp_path, last, FORGED[what])
    ledger = Ledger(str(tmp_path))
    ledger.entries()
    assert ledger.find(key_of(last)) is None
    assert not folder.exists() and "trained again" in caplog.text
    caplog.text.encode()  # nothing in the message that no terminal takes


@pytest.mark.parametrize("what", ["other weights", *FITTING])
def test_what_is_forged_is_trained_again(settings, tmp_path, first, trained, what):
    last = next(r for r in first if r.stage and r.stage.index == 1)
    rewritten(tmp_path, last, FORGED[what])
    ledger = Ledger(str(tmp_path))
    second = list(run(made(settings), store=str(tmp_path / "second"), ledger=ledger))
    assert [stage for _, stage in trained] == [1]
    assert ends(second) == ends(first)
    assert ledger.find(key_of(last)) is not None, "what was trained is there now"


def test_a_forged_score_is_measured_again(settings, tmp_path, first, trained):
    last = next(r for r in first if r.stage and r.stage.index == 1)

    def better(manifest, groups):
        manifest["metrics"]["validation/psnr"] = 99.0
        manifest["stages"][-1]["metrics"]["validation/psnr"] = 99.0

    rewritten(tmp_path, last, better)
    second = list(run(made(settings), store=str(tmp_path / "s"), ledger=Ledger(str(tmp_path))))
    assert not trained and ends(second) == ends(first)
    assert second[-1].stage.metrics["validation/psnr"] < 90


@pytest.mark.parametrize(
    "what", ["a file", "a link", "a file under the entry's name", "unwritable"]
)
def test_a_ledger_that_cannot_be_written_costs_no_run(settings, tmp_path, first, what, caplog):
    storage, outside = tmp_path / "other", tmp_path / "outside"
    storage.mkdir()
    outside.mkdir()
    if what == "a file":
        (storage / FOLDER).write_text("")
    elif what == "a link":
        (storage / FOLDER).symlink_to(outside)
    elif what == "unwritable":
        (storage / FOLDER).mkdir()
    else:
        (storage / FOLDER).mkdir()
        for report in first:
            if report.stage:
                (storage / FOLDER / key_of(report).name).write_text("")
    ledger = Ledger(str(storage))
    if what == "unwritable":

        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        ledger._store.folders.copy = refuse
    reports = list(run(made(settings), store=str(storage / "run"), ledger=ledger))
    assert ends(reports) == ends(first)
    assert not list(outside.iterdir())
    assert "is not entered" in caplog.text


def test_a_lock_file_can_be_held_by_its_owner_alone(tmp_path):
    ledger, key = Ledger(str(tmp_path)), Key(0, "a", "b", 6)
    claim = ledger.claim(key)
    assert claim is not None and ledger.claim(key) is None
    (lock,) = (tmp_path / FOLDER).glob("*.lock")
    assert lock.stat().st_mode & 0o777 == 0o600
    claim.release()


def test_two_collect_at_once(settings, tmp_path, first):
    names = [key_of(report).name for report in first if report.stage]
    ledger = Ledger(str(tmp_path))
    found = ledger.entries()
    for name in names:
        shutil.rmtree(tmp_path / FOLDER / name)
    ledger.entries = lambda: found  # as they were before another search dropped them
    assert [entry.name for entry in ledger.collect(0)] == sorted(
        names, key=lambda n: next(e.seconds / e.num_bytes for e in found if e.name == n)
    )
