"""TensorBoard through torch's own writer: one curve per fit, plots and texts of the run."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from darkcovid.core.credentials import without_credentials
from darkcovid.core.errors import UsageError

FOLDER = "tensorboard"


class TensorBoardTracker:
    """A `Tracker` that writes event files for `tensorboard --logdir runs`.

    Args:
        folder: Where they go, in a folder called as the run; None: `tensorboard` in the run's own.
    """

    def __init__(self, folder: str | None = None):
        self.folder = folder
        self.root, self.where = Path(), ""
        self.writers: dict[str, SummaryWriter] = {}

    def begin(self, run: Path, params: Mapping[str, str]) -> None:
        """As `Tracker.begin`.

        Args:
            run: Its folder.
            params: The resolved recipe by dotted key.

        Raises:
            UsageError: The log folder is a URL.
        """
        if self.folder is not None and "://" in self.folder:
            raise UsageError(f"--tracking-uri {without_credentials(self.folder)}: TensorBoard writes into a folder; name one")
        self.root = run / FOLDER if self.folder is None else Path(self.folder) / run.name
        self.where = f"tensorboard --logdir {self.root}"
        table = "\n".join(["| key | value |", "|---|---|", *(f"| {key} | `{value}` |" for key, value in params.items())])
        self._writer("").add_text("recipe", table)

    def epoch(self, fit: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """As `Tracker.epoch`.

        Args:
            fit: `arm`, or `arm/fold1-seed7`.
            epoch: From 1.
            metrics: Of it.
        """
        for name, value in metrics.items():
            self._writer(fit).add_scalar(name, value, epoch)
        self._writer(fit).flush()

    def finish(self, arms: Mapping[str, Mapping[str, float]], plots: Mapping[str, Path], texts: Mapping[str, str]) -> None:
        """As `Tracker.finish`.

        Args:
            arms: Final metrics of each arm.
            plots: PNG files by name.
            texts: More files by name; TensorBoard shows the comparison.
        """
        for arm, metrics in arms.items():
            for name, value in metrics.items():
                self._writer(arm).add_scalar(f"final/{name}", value, 0)
        for name, path in plots.items():
            with Image.open(path) as image:
                self._writer("").add_image(name, np.asarray(image.convert("RGB")), dataformats="HWC")
        self._writer("").add_text("comparison", f"```\n{texts.get('comparison.json', '')[:20000]}\n```")

    def close(self, failed: bool) -> None:
        """As `Tracker.close`.

        Args:
            failed: Unused.
        """
        for writer in self.writers.values():
            writer.close()

    def _writer(self, fit: str) -> SummaryWriter:
        if fit not in self.writers:
            self.writers[fit] = SummaryWriter(str(self.root / fit))
        return self.writers[fit]
