"""A trainer in a process of its own that kills itself at a named point: `FOLDER POINT TIMES`."""

import os
import signal
import sys
from pathlib import Path

from policy.registry import Registry
from streams.local import LocalLog
from trainer.learner_settings import LearnerSettings
from trainer.loop import Trainer
from trainer.settings import TrainerSettings


def main(root: Path, point: str, times: int) -> None:
    left = [times]

    def reached(name: str) -> None:
        left[0] -= name == point
        if name == point and left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def clock() -> int:
        return 2_000_000

    trainer = Trainer(
        LocalLog(root / "log", clock=clock),
        Registry(root / "registry", clock=clock),
        root / "checkpoints",
        clock=clock,
        settings=TrainerSettings(
            poll_seconds=0.0,
            learner=LearnerSettings(batch_banners=16, device="cpu", threads=1),
        ),
        crash_point=reached,
    )
    while trainer.step():
        pass
    trainer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
