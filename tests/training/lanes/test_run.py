"""Lanes are stored as runs are, say that they were lanes, and go on alone."""

import pytest
import torch

from ganforge.settings import SettingsError
from ganforge.training.checkpoint import Store
from ganforge.training.lanes.run import run_lanes
from ganforge.training.lineage import environment
from ganforge.training.loop import Collapsed
from ganforge.training.run import run
from tests.training.lanes.test_program import FLAGSHIP, lane


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two lanes with all their states, what they reported, and their stores."""
    folder = tmp_path_factory.mktemp("lanes")
    lanes = [lane(FLAGSHIP, number, keep="all", checkpoint_every=1) for number in (0, 1)]
    stores = [str(folder / str(number)) for number in (0, 1)]
    return lanes, list(run_lanes(lanes, stores)), stores


def test_every_state_is_stored_with_what_was_measured(trained):
    lanes, reports, stores = trained
    for number, (one, uri) in enumerate(zip(lanes, stores, strict=True)):
        store = Store(uri)
        mine = [row[number] for row in reports]
        kept = {store.load(name).position: store.load(name) for name in store.names()}
        assert kept.keys() == {report.position for report in mine[1:]}
        for report in mine[1:]:
            assert kept[report.position].manifest["state"] == report.state
        result = mine[-1].stage
        assert result.stage_id == one.lineage().stage_ids[0]
        assert "validation/psnr" in result.metrics
        assert result.hashes == mine[-1].state


def test_the_environment_says_which_lane_a_state_is_of(trained):
    lanes, _, stores = trained
    here = environment(torch.device("cpu"), lanes[0].settings.threads)
    ids = set()
    for number, uri in enumerate(stores):
        manifest = Store(uri).newest().manifest
        assert manifest["environment"] == here | {"lanes": f"{number} of 2"}
        ids.add(manifest["environment_id"])
    assert len(ids) == 2


def test_a_lane_goes_on_alone_with_its_later_stages(trained, caplog):
    lanes, reports, stores = trained
    again = list(run(lanes[1], store=stores[1], resume=True))
    assert again[0].state == reports[-1][1].state
    assert again[-1].position.index == 1
    assert again[-1].stage.environment["before"] == reports[-1][1].stage.environment_id
    assert "lanes: recorded 1 of 2, here absent" in caplog.text


def test_a_store_that_holds_a_run_is_refused(trained):
    lanes, _, stores = trained
    with pytest.raises(SettingsError, match="holds the states of a run already"):
        next(run_lanes(lanes, stores))
    with pytest.raises(SettingsError, match="2 runs and 1 different stores"):
        next(run_lanes(lanes, [stores[0]] * 2))


def test_lanes_that_collapse_end():
    changes = {"validation.fid_network": "proxy", "validation.images": 8, "on_collapse": "stop"}
    lanes = [lane("wgan", number, collapse_below=0.99, **changes) for number in (0, 1)]
    reports = list(run_lanes(lanes))
    assert all(isinstance(one, Collapsed) for one in reports[-1])
    assert not any(isinstance(one, Collapsed) for row in reports[:-1] for one in row)


def test_runs_that_are_no_lanes_leave_no_trace(tmp_path):
    with pytest.raises(SettingsError, match="lanes = 0: must be at least 2"):
        next(run_lanes([]))
    lanes = [lane(FLAGSHIP, 0), lane(FLAGSHIP, 1, width=12)]
    with pytest.raises(SettingsError, match="width = 12 in lane 1, and 8 in lane 0"):
        next(run_lanes(lanes, [str(tmp_path / "0"), str(tmp_path / "1")]))
    assert not list(tmp_path.iterdir())
