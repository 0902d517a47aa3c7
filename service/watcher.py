"""Keeps the serving state current: follows the live pointer and the catalogue, swaps one reference.

Everything slow happens here, in a thread of its own: read, verify, compile, warm up. The event loop
only ever sees the finished reference.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import structlog

from policy.registry import Registry
from projections.catalogue import Catalogue
from projections.kept_products import KeptProducts
from schemas.codec import encode
from schemas.policies import Announcement
from service.behaviour import Behaviour, ServingState
from service.followed import FollowedCatalogue
from service.metrics import Metrics
from service.weights import Kept, Weights
from streams.errors import LogError
from streams.port import Log, Message

log = structlog.get_logger(__name__)
_POLICIES_TOPIC: Final = "policies"
_ANNOUNCEMENTS: Final = 1_000
_NO_ROWS: Final[npt.NDArray[np.int32]] = np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class WatcherSettings:
    """How often the watcher looks.

    Attributes:
        process: this process's name in announcements.
        interval_seconds: between two looks at the live pointer and the catalogue.
        recompile_seconds: between two recompilations for a changed catalogue alone.
        failure_seconds: pause after a look that failed.
        confirm_seconds: a start waits so long for the log, to know whether what this machine kept
            of the catalogue is still so.
    """

    process: str = "serve"
    interval_seconds: float = 0.1
    recompile_seconds: float = 0.5
    failure_seconds: float = 1.0
    confirm_seconds: float = 5.0


class Watcher:
    """Follows registry and catalogue; `step` is its whole work, `start` only loops.

    Args:
        behaviour: whose state is replaced.
        registry: the truth of what is live.
        log: its topic `products` is followed, its topic `policies` told.
        clock: milliseconds since 1970.
        metrics: what is counted.
        settings: how often it looks.
        kept: the products as this machine saw them last; None: they are not kept.
        after_swap: called in this thread after every swap of weights (tidies the heap).
        monotonic: seconds, for pauses.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        registry: Registry,
        log: Log,
        *,
        clock: Callable[[], int],
        metrics: Metrics,
        settings: WatcherSettings = WatcherSettings(),
        kept: KeptProducts | None = None,
        after_swap: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._behaviour = behaviour
        self._log = log
        self._clock = clock
        self._metrics = metrics
        self._settings = settings
        self._after_swap = after_swap
        self._monotonic = monotonic
        self._registry = registry
        self._weights = Weights(registry, rejected=self._rejected)
        self._followed = FollowedCatalogue(log, kept)
        self._from_disk = len(self._followed.current) > 0
        self._anew = False
        self._told: Kept | None = None
        self._recompiled_at = float("-inf")
        self._announcements: deque[Announcement] = deque(maxlen=_ANNOUNCEMENTS)
        self._stopping = threading.Event()
        self._looked, self._confirmed = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def step(self) -> bool:
        """Look once at everything; return True when the serving state was replaced."""
        beginnings = self._followed.beginnings
        catalogue = self._catalogue_now()
        if self._followed.beginnings != beginnings:
            # The log holds other products than this machine knew: nothing that is compiled fits.
            self._weights = Weights(self._registry, rejected=self._rejected)
            self._anew, self._told = True, None
        self._weights.follow(catalogue.features)
        # By what serves, not by what was done: a look that failed half-way is made up for.
        changed = self._anew or self._is_behind() or self._worth_a_flip(catalogue)
        if changed:
            self._flip(catalogue)
            self._anew = False
        live = self._weights.live
        if live is not None and live is not self._told:
            self._served(live, since=self._told)
            self._told = live
        self._announce()
        serving = self._behaviour.state.catalogue
        if self._followed.is_confirmed and serving.version == catalogue.version:
            self._confirmed.set()
        return changed

    def _is_behind(self) -> bool:
        """Whether other weights are held than those that serve."""
        state = self._behaviour.state
        return any(
            kept is not None and kept.loaded is not serving
            for kept, serving in (
                (self._weights.live, state.behaviour),
                (self._weights.foundation, state.foundation),
            )
        )

    def _catalogue_now(self) -> Catalogue:
        """Return the catalogue; at the first look what this machine kept, if it kept anything.

        So the first answers wait for no log.
        """
        if self._from_disk:
            self._from_disk = False
            return self._followed.current
        return self._followed.look()

    def _worth_a_flip(self, catalogue: Catalogue) -> bool:
        """Return True for a catalogue that changed, unless compiling for it must wait a moment."""
        if catalogue.version == self._behaviour.state.catalogue.version:
            return False
        if self._weights.fits(catalogue.features):
            return True
        now = self._monotonic()
        if now - self._recompiled_at < self._settings.recompile_seconds:
            return False
        self._recompiled_at = now
        return True

    def _flip(self, catalogue: Catalogue) -> None:
        """Make everything for one catalogue, then replace the reference."""
        self._weights.fit(catalogue.features)
        behaviour, foundation = (
            None if kept is None else kept.loaded
            for kept in (self._weights.live, self._weights.foundation)
        )
        known = behaviour or foundation
        popular = _NO_ROWS if known is None else known.policy.popular
        self._behaviour.state = ServingState(catalogue, behaviour, foundation, popular)
        self._metrics.products.set(len(catalogue))

    def _served(self, kept: Kept, *, since: Kept | None) -> None:
        if since is not None and since.version == kept.version:
            return  # the same weights, compiled for another catalogue
        learned = kept.manifest.learned_events_ms
        now_ms = self._clock()
        for event_ms in learned:
            self._metrics.freshness_seconds.observe(max(now_ms - event_ms, 0) / 1000)
        self._metrics.swaps.labels("swapped").inc()
        self._metrics.policy_version.set(kept.version)
        self._metrics.swap_timestamp.set(now_ms / 1000)
        self._announcements.append(
            Announcement(
                kind="served",
                version=kept.version,
                at_ms=now_ms,
                process=self._settings.process,
                learned_events_ms=learned,
            )
        )
        log.info("policy_swapped", version=kept.version)
        self._after_swap()

    def _rejected(self, version: int, reason: str) -> None:
        self._metrics.swaps.labels("rejected").inc()
        self._announcements.append(
            Announcement(
                kind="rejected",
                version=version,
                at_ms=self._clock(),
                process=self._settings.process,
                reason=reason,
            )
        )

    def _announce(self) -> None:
        if not self._announcements:
            return
        try:
            self._log.append(
                _POLICIES_TOPIC, [Message(None, encode(one)) for one in self._announcements]
            )
        except LogError:
            return  # kept for the next look
        self._announcements.clear()

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def wait_first_look(self, *, timeout_seconds: float = 300.0) -> None:
        """Wait until everything has been looked at once, with success or without.

        Before that nothing is known that could be shown, nor the row of what somebody bought. Then
        wait a moment for the log: what is kept on disk may be old, and rows are stamped for ever.
        """
        self._looked.wait(timeout_seconds)
        self.wait_confirmed(timeout_seconds=self._settings.confirm_seconds)

    def wait_confirmed(self, *, timeout_seconds: float) -> bool:
        """Wait until the catalogue that serves has once been the log's; False: it has not."""
        return self._confirmed.wait(timeout_seconds)

    def stop(self, *, timeout_seconds: float = 10.0) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        self._followed.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            pause = self._settings.interval_seconds
            try:
                self.step()
            except Exception:
                # The weights that serve go on serving; the next look may succeed.
                log.exception("watch_failed")
                pause = self._settings.failure_seconds
            self._looked.set()
            self._stopping.wait(pause)
