"""fastai's Adam with torch's fused kernel: the same steps, one call for all parameters instead of ten for each."""

import torch
from fastai.optimizer import Optimizer
from torch.optim.adamw import adamw

FUSED = ("cpu", "cuda", "mps")


class FusedAdam(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as `fastai.optimizer.Adam`.

    `do_wd` of a parameter's state says whether it decays. The state of a parameter: grad_avg, sqr_avg, and step, a scalar
    tensor.

    Args:
        params: Groups of parameters.
        lr: Learning rate.
        mom: Decay of the mean of gradients.
        sqr_mom: Decay of the mean of their squares.
        eps: Added to the root of that.
        wd: Weight decay.
    """

    def __init__(self, params, lr: float, mom: float = 0.9, sqr_mom: float = 0.99, eps: float = 1e-5, wd: float = 0.01):
        super().__init__(params, [], lr=lr, mom=mom, sqr_mom=sqr_mom, eps=eps, wd=wd)

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """One step of all parameters that have a gradient. closure: unused, as in fastai's optimizers."""
        for params, hyper in zip(self.param_lists, self.hypers, strict=True):
            with_gradient = [param for param in params if param.grad is not None]
            for decays in (True, False):
                chosen = [param for param in with_gradient if self.state[param].get("do_wd", True) is decays]
                if chosen:
                    self._step(chosen, hyper, hyper["wd"] if decays else 0.0)

    def load_state_dict(self, saved: dict) -> None:
        """fastai's; each state gets its parameter's strides, since the kernel walks through both in memory's order."""
        super().load_state_dict(saved)
        for param, state in self.state.items():
            for key in ("grad_avg", "sqr_avg"):
                if key in state:
                    state[key] = torch.empty_like(param, requires_grad=False).copy_(state[key])

    def zero_grad(self) -> None:
        """Forget the gradients, so that the next backward pass writes them instead of adding to zeros."""
        for params in self.param_lists:
            for param in params:
                param.grad = None

    def _step(self, params: list[torch.Tensor], hyper: dict[str, float], decay: float) -> None:
        states = [self.state[param] for param in params]
        for param, state in zip(params, states, strict=True):
            if "step" not in state:
                state |= {key: torch.zeros_like(param) for key in ("grad_avg", "sqr_avg")}
                state["step"] = torch.zeros((), dtype=torch.float32, device=param.device)
        kind = params[0].device.type
        adamw(
            params,
            [param.grad for param in params if param.grad is not None],
            [state["grad_avg"] for state in states],
            [state["sqr_avg"] for state in states],
            [],
            [state["step"] for state in states],
            fused=kind in FUSED,
            amsgrad=False,
            beta1=float(hyper["mom"]),
            beta2=float(hyper["sqr_mom"]),
            lr=float(hyper["lr"]),
            weight_decay=float(decay),
            eps=float(hyper["eps"]),
            maximize=False,
        )
