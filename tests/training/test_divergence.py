"""A run that leaves the real numbers ends, or goes back and continues with halved learning rates:
always in the same way."""

from functools import cache

import pytest

from ganforge.data.prepare import open_data
from ganforge.schedule import Position
from ganforge.settings import override
from ganforge.systems.latent import LatentSystem
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR
from ganforge.testing import small
from ganforge.training.checkpoint import Store, state_hashes
from ganforge.training.loop import Collapsed, NotFinite, train
from ganforge.training.multiprocess import run_multiprocess
from ganforge.training.prepare import prepare
from ganforge.training.resume import begin
from ganforge.training.run import run
from ganforge.training.workers import Workers

SYSTEM = "progressive_gan_sr"
RATE = 0.002
losses = ProgressiveGANSR.losses


def diverging(limit):
    """The flagship's objectives, not finite at step 7 of stage 1 above a learning rate."""

    def method(self, player, batch, progress):
        terms = losses(self, player, batch, progress)
        rate = progress.settings.critic.learning_rate * progress.rate
        if (progress.index, progress.step, player) == (1, 7, "critic") and rate > limit:
            name = next(iter(terms))
            terms[name] = terms[name] * float("inf")
        return terms

    return method


@pytest.fixture
def fragile(monkeypatch):
    # 0.002 and 0.001 are too high
    monkeypatch.setattr(ProgressiveGANSR, "losses", diverging(0.0006))


@pytest.fixture
def settings(tiny):
    rates = {"critic__learning_rate": RATE, "generator__learning_rate": RATE}
    return tiny(on_divergence="rollback", keep="all", reports_per_stage=5, **rates)


def ends(reports):
    return {r.position: r.state["state_sha256"] for r in reports if r.state}


@cache
def whole(settings_json):
    kind = ProgressiveGANSR.Settings
    return ends(run(prepare(SYSTEM, kind.model_validate_json(settings_json))))


def test_by_default_a_diverging_run_ends(settings, fragile):
    with pytest.raises(NotFinite, match=r"critic/\w+ is inf at stage 1, step 7"):
        list(run(prepare(SYSTEM, override(settings, {"on_divergence": "stop"}))))


def test_it_goes_back_to_the_last_stored_state_and_says_so(settings, fragile, tmp_path):
    store = str(tmp_path / "run")
    reports = list(run(prepare(SYSTEM, settings), store=store))
    steps = [r.position.step for r in reports if r.position.index == 1]
    assert steps == [0, 2, 4, 6, 8, 10]  # none of them is reported twice
    assert reports[-1].metrics["training/rollbacks"] == 2.0
    assert reports[-1].stage.to_json()["rollbacks"] == [7, 7]
    assert "training/rollbacks" not in next(r for r in reports if r.kind == "stage").metrics
    assert Store(store).newest().manifest["rollbacks"] == [[1, 7], [1, 7]]


def test_it_continues_as_a_run_with_a_quarter_of_the_rates(settings, fragile, tmp_path):
    store = Store(str(tmp_path / "run"))
    went_back = ends(run(prepare(SYSTEM, settings), store=store.uri))
    before = next(store.load(n) for n in store.names() if n.startswith("001-000000006"))
    quarter = {"critic.learning_rate": RATE / 4, "generator.learning_rate": RATE / 4}
    prepared = prepare(SYSTEM, override(settings, quarter))
    plan = prepared.plan()
    training = begin(prepared, plan, before)
    assert not training.rollbacks
    data = open_data("super_resolution", prepared.settings, plan.stages, 2, 0)
    found = {}
    for report in train(training, plan, data, Workers()):
        found[report.position] = state_hashes(training.system)["state_sha256"]
    data.close()
    assert [position.step for position in found] == [8, 10]
    assert all(went_back[position] == sha for position, sha in found.items())


# at the first report, before the divergence, and at each report after it
@pytest.mark.parametrize("count", (1, 10, 11, 12))
def test_killed_anywhere_it_resumes_to_the_same_end(settings, fragile, tmp_path, count):
    store, seen = str(tmp_path / "cut"), {}
    reports = run(prepare(SYSTEM, settings), store=store)
    for _ in range(count):
        seen |= ends([next(reports)])
    reports.close()
    seen |= ends(run(prepare(SYSTEM, settings), store=store, resume=True))
    assert seen == whole(settings.model_dump_json())


def part(rank, world, settings):
    ProgressiveGANSR.losses = diverging(0.0006)  # in a process of its own
    return ends(
        run(prepare(SYSTEM, override(settings, {"workers": world})), rank=rank, world=world)
    )


def test_two_workers_go_back_alike(settings, fragile):
    alone = whole(settings.model_dump_json())
    assert run_multiprocess(2, part, settings) == [alone, alone]


def test_it_ends_after_three_rollbacks(settings, monkeypatch):
    monkeypatch.setattr(ProgressiveGANSR, "losses", diverging(0.0))
    with pytest.raises(NotFinite, match=r"again after 3 rollbacks, at 0.125 of the learning rates"):
        list(run(prepare(SYSTEM, settings)))


def test_the_setting_leaves_ids_that_were_recorded_before_it(tiny):
    plain, rollback = tiny(), tiny(on_divergence="rollback")
    assert "on_divergence" not in plain.identity(0)
    assert rollback.identity(0)["on_divergence"] == "rollback"
    ids = [prepare(SYSTEM, s).lineage().stage_ids[0] for s in (plain, rollback)]
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    "change",
    [
        {"reports_per_stage": 2},
        {"rungs": 3},
        {"checkpoint_every": 3},
        {"validation.every_epochs": 1},
        {"stages.0.epochs": 3},
    ],
    ids=lambda change: next(iter(change)),
)
def test_where_states_are_stored_is_part_of_what_it_is(settings, change):
    """A run goes back to its newest stored state: where others are stored it is another run."""
    other = override(settings, change)
    plans = [prepare(SYSTEM, s).plan() for s in (settings, other)]
    steps = [range(1, plan.stages[0].steps + 1) for plan in plans]
    stored = [
        [n for n in mine if plan.stores(Position(0, n))]
        for plan, mine in zip(plans, steps, strict=True)
    ]
    assert stored[0] != stored[1]
    ids = [prepare(SYSTEM, s).lineage().stage_ids[0] for s in (settings, other)]
    assert ids[0] != ids[1]
    stops = [override(s, {"on_divergence": "stop"}) for s in (settings, other)]
    assert len({prepare(SYSTEM, s).lineage().stage_ids[0] for s in stops}) == 1


def test_other_states_are_other_bits_after_a_divergence(settings, fragile):
    found = [ends(run(prepare(SYSTEM, s))) for s in (settings, override(settings, {"rungs": 3}))]
    last = max(found[0])
    assert found[0][last] != found[1][last]


def test_the_length_of_an_epoch_counts_where_it_says_when_to_store(settings):
    every = override(settings, {"validation.every_epochs": 1})
    shorter = override(every, {"images_per_epoch": 20, "stages.0.epochs": 4})
    lengths = [prepare(SYSTEM, s).plan().stages[0].steps for s in (every, shorter)]
    assert lengths[0] == lengths[1]
    assert every.identity(0) == shorter.identity(0)
    ids = [prepare(SYSTEM, s).lineage().stage_ids[0] for s in (every, shorter)]
    assert ids[0] != ids[1]


@pytest.mark.parametrize("rollback", [False, True])
def test_a_collapsed_generator_ends_the_run_where_it_is_asked_for(monkeypatch, rollback):
    """At the first validation; and it is not a divergence, which a run goes back from."""
    images = LatentSystem.images

    def one_image(self, network, latent, batch, progress):
        return images(self, network, latent[:1].expand_as(latent), batch, progress)

    changes = {"validation.fid_network": "proxy", "validation.images": 8}
    changes |= {"on_divergence": "rollback"} if rollback else {}
    healthy = list(run(small("wgan", changes | {"on_collapse": "stop"})))
    assert healthy[-1].metrics["validation/diversity_proxy"] > 0.03
    monkeypatch.setattr(LatentSystem, "images", one_image)
    reported = list(run(small("wgan", changes)))
    assert reported[-1].metrics["validation/diversity_proxy"] == pytest.approx(0, abs=1e-6)
    message = r"diversity_proxy is .* at stage 0, step \d+, below collapse_below = 0\.03: .*Fix: "
    with pytest.raises(Collapsed, match=message):
        list(run(small("wgan", changes | {"on_collapse": "stop"})))
