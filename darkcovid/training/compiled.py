"""Fitting a compiled network: torch.compile, on a GPU with CUDA graphs. Never by default: on CPUs it costs more than it saves."""

import torch
from torch import nn

from darkcovid.core.device import Device
from darkcovid.training.callbacks import PlainErrorsCallback


class TorchCompileCallback(PlainErrorsCallback):
    """The network is compiled while it is fitted and plain again afterwards, for whoever looks into its layers. Its weights and
    their names stay as they are."""

    order = -90

    def __init__(self, compute: Device):
        self.mode = "reduce-overhead" if compute.device.type == "cuda" else "default"

    def before_fit(self):
        self.model.compile(mode=self.mode)

    def before_batch(self):
        torch.compiler.cudagraph_mark_step_begin()

    def after_fit(self):
        uncompile(self.model)


def uncompile(network: nn.Module) -> None:
    """Undo `Module.compile`, for which torch has no public way."""
    network._compiled_call_impl = None
