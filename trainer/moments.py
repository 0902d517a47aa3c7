"""Adam's memory by parameter name, so that checkpoints and growing catalogues can carry it."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Moments = dict[str, npt.NDArray[Any]]
_PARTS: Final = ("exp_avg", "exp_avg_sq")


def read_moments(optimiser: torch.optim.Adam, policy: nn.Module) -> Moments:
    """Return a copy of both moments of every parameter, and the steps taken.

    Returns:
        "exp_avg/NAME" and "exp_avg_sq/NAME" in the parameter's shape, float32, and "steps" (1,).
        Without steps there are no moments.
    """
    found: Moments = {}
    for name, parameter in policy.named_parameters():
        state = optimiser.state[parameter]
        for part in _PARTS:
            if part in state:
                found[f"{part}/{name}"] = state[part].cpu().numpy().copy()
        found["steps"] = np.array([float(state.get("step", 0.0))], np.float32)
    return found


def load_moments(optimiser: torch.optim.Adam, policy: nn.Module, moments: Moments) -> None:
    """Put moments (from `read_moments`) into an optimiser; rows they do not know start at zero."""
    optimiser.state.clear()
    for name, parameter in policy.named_parameters():
        if f"exp_avg/{name}" not in moments:
            continue
        state: dict[str, torch.Tensor] = {
            "step": torch.tensor(float(moments["steps"][0]), device=parameter.device)
        }
        for part in _PARTS:
            known = torch.from_numpy(moments[f"{part}/{name}"])
            state[part] = torch.zeros_like(parameter)
            state[part][: len(known)] = known.to(parameter.device)
        optimiser.state[parameter] = state
