"""Harm for the processes of a ring under test: crash points, a wrong clock, a bug.

Python imports this before anything else where its folder is on PYTHONPATH. It does nothing unless
QUINTET_HARM names a folder; there, files are orders:

    KIND.POINT      the next process of that kind that passes the crash point kills itself; with
                    the words `stop PID` in it: that process stops itself (SIGSTOP)
    KIND.clock      milliseconds that its clock is wrong by; may change, and is seen soon after
    KIND.blind      while it is there, that process cannot decode events
    serve.eager     a server looks for new weights a hundred times a second
"""

import dataclasses
import functools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

_LOOK_SECONDS = 0.05
KINDS = ("serve", "aggregate", "train", "console")


def _install(orders: Path, kind: str) -> None:
    import cli.clock

    cli.clock.now_ms = _shifted(cli.clock.now_ms, orders / f"{kind}.clock")
    reached = functools.partial(_reached, orders, kind)
    if kind == "aggregate":
        import rewards.aggregator
        import rewards.work

        _give_crash_points(rewards.aggregator.Aggregator, reached)
        _make_blind(rewards.work.codec, orders / "aggregate.blind")
        if os.environ.get("QUINTET_STREAMS") == "kafka":
            _break_transactions(reached)
    elif kind == "train":
        import policy.registry
        import policy.snapshot
        import trainer.loop

        _give_crash_points(trainer.loop.Trainer, reached)
        _break_saving(policy.snapshot, reached)
    elif kind == "serve" and (orders / "serve.eager").exists():
        import service.watcher

        _make_eager(service.watcher.Watcher)


def _reached(orders: Path, kind: str, point: str) -> None:
    order = orders / f"{kind}.{point}"
    try:
        told = order.read_text()
        if told and told != f"stop {os.getpid()}":
            return
        order.unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGSTOP if told else signal.SIGKILL)


def _shifted(now_ms: Any, order: Path) -> Any:
    offset_ms, looked_at = 0, float("-inf")

    def shifted() -> int:
        nonlocal offset_ms, looked_at
        # A server asks several times a banner: looking each time would make it another server.
        if time.monotonic() - looked_at > _LOOK_SECONDS:
            looked_at = time.monotonic()
            try:
                offset_ms = int(order.read_text() or 0)
            except FileNotFoundError:
                offset_ms = 0
        return int(now_ms()) + offset_ms

    return shifted


def _give_crash_points(owner: Any, reached: Any) -> None:
    made = owner.__init__

    @functools.wraps(made)
    def make(self: Any, *args: Any, **named: Any) -> None:
        made(self, *args, **({"crash_point": reached} | named))

    owner.__init__ = make


def _make_blind(codec: Any, order: Path) -> None:
    from schemas.errors import SchemaError

    decode = codec.decode_event

    def decode_event(value: Any) -> Any:
        if b'"type":"click"' in (value or b"") and order.exists():
            raise SchemaError("a bug that will be mended")
        return decode(value)

    codec.decode_event = decode_event


def _break_transactions(reached: Any) -> None:
    """Give a transaction of Kafka crash points between its steps."""
    from streams.kafka.producer import BoundedProducer

    offsets, commit = BoundedProducer.send_offsets_within, BoundedProducer.commit_within

    def send_offsets_within(self: Any, *args: Any, **named: Any) -> None:
        reached("after_produce")
        offsets(self, *args, **named)
        reached("after_offsets")

    def commit_within(self: Any, *args: Any, **named: Any) -> None:
        commit(self, *args, **named)
        reached("after_transaction")

    BoundedProducer.send_offsets_within = send_offsets_within  # type: ignore[method-assign]
    BoundedProducer.commit_within = commit_within  # type: ignore[method-assign]


def _make_eager(watcher: Any) -> None:
    made = watcher.__init__

    def make(self: Any, *args: Any, settings: Any, **named: Any) -> None:
        eager = dataclasses.replace(settings, interval_seconds=0.01)
        made(self, *args, settings=eager, **named)

    watcher.__init__ = make


def _break_saving(snapshot: Any, reached: Any) -> None:
    """Crash between a snapshot's two files, and with a checkpoint written by half."""
    write, replace = snapshot._write, Path.replace

    def write_one(path: Path, content: bytes) -> None:
        write(path, content)
        reached(f"wrote_{path.stem}")

    def replace_one(self: Path, target: Any) -> Any:
        if self.suffix == ".tmp" and "checkpoints" in self.parts:
            whole = self.read_bytes()
            os.truncate(self, len(whole) // 2)
            reached("mid_save")
            self.write_bytes(whole)
        return replace(self, target)

    snapshot._write, Path.replace = write_one, replace_one  # type: ignore[method-assign]


def _kind() -> str | None:
    line = sys.orig_argv
    if "cli.main" not in line:
        return None
    command = line[line.index("cli.main") + 1 :][:1]
    return command[0] if command and command[0] in KINDS else None


if (_folder := os.environ.get("QUINTET_HARM")) and (_this := _kind()):
    _install(Path(_folder), _this)
