"""The clients of `make load` against a real server: shoppers, a flood, and those who dawdle."""

import asyncio
import socket
from contextlib import suppress
from http import HTTPStatus

import pytest

from load.client import run_client
from load.crowd import CrowdSpec, Kept, keep_waiting
from load.flood import PATIENCE_SECONDS, FloodSpec
from load.installation import SHOPPERS, install
from load.processes import serving
from load.scenarios import Flood, Flooded, flood_goals
from load.schedule import Phase, Spec
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


@pytest.mark.timeout(60)
def test_a_service_that_hangs_under_a_flood_is_judged_by_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system connects, nobody answers
        spec = FloodSpec(
            host="127.0.0.1", port=silent.getsockname()[1], rate=50.0, seconds=2, connections=4,
            shoppers=SHOPPERS, products=PRODUCTS,
        )  # fmt: skip
        hung = run_client("load.flood", spec, tmp_path, Played)

    calm = Played([], 1.0, 1.0, 1.0, 0.1)
    found = flood_goals(Flooded(PRODUCTS, calm, [Flood(2, hung, 1.0, calm, 25.0, 25.0, 1_000.0)]))

    assert hung.total("wrong") == 100
    missed = {goal.name for goal in found if not goal.met}
    assert "flood x2: good answers over capacity" in missed
    assert "flood x2: share neither answered nor refused in time" in missed


@pytest.mark.timeout(60)
def test_a_refusal_that_comes_after_a_clients_patience_is_wrong(tmp_path):
    async def refused() -> Played:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for seconds in (0.0, PATIENCE_SECONDS + 0.2):
                await reader.readuntil(b"}")
                await asyncio.sleep(seconds)
                writer.write(b"HTTP/1.1 503 -\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n")
            await reader.read()
            writer.close()

        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            spec = FloodSpec(
                host="127.0.0.1", port=server.sockets[0].getsockname()[1], rate=2.0, seconds=1,
                connections=1, shoppers=SHOPPERS, products=PRODUCTS,
            )  # fmt: skip
            return await asyncio.to_thread(run_client, "load.flood", spec, tmp_path, Played)

    found = asyncio.run(refused())

    assert (found.total("shed"), found.total("wrong")) == (1, 1)


@pytest.mark.timeout(180)
def test_clients_that_keep_a_server_waiting_do_so(port, tmp_path):
    spec = CrowdSpec(
        host="127.0.0.1", port=port, seconds=1, idle=30, slow_writers=5, slow_readers=2
    )

    kept = run_client("load.crowd", spec, tmp_path, Kept)

    assert kept == Kept(connected=37, overdue=0, timed_out=0, closed=0, stood=37.0)
    assert set(refusals(f"http://127.0.0.1:{port}").values()) == {0.0}


@pytest.mark.timeout(60)
def test_clients_that_are_sent_away_come_again():
    heads: list[bytes] = []

    async def kept() -> Kept:
        async def send_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(TimeoutError):
                heads.append(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 0.2))
            await asyncio.sleep(0.2)
            writer.write(b"HTTP/1.1 408 -\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(send_away, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            spec = CrowdSpec(
                host="127.0.0.1", port=port, seconds=2, idle=3, slow_writers=2, slow_readers=1,
                key="a-key",
            )  # fmt: skip
            return await keep_waiting(spec)

    found = asyncio.run(kept())

    # One that does not read has not seen yet that it was sent away.
    assert (found.connected, found.closed) == (2 * 5 + 1, 2 * 5)
    assert (found.overdue, found.timed_out) == (4, 4)
    assert sum(b"authorization: Bearer a-key\r\n" in head for head in heads) == 4
    assert 1 <= found.stood < 6
