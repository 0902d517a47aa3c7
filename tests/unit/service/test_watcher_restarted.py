"""A server that starts again serves what this machine knew, until the log says otherwise."""

from projections.kept_products import KeptProducts
from service.watcher import Watcher
from tests.unit.service.watched_ring import NOW_MS, Ring


def restarted(ring, folder, **options):
    """Return a ring whose watcher begins again with the same folder and shelf."""
    ring.watcher.stop()
    again = Ring(folder, **options)
    again.shelf = ring.shelf
    again.watcher = Watcher(
        again.behaviour,
        ring.shelf,
        again,
        clock=lambda: NOW_MS,
        metrics=again.metrics,
        kept=KeptProducts(folder / "catalogue.db"),
    )
    return again


def test_promise_6_a_server_that_starts_without_the_log_serves_what_it_knew_last(ring, tmp_path):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.watcher.step()
    ring.sell(6, 9)
    ring.watcher.step()

    again = restarted(ring, tmp_path)
    again.reachable = False
    again.watcher.step()

    assert again.behaviour.ready
    assert again.state.catalogue.row_of == ring.state.catalogue.row_of
    assert again.state.catalogue.fragments == ring.state.catalogue.fragments
    again.watcher.step()
    assert len(again.state.catalogue) == 9

    ring.sell(9, 12)
    again.reachable = True
    again.watcher.step()
    assert len(again.watcher._followed.current) == 12
    again.watcher.stop()
    again.log.close()


def test_a_server_that_starts_with_the_log_shows_nobody_an_old_catalogue(ring, tmp_path):
    ring.watcher.step()

    again = restarted(ring, tmp_path)
    again.sell(6, 9)
    again.watcher.start()
    again.watcher.wait_first_look()

    assert len(again.state.catalogue) == 9
    again.watcher.stop()
    again.log.close()


def test_what_this_machine_knew_is_dropped_where_the_log_holds_other_products(ring, tmp_path):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.watcher.step()

    other = restarted(ring, tmp_path, log="another.sqlite")
    other.sell(20, 26)
    other.watcher.step()
    assert list(other.state.catalogue.row_of) == [f"p{n}" for n in range(6)]
    assert other.watcher.step()

    assert list(other.state.catalogue.row_of) == [f"p{n}" for n in range(20, 26)]
    assert other.state.behaviour.policy.products == 6
    kept = KeptProducts(tmp_path / "catalogue.db")
    assert len(kept.load()) == 6
    assert b"p20" in kept.load()[0].value
    other.watcher.stop()
    other.log.close()


def test_what_this_machine_knew_is_dropped_where_the_log_is_empty(ring, tmp_path):
    ring.shelf.put(1)
    ring.shelf.point(1)
    ring.watcher.step()

    other = restarted(ring, tmp_path, log="another.sqlite")
    other.watcher.step()
    assert other.behaviour.ready
    other.watcher.step()

    assert len(other.state.catalogue) == 0
    assert not other.behaviour.ready
    other.watcher.stop()
    other.log.close()
