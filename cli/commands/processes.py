"""`quintet serve`, `aggregate`, `train`, `console`: one process of the ring each."""

import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from cli import wiring
from cli.clock import now_ms
from cli.errors import CommandFailed
from cli.locks import exclusive
from cli.logs import configure_logs
from cli.process_file import described, free_path, path_of
from cli.settings import Settings
from cli.supervisor import Child, Supervisor, give_way, stop_on_signals, watch_parent

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log = structlog.get_logger(__name__)
ParentPid = Annotated[int | None, typer.Option(hidden=True)]
NICENESS = {"aggregate": 4, "train": 15, "console": 15}
"""On one machine shoppers who wait come first, then what they earned, then what that teaches."""
RETENTION_EVERY_SECONDS = 3_600.0
PREDECESSOR_SECONDS = 10.0
"""Workers whose supervisor was killed keep its port until they have ended."""
WORKERS_GRACE_SECONDS = 20.0
"""A worker lets slow clients finish, as long as uvicorn does, then logs what it has answered."""


def serve(
    settings: Settings,
    parent_pid: ParentPid = None,
    worker: Annotated[Path | None, typer.Option(hidden=True)] = None,
    listener_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Answer /recommend and take in events; any number of these may run.

    Needs a foundation (`quintet pretrain`) to draw banners; without one it shows products in the
    catalogue's order and is not ready.
    """
    _begin("serve", settings, parent_pid)
    if settings.workers > 1 and worker is None:
        _serve_workers(settings, parent_pid)
        return
    _end_by_sigterm()
    from prometheus_client import CollectorRegistry

    from cli.process_metrics import ProcessMetrics
    from cli.worker_metrics import WorkersExposition
    from service import server
    from service import wiring as service_wiring

    listener = (
        _listener(settings, settings.port, parent_pid)
        if listener_fd is None
        else socket.socket(fileno=listener_fd)
    )
    metrics = CollectorRegistry()
    ProcessMetrics("service", settings.data_dir, metrics)
    events = wiring.open_log(settings, member=f"serve-{os.getpid()}", may_be_away=True)
    service = service_wiring.build(
        wiring.service_settings(settings),
        events,
        wiring.open_registry(settings),
        wiring.history_reader(settings, metrics),
        clock=now_ms,
        # Processes that drew the same numbers would explore the same products.
        rng=wiring.generator(settings, purpose=f"serve-{os.getpid()}"),
        metrics_registry=metrics,
        after_swap=server.settle_heap,
        exposition=None if worker is None else WorkersExposition(worker, metrics),
    )
    port = listener.getsockname()[1]
    shown = (
        _at_port(settings, "serve", port)
        if worker is None
        else _beside(worker, metrics, parent_pid)
    )
    try:
        with shown:
            server.serve(
                service.app,
                listener,
                service.admission,
                trusted_proxies=settings.trusted_proxies,
                is_shared=worker is not None,
            )
    finally:
        events.close()


def _serve_workers(settings: Settings, parent_pid: int | None) -> None:
    """Keep several serving processes on one port and one queue.

    The queue is this process's: a caller who comes while a worker ends or begins is another's.
    """
    os.environ.update(settings.as_environment())
    listener = _listener(settings, settings.port, parent_pid)
    own = ["--parent-pid", str(os.getpid()), "--listener-fd", str(listener.fileno())]
    with (
        listener,
        TemporaryDirectory(prefix="quintet-workers-") as folder,
        _at_port(settings, "serve", listener.getsockname()[1]),
    ):
        supervisor = Supervisor(
            [
                Child(
                    f"serve-{number}",
                    ["serve", "--worker", f"{folder}/{number}.json", *own],
                    inherited=(listener.fileno(),),
                )
                for number in range(settings.workers)
            ],
            stop=_stop_event(),
            grace_seconds=WORKERS_GRACE_SECONDS,
        )
        supervisor.run()


def aggregate(settings: Settings, parent_pid: ParentPid = None) -> None:
    """Turn events into rewards and keep the shoppers' histories.

    On Kafka any number of these may run; on the local log one works and others wait.
    """
    _begin("aggregate", settings, parent_pid)
    from prometheus_client import CollectorRegistry

    from cli.process_metrics import ProcessMetrics
    from projections.history.metrics import HistoryMetrics
    from projections.history.projector import HistoryProjector
    from rewards.aggregator import Aggregator

    stop = _stop_event()
    metrics = CollectorRegistry()
    ProcessMetrics("aggregate", settings.data_dir, metrics)
    with wiring.opened_log(
        settings, member="aggregate", may_be_away=True, keeps_place=True
    ) as events:
        aggregator = Aggregator(
            events, wiring.reward_specification(settings), clock=now_ms, registry=metrics
        )
        projector = HistoryProjector(
            events,
            wiring.history_store(settings),
            clock=now_ms,
            retention_ms=wiring.retention_ms(settings),
            metrics=HistoryMetrics(metrics),
        )
        with _exposed(settings, "aggregate", metrics):
            _run_loops(
                {
                    "aggregator": aggregator.run,
                    "history": projector.run,
                    "retention": lambda stop: wiring.keep_trimmed(
                        events, settings, stop, every_seconds=RETENTION_EVERY_SECONDS
                    ),
                },
                stop,
            )


def train(
    settings: Settings,
    parent_pid: ParentPid = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Turn rewards into new policies; one of these runs."""
    _begin("train", settings, parent_pid)
    from prometheus_client import CollectorRegistry

    from cli.process_metrics import ProcessMetrics
    from trainer.loop import Trainer

    stop = _stop_event()
    metrics = CollectorRegistry()
    ProcessMetrics("train", settings.data_dir, metrics)
    with (
        exclusive(settings.data_dir / "train.lock", what="`quintet train`"),
        wiring.opened_log(settings, member="train", may_be_away=True) as events,
    ):
        trainer = Trainer(
            events,
            wiring.open_registry(settings),
            settings.data_dir / "checkpoints",
            clock=now_ms,
            settings=wiring.trainer_settings(settings, device=device),
            metrics_registry=metrics,
        )
        with _exposed(settings, "train", metrics):
            trainer.run(stop)


def console(settings: Settings, parent_pid: ParentPid = None) -> None:
    """Show the pages: learning, storefront, policies, explain."""
    from cli.console_app import console_app
    from service import server

    _begin("console", settings, parent_pid)
    _end_by_sigterm()
    listener = _listener(settings, settings.console_port, parent_pid)
    with wiring.opened_log(settings, member="console", may_be_away=True) as events:
        app = console_app(settings, events)
        with _at_port(settings, "console", listener.getsockname()[1]):
            server.serve(app, listener, trusted_proxies=settings.trusted_proxies)


def _end_by_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does, with everything closed.

    A server hears it while it serves, and raises it again when it has ended.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def _begin(process: str, settings: Settings, parent_pid: int | None) -> None:
    """Refuse to be reached from elsewhere without keys; mind logs, priority and supervisor."""
    wiring.require_loopback_or_keys(settings)
    configure_logs(settings.log_level, process=process)
    if parent_pid is not None:
        give_way(NICENESS.get(process, 0))
    watch_parent(parent_pid)
    log.info("started", pid=os.getpid(), streams=settings.streams, history=settings.history)


def _stop_event() -> threading.Event:
    """Return what SIGINT and SIGTERM set; not for a server, which hears them itself."""
    stop = threading.Event()
    stop_on_signals(stop)
    return stop


def _listener(settings: Settings, port: int, parent_pid: int | None) -> socket.socket:
    """Listen on a port; where a supervisor restarts this process, its predecessor may still end."""
    from service import server

    deadline = time.monotonic() + (0.0 if parent_pid is None else PREDECESSOR_SECONDS)
    told = False
    while True:
        try:
            return server.listening(settings.host, port)
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                raise CommandFailed(
                    f"cannot listen: {problem}; choose another port or host"
                ) from None
            if not told:
                told = True
                log.warning("port_taken", port=port, waited_for_seconds=PREDECESSOR_SECONDS)
        time.sleep(0.1)


@contextmanager
def _exposed(settings: Settings, process: str, metrics: "CollectorRegistry") -> Iterator[None]:
    """Serve the metrics of a process without a port of its own, and write down where."""
    from prometheus_client import start_http_server

    server, _ = start_http_server(settings.metrics_port, settings.host, metrics)
    log.info("metrics", port=server.server_port)
    try:
        with _at_port(settings, process, server.server_port):
            yield
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _beside(worker: Path, metrics: "CollectorRegistry", parent_pid: int | None) -> Iterator[None]:
    """Serve the metrics of one of several workers to the others, on a loopback port.

    Where the supervisor was killed, the last worker to end takes their folder along.
    """
    from prometheus_client import start_http_server

    server, _ = start_http_server(0, "127.0.0.1", metrics)
    try:
        with described(worker, target=f"127.0.0.1:{server.server_port}", job="serve"):
            yield
    finally:
        server.shutdown()
        server.server_close()
        if os.getppid() != parent_pid:
            with suppress(OSError):
                worker.parent.rmdir()


def _at_port(settings: Settings, process: str, port: int) -> AbstractContextManager[None]:
    """Write down where a process shows its metrics, under a name that no other of its kind has.

    The data directory may be shared: by several aggregators, by containers.
    """
    if settings.member:
        path = path_of(settings.data_dir, f"{process}-{settings.member}")
    else:
        name = f"{process}-{port}" if process == "serve" else process
        path = free_path(settings.data_dir, name, port)
    target = wiring.url(settings.host, port).removeprefix("http://")
    return described(path, target=target, job=process)


def _run_loops(
    loops: Mapping[str, Callable[[threading.Event], None]], stop: threading.Event
) -> None:
    """Run loops in threads until `stop`; when one fails the process ends, to be restarted."""
    failed: list[str] = []

    def guarded(name: str, loop: Callable[[threading.Event], None]) -> None:
        try:
            loop(stop)
        except Exception:
            log.exception("loop_failed", loop=name)
            failed.append(name)
            stop.set()
            raise

    threads = [
        threading.Thread(target=guarded, args=(name, loop), name=name)
        for name, loop in loops.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise CommandFailed(f"{', '.join(failed)} failed; see the log above")
