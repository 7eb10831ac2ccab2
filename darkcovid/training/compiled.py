"""Fitting a compiled network: torch.compile. Never by default: on CPUs it costs more than it saves. Its mode `reduce-overhead`
(CUDA graphs) is not used: DarkCovidNet's training step fails in it (torch 2.11, H200)."""

import getpass
import os
import tempfile
from pathlib import Path

import torch
from torch import nn

from darkcovid.training.callbacks import PlainErrorsCallback

CACHE_DIR, TORCHS_OWN = "TORCHINDUCTOR_CACHE_DIR", "torchinductor_"


class TorchCompileCallback(PlainErrorsCallback):
    """The network is compiled while it is fitted and plain again afterwards, for whoever looks into its layers. Its weights and
    their names stay as they are."""

    order = -90

    def before_fit(self):
        use_cache_of_this_processor()
        self.model.compile()

    def after_fit(self):
        uncompile(self.model)


def use_cache_of_this_processor() -> None:
    """Let torch keep what it compiles in a folder of its own for each instruction set: kernels of another one, as
    ATEN_CPU_CAPABILITY or a folder shared by several machines leave them, are found under the same names, and compute nonsense.

    TORCHINDUCTOR_CACHE_DIR stays where a person set it. Torch itself sets it to its own default as soon as anything asks for it.
    """
    kind = f"darkcovid-inductor-{getpass.getuser()}-{torch.backends.cpu.get_cpu_capability().lower()}"
    if Path(os.environ.get(CACHE_DIR, TORCHS_OWN)).name.startswith(TORCHS_OWN):
        os.environ[CACHE_DIR] = str(Path(tempfile.gettempdir(), kind))


def uncompile(network: nn.Module) -> None:
    """Undo `Module.compile`, for which torch has no public way."""
    network._compiled_call_impl = None
