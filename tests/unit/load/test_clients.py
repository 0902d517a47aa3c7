"""The clients of `make load` against a real server: shoppers, a flood, and those who dawdle."""

from http import HTTPStatus

import pytest

from load.client import run_client
from load.crowd import CrowdSpec, Kept
from load.flood import FloodSpec
from load.installation import SHOPPERS, install
from load.processes import serving
from load.shoppers import Phase, Spec
from load.traffic import Played
from load.watching import refusals

PRODUCTS = 300


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    install(folder, products=PRODUCTS, seed=1)
    with serving("load.server", [str(folder)], folder, "server", None) as (_, ports):
        yield ports["service"]


@pytest.mark.timeout(180)
def test_shoppers_are_answered_and_what_they_report_is_accepted(port, tmp_path):
    spec = Spec(
        url=f"http://127.0.0.1:{port}", phases=(Phase(2, 30),), products=PRODUCTS,
        shoppers=SHOPPERS, hot_share=0.3, large_share=0.2,
    )  # fmt: skip

    played = run_client("load.shoppers", spec, tmp_path, Played)

    assert played.total("offered") == 60
    assert played.total("good") + played.faults.get("/recommend late", 0) >= 59, played.faults
    assert set(played.reported) == {"accepted"}, played.reported
    assert f"/recommend {HTTPStatus.REQUEST_ENTITY_TOO_LARGE}" not in played.faults


@pytest.mark.timeout(180)
def test_a_flood_measures_capacity_and_offers_more(port, tmp_path):
    given = {
        "host": "127.0.0.1", "port": port, "seconds": 1, "shoppers": SHOPPERS, "products": PRODUCTS,
    }  # fmt: skip
    busy = run_client("load.flood", FloodSpec(rate=None, connections=8, **given), tmp_path, Played)
    due = run_client("load.flood", FloodSpec(rate=50.0, connections=20, **given), tmp_path, Played)

    assert busy.total("good") > 8
    assert due.total("offered") == 50
    assert due.total("good") > 0
    assert set(busy.faults) <= {"200"}  # answered late


@pytest.mark.timeout(180)
def test_clients_that_keep_a_server_waiting_do_so(port, tmp_path):
    spec = CrowdSpec(
        host="127.0.0.1", port=port, seconds=1, idle=30, slow_writers=5, slow_readers=2
    )

    kept = run_client("load.crowd", spec, tmp_path, Kept)

    assert (kept.connected, kept.closed) == (37, 0)
    assert refusals(f"http://127.0.0.1:{port}") == {}
