"""One audit of a model from its name to its folder: opened, asked, closed, written."""

import re
from dataclasses import dataclass
from pathlib import Path

from darkcovid.audits.occlusion import SHORTCUT_PREDICTIONS
from darkcovid.core.device import get_device
from darkcovid.core.io import write_text
from darkcovid.core.log import logger
from darkcovid.data.manifest import Manifest
from darkcovid.data.predictions.options import PredictionOptions
from darkcovid.data.predictions.training_list import TrainingList
from darkcovid.experiment.audit_model import audit_model, write_pictures
from darkcovid.experiment.audit_run import AuditRun, write_audit
from darkcovid.experiment.model_gradients import MapKind
from darkcovid.inference.foreign.client import HttpModel, ProcessModel, kind_of_model
from darkcovid.inference.foreign.inputs import DeclaredInput, resolve_input

MAP_TABLES: dict[MapKind, str] = {"occlusion": "occlusion_maps.csv", "gradcam": "gradcam.csv", "gradients": "gradients.csv"}


@dataclass(frozen=True)
class AuditedModel:
    """A model as a person names it.

    Attributes:
        source: A file, module:function, or an endpoint.
        declared: What is said of its input.
        output: Which of several outputs; '': the first.
        memory_gb: That its process may have.
        seconds: That it may take for each answer.
    """

    source: str
    declared: DeclaredInput
    output: str = ""
    memory_gb: float = 8.0
    seconds: int = 600

    @property
    def name(self) -> str:
        """For a person, and a folder."""
        last = self.source.removesuffix(":predict").rstrip("/").rpartition("/")[2]
        stem = last if self.source.startswith("http") else last.rpartition(".")[0] or last
        return re.sub(r"[^\w.-]+", "_", stem).strip("._") or "model"


def audit_and_write(
    asked: AuditedModel,
    manifest: Manifest,
    options: PredictionOptions,
    train: TrainingList | None,
    device: str,
    cache_dir: Path,
    runs_dir: Path,
    controls: bool = True,
    images: bool = True,
) -> AuditRun:
    """Audit a model and write the audit's folder.

    Args:
        asked: The model.
        manifest: The images, with labels.
        options: What its outputs mean.
        train: The images that it was trained on.
        device: Of the lung U-Net.
        cache_dir: Where decoded images and masks are kept.
        runs_dir: Where the folder is made.
        controls: Whether parts of the images are hidden.
        images: Whether radiographs are shown in the report.

    Returns:
        The written audit.

    Raises:
        UsageError, DataError, DarkCovidError: As `ProcessModel`, `resolve_input` and `audit_model` do.
    """
    kind = kind_of_model(asked.source)
    if kind == "http":
        opened = HttpModel(asked.source, asked.seconds)
        about = opened.about()
    else:
        opened, about = ProcessModel(kind, asked.source, asked.output, asked.memory_gb, asked.seconds), {}
    with opened as model:
        policy = resolve_input(kind, asked.source, model.shape, asked.declared, about)
        compute = get_device(device, "fp32")
        found = audit_model(model, asked.name, policy, manifest, options, compute, cache_dir, train, controls, logger.info)

    def draw(arm: str, folder: Path) -> None:
        if arm in found.pictures:
            classes = found.audit.evidence.arms[arm].summary.classes
            write_pictures(folder / "plots", found.pictures[arm], classes, images)
            write_text(folder / SHORTCUT_PREDICTIONS, found.views[arm].to_csv(index=False))
            name = MAP_TABLES[found.pictures[arm].kind]
            write_text(folder / name, found.pictures[arm].maps.table.to_csv(index=False))

    return write_audit(found.audit, runs_dir, images, draw)
