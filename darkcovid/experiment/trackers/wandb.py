"""Weights & Biases: one run per run folder, with the curves of every fit. Without an account it is written down offline, for
`wandb sync`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

PROJECT = "darkcovid"
NOTHING_ELSE: dict[str, Any] = {  # of this machine, its user and the folder that one works in
    "console": "off",
    "disable_git": True,
    "host": "",
    "save_code": False,
    "silent": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


class WandbTracker:
    """A `Tracker` that writes a run of Weights & Biases, into `wandb` in the run's folder. WANDB_MODE, WANDB_PROJECT and
    WANDB_API_KEY are heeded; without a key it works offline.

    Args:
        uri: A server of one's own; None: theirs.
    """

    def __init__(self, uri: str | None = None):
        self.uri = uri
        self.run: Any = None
        self.where = ""
        self.fits: set[str] = set()

    def begin(self, run: Path, params: Mapping[str, str]) -> None:
        """As `Tracker.begin`.

        Args:
            run: Its folder.
            params: The resolved recipe by dotted key.
        """
        own: dict[str, Any] = {} if self.uri is None else {"base_url": self.uri}
        has_key = os.environ.get("WANDB_MODE") or wandb.login(host=self.uri, prompt=False, verify=False)
        self.run = wandb.init(
            dir=str(run),
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=params.get("name"),
            name=run.name,
            id=run.name,
            resume="allow",
            config=dict(params),
            mode=None if os.environ.get("WANDB_MODE") else "online" if has_key else "offline",
            settings=wandb.Settings(**NOTHING_ELSE, **own),
        )

        offline = self.run.settings.mode in ("offline", "dryrun")
        self.where = f"wandb sync {Path(self.run.dir).parent}" if offline else str(self.run.url)

    def epoch(self, fit: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """As `Tracker.epoch`.

        Args:
            fit: `arm`, or `arm/fold1-seed7`.
            epoch: From 1.
            metrics: Of it.
        """
        if fit not in self.fits:
            self.fits.add(fit)
            self.run.define_metric(f"{fit}/*", step_metric=f"{fit}/epoch")
        self.run.log({f"{fit}/epoch": epoch} | {f"{fit}/{name}": value for name, value in metrics.items()})

    def finish(self, arms: Mapping[str, Mapping[str, float]], plots: Mapping[str, Path], texts: Mapping[str, str]) -> None:
        """As `Tracker.finish`.

        Args:
            arms: Final metrics of each arm.
            plots: PNG files by name.
            texts: More files by name.
        """
        for arm, metrics in arms.items():
            self.run.summary.update({f"{arm}/{name}": value for name, value in metrics.items()})
        self.run.log({name: wandb.Image(str(path)) for name, path in plots.items()})
        for name, text in texts.items():
            (Path(self.run.dir) / name).write_text(text, encoding="utf-8")

    def close(self, failed: bool) -> None:
        """As `Tracker.close`.

        Args:
            failed: Whether the run ended before it was done.
        """
        if self.run is not None:
            self.run.finish(exit_code=int(failed))
