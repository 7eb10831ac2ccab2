"""When a fit has to stop: at the end of a batch when it is told to, and with advice when memory is exhausted."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from darkcovid.core.device import Device
from darkcovid.core.errors import DarkCovidError
from darkcovid.training.callbacks import PlainErrorsCallback

SIGNALS = (signal.SIGINT, signal.SIGTERM)
TOGETHER = 1.0  # seconds in which signals are one request
OOM_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")


class InterruptCallback(PlainErrorsCallback):
    """Ends the fit after a batch once it was told to."""

    order = 80

    def __init__(self):
        self.told = False

    def after_batch(self):
        if self.told:
            raise KeyboardInterrupt


@contextmanager
def defer_signals_to_batch_end() -> Iterator[InterruptCallback]:
    """A context in which SIGINT and SIGTERM wait for the end of a batch, so that nothing is left half done; a later one does not.

    Those that come within a second of the first are one request, since a terminal, `timeout` and Slurm signal all processes and
    `run --jobs` passes the signal on to its fits. Only the main thread can ask the system for that; elsewhere, and where it is
    ignored, a signal stays as it is.

    Yields:
        The callback that ends the fit.

    Raises:
        KeyboardInterrupt: A signal came.
    """
    stopping, before = InterruptCallback(), {}
    came = 0.0

    def tell(number: int, frame: object) -> None:
        nonlocal came
        if stopping.told and time.monotonic() - came > TOGETHER:
            raise KeyboardInterrupt
        if not stopping.told:
            stopping.told, came = True, time.monotonic()

    if threading.current_thread() is threading.main_thread():
        heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, tell) for number in heard}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopping.told:
        raise KeyboardInterrupt


@contextmanager
def explain_oom(compute: Device, batch_size: int) -> Iterator[None]:
    """A context in which exhausted memory becomes an error that says which batch size to try.

    Args:
        compute: The device, for the message.
        batch_size: Images.

    Yields:
        Nothing.

    Raises:
        DarkCovidError: Memory is exhausted.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        exhausted = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in OOM_MESSAGES)
        if not exhausted:
            raise
        smaller = max(2, batch_size // 2)
        advice = f"try --set training.batch_size={smaller}" if smaller < batch_size else "use smaller images"
        raise DarkCovidError(f"out of memory on {compute.device.type} with batches of {batch_size}; {advice}") from None
