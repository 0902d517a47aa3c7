"""Adam with its memory by parameter name, so that checkpoints and growing catalogues can carry it.

Kingma and Ba 2015, "Adam: a method for stochastic optimization", arXiv:1412.6980. torch's own
optimiser class loads torch's compiler when it is made, seconds in which a restarted trainer would
not learn; its functional form, used here, does not.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.optim.adam import adam

Moments = dict[str, npt.NDArray[Any]]
_EPSILON: Final = 1e-8


class Adam:
    """Steps of Adam over named parameters; one without a gradient stays as it is.

    Args:
        parameters: (name, parameter) pairs.
        betas: how much of the first and of the second moment each step keeps.
    """

    def __init__(
        self, parameters: Iterable[tuple[str, Tensor]], *, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        self._parameters = dict(parameters)
        self._betas = betas
        self._first = {name: torch.zeros_like(p) for name, p in self._parameters.items()}
        self._second = {name: torch.zeros_like(p) for name, p in self._parameters.items()}
        self._steps = {
            name: torch.zeros((), device=p.device) for name, p in self._parameters.items()
        }

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move every parameter that has a gradient, at learning rate `rate`."""
        moved = {n: p.grad for n, p in self._parameters.items() if p.grad is not None}
        adam(
            [self._parameters[name] for name in moved],
            list(moved.values()),
            [self._first[name] for name in moved],
            [self._second[name] for name in moved],
            [],
            [self._steps[name] for name in moved],
            fused=True,
            amsgrad=False,
            beta1=self._betas[0],
            beta2=self._betas[1],
            lr=rate,
            weight_decay=0.0,
            eps=_EPSILON,
            maximize=False,
        )

    def moments(self) -> Moments:
        """Return a copy of both moments of every parameter, and the steps taken.

        Returns:
            "exp_avg/NAME" and "exp_avg_sq/NAME" in the parameter's shape, float32; "steps" (1,).
            Before its first step a parameter has no moments.
        """
        found: Moments = {}
        steps = 0.0
        for name, taken in self._steps.items():
            if float(taken) == 0.0:
                continue
            steps = max(steps, float(taken))
            found[f"exp_avg/{name}"] = self._first[name].cpu().numpy().copy()
            found[f"exp_avg_sq/{name}"] = self._second[name].cpu().numpy().copy()
        return found | {"steps": np.array([steps], np.float32)}

    def load(self, moments: Moments) -> None:
        """Continue from moments (`moments()` gave them); rows they do not know start at zero."""
        for name in self._parameters:
            known = f"exp_avg/{name}" in moments
            self._steps[name].fill_(float(moments["steps"][0]) if known else 0.0)
            for part, kept in (("exp_avg", self._first), ("exp_avg_sq", self._second)):
                kept[name].zero_()
                if known:
                    rows = torch.from_numpy(moments[f"{part}/{name}"])
                    kept[name][: len(rows)] = rows.to(kept[name].device)
