"""Known noise of libraries is silenced; every other warning is shown, in one line.

Deprecations are for the libraries' own developers. What concerns a user's numbers (NumPy's overflow, scikit-learn's convergence)
is never on this list.
"""

import logging
import os
import sys
import warnings

LIBRARIES = (
    *("captum", "fastai", "fastcore", "fastprogress", "fasttransform", "pandas", "plum", "pyspark"),
    *("segmentation_models_pytorch", "timm", "torch", "torchvision"),
)
DEPRECATIONS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
KNOWN = (
    (r"Setting (forward, )?backward hooks", UserWarning),  # captum, on every use
    (r"Initializing zero-element tensors is a no-op", UserWarning),  # torch, of a network that is then refused
    (r"PySpark does not yet fully support pandas", FutureWarning),
    (r"IProgress not found", Warning),  # tqdm, in a notebook without ipywidgets
    (r".*pin_memory.* no accelerator is found", UserWarning),  # torch, where there is no GPU
)


def silence_known_warnings() -> None:
    """`ignore_known_warnings`, and show other warnings in one line on stderr: for a command, which is alone in its process."""
    ignore_known_warnings()
    warnings.showwarning = _show


def ignore_known_warnings() -> None:
    """Ignore LIBRARIES' deprecations and the messages in KNOWN, and torch's log chatter, in this process."""
    modules = rf"({'|'.join(LIBRARIES)})(\.|$)"
    for category in DEPRECATIONS:
        warnings.filterwarnings("ignore", category=category, module=modules)
    for message, category in KNOWN:
        warnings.filterwarnings("ignore", message=message, category=category)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler looks for a GPU and says so when there is none
    logging.getLogger("torch").setLevel(logging.ERROR)


def _show(message, category, filename, lineno, file=None, line=None) -> None:
    text = " ".join(str(message).split())
    kind = "" if category in (UserWarning, FutureWarning) else f" ({category.__name__})"
    print(f"warning: {text}{kind}", file=file or sys.stderr)
