"""Where torch computes, and that it computes the same each time."""

import torch
from threadpoolctl import threadpool_limits


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is CUDA where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def compute_deterministically(device: torch.device, threads: int) -> None:
    """Fix what would make two runs differ: the number of threads and order-dependent kernels.

    On the CPU equal inputs then give equal bits. On CUDA results agree closely but not bit for bit.
    These are settings of the whole process.

    Args:
        device: where training runs.
        threads: of torch and numpy on the CPU, at least 1. Where other work runs beside them, two
            that wait for each other take five times as long.
    """
    torch.set_num_threads(threads)
    threadpool_limits(threads, user_api="blas")
    # The same switch as `use_deterministic_algorithms`, which also loads torch's compiler: six
    # seconds at each start that a restarted trainer would not learn in.
    torch.set_deterministic_debug_mode("error" if device.type == "cpu" else "default")
