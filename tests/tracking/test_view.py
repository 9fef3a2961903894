"""The saved view: what is packed can be read, and holds what is to be shown."""

import json
import zlib
from base64 import b64decode
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from ganforge.search.pages import copies, search_view
from ganforge.tracking.client import experiment_id, open_client
from ganforge.tracking.view import deflated, ship_view, view_id, view_state

DOMAINS = {
    "generator.learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "critic.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
    "critic_steps": IntDistribution(1, 3),
    "stages.0.epochs": CategoricalDistribution([1, 2]),
}
VIEW = search_view("20260102-030405-abcd", "validation/psnr", "max", DOMAINS)


def inflated(text: str) -> dict[str, Any]:
    """A state, read by the definition of the format."""
    head, packed = text.split(";")
    assert head == "deflate"
    return json.loads(zlib.decompress(b64decode(packed)))


def test_what_is_deflated_can_be_read():
    state = view_state(VIEW) | {"name": "größer ✓"}
    assert inflated(deflated(state)) == state


def test_the_state_shows_the_trials_of_one_search_as_a_sorted_list():
    state = view_state(VIEW)
    assert state["searchFilter"] == "tags.search = '20260102-030405-abcd' and tags.kind = 'trial'"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`validation/psnr_best`", False)
    lowest = search_view("a", "validation/swd", "min", DOMAINS)
    assert view_state(lowest)["orderByAsc"] is True
    for key in DOMAINS:
        assert f"params.`{key}`" in state["selectedColumns"]
    assert "metrics.`validation/psnr_best`" in state["selectedColumns"]


def test_every_card_lies_in_a_section_of_its_own_and_has_its_data():
    state = view_state(VIEW)
    sections = {section["uuid"] for section in state["compareRunSections"]}
    cards = {card["type"]: card for card in state["compareRunCharts"]}
    assert set(cards) == {"PARALLEL", "LINE", "IMAGE", "DIFFERENCE"}
    assert {card["metricSectionId"] for card in cards.values()} == sections
    assert len({card["uuid"] for card in cards.values()}) == len(cards)
    assert cards["LINE"]["selectedMetricKeys"] == ["validation/psnr"]
    assert cards["IMAGE"]["imageKeys"] == ["samples/grid"]
    assert cards["PARALLEL"]["selectedMetrics"] == ["validation/psnr_best"]


def test_settings_searched_over_two_decades_have_a_logarithmic_axis():
    cards = {card["type"]: card for card in view_state(VIEW)["compareRunCharts"]}
    axes = ["generator.learning_rate_log10", "critic.learning_rate", "critic_steps"]
    assert cards["PARALLEL"]["selectedParams"] == [*axes, "stages.0.epochs"]
    params = {"generator.learning_rate": 1e-3, "critic.learning_rate": 1e-3, "critic_steps": 2}
    assert copies(params, DOMAINS) == {"generator.learning_rate_log10": -3.0}


def test_shipping_again_replaces_the_view(tmp_path: Path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    addresses = {ship_view(uri, "views", VIEW) for _ in range(2)}
    client = open_client(uri)
    number = experiment_id(client, uri, "views")
    tags = client.get_experiment(number).tags
    key = view_id(VIEW.search_id)
    assert list(tags) == [f"mlflow.sharedViewState.{key}"]
    stored = json.loads(tags[f"mlflow.sharedViewState.{key}"])
    assert stored["name"] == "search 20260102-030405-abcd"
    assert inflated(stored["state"]) == view_state(VIEW)
    (address,) = addresses
    assert address.startswith("#/experiments/") and address.count("workflowType") == 1
    assert f"viewStateShareKey={key}" in address and "compareRunsMode=CHART" in address
    assert view_id("another") != key
