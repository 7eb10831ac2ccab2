"""Any fastai Learner of radiographs, audited: its own pipeline reads the files, and images with parts hidden go the same way."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import fastai.callback.progress  # noqa: F401 (importing gives a Learner its `no_bar`)
import numpy as np
import pandas as pd
import torch
from fastai.data.transforms import Normalize
from fastai.learner import Learner
from fastai.vision.core import PILBase
from PIL import Image
from torch import nn

from darkcovid.audits.gradcam import GradCamResult, gradcam_lung_overlap
from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device
from darkcovid.core.errors import DarkCovidError, UsageError, one_line
from darkcovid.data.cohort import Cohort
from darkcovid.data.manifest import Manifest
from darkcovid.inference.foreign.inputs import InputPolicy
from darkcovid.lungs.crop import LungRegions
from darkcovid.models.feature_layer import last_conv_layer


class LearnerModel:
    """A Learner that answers files and pixels.

    Args:
        learn: Of images and one class for each.

    Raises:
        UsageError: A Learner of something else.
    """

    source = "a fastai Learner"

    def __init__(self, learn: Learner):
        self.learn = learn
        vocab = getattr(learn.dls, "vocab", None)
        if vocab is None or not all(isinstance(name, str) for name in vocab):
            raise UsageError(
                "audit: a learner of images with one class for each is expected; this one's dls.vocab is no list of names"
            )
        self.classes = tuple(vocab)
        batch = learn.dls.one_batch()[0]
        if batch.ndim != 4:
            raise UsageError(f"audit: a learner of images is expected; its batches have the shape {tuple(batch.shape)}")
        self.channels = int(batch.shape[1])
        self.policy = InputPolicy((int(batch.shape[2]), int(batch.shape[3])), 1, "nhwc", "0..255", classes=self.classes)
        self.shape: list[int | None] = [*self.policy.size, 1]

    def score_files(self, files: Sequence[Path]) -> np.ndarray:
        """(n) files to (n, k) float64, read as the Learner reads them.

        Raises:
            UsageError: Its pipeline takes no paths.
        """
        for kind in (Path, str):
            try:
                return self._ask([kind(file) for file in files])
            except (AssertionError, AttributeError, KeyError, TypeError, IndexError) as error:
                failed = error
        raise UsageError(
            f"audit: the learner's dls.test_dl takes no paths of files ({one_line(failed)[:120]}); give a table of predictions"
        )

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """(n, h, w, 1) float32 of 0..255 to (n, k) float64."""
        kind = next((kind for kind in self.learn.dls.valid_ds.tls[0].types if _is_image(kind)), PILBase)
        pictures = [Image.fromarray(image[..., 0].round().astype(np.uint8)) for image in batch]
        return self._ask([kind.create(picture.convert("RGB")) for picture in pictures])

    def _ask(self, items: list) -> np.ndarray:
        learn = self.learn
        with learn.no_bar(), learn.no_logging():
            scores = learn.get_preds(dl=learn.dls.test_dl(items, num_workers=0))[0]
        return np.asarray(scores, np.float64)

    def trained(self, manifest: Manifest) -> np.ndarray | None:
        """(m,) bool, the manifest's images that are items of the training set; None where items are no files."""
        dataset = self.learn.dls.train_ds
        items = dataset.items.itertuples(index=False) if isinstance(dataset.items, pd.DataFrame) else dataset.items
        steps = list(dataset.tls[0].tfms) if hasattr(dataset, "tls") else []
        files = [_file_of(item, steps) for item in items]
        if not all(files):
            return None
        known = {Path(file).expanduser().resolve() for file in files if file}
        there = [manifest.locate(path) for path in manifest.rows.path]
        return np.array([file is not None and file.resolve() in known for file in there], bool)

    def explain(
        self, pixels: StoredArray, probabilities: np.ndarray, lungs: LungRegions, cohort: Cohort, compute: Device
    ) -> GradCamResult:
        """Grad-CAM, as `gradcam_lung_overlap` draws it.

        Args:
            pixels: (n, h, w) uint8.
            probabilities: (n, classes) float.
            lungs: Where the lungs are in the pixels.
            cohort: n images.
            compute: Device.

        Returns:
            Heatmaps and shares.
        """
        was = next(self.learn.model.parameters()).device
        try:
            return gradcam_lung_overlap(self.learn.model, self.normalizer, pixels, probabilities, lungs, cohort, compute)
        finally:
            self.learn.model.to(was)

    @property
    def has_convolutions(self) -> bool:
        """Whether Grad-CAM can be drawn."""
        try:
            last_conv_layer(self.learn.model)
        except (DarkCovidError, ValueError, StopIteration, IndexError):
            return False
        return True

    @property
    def normalizer(self) -> nn.Module:
        """(b, 1, h, w) in 0..1 to the network's input."""
        steps = [step for step in self.learn.dls.after_batch if isinstance(step, Normalize)]
        return _Normalizer(self.channels, steps[0].mean if steps else None, steps[0].std if steps else None)

    def __enter__(self) -> "LearnerModel":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing is left open."""


class _Normalizer(nn.Module):
    """Gray in 0..1 to equal channels, normalized."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, channels: int, mean: Any, std: Any):
        super().__init__()
        self.channels = channels
        self.register_buffer("mean", torch.zeros(1, 1, 1, 1) if mean is None else torch.as_tensor(mean).detach().clone())
        self.register_buffer("std", torch.ones(1, 1, 1, 1) if std is None else torch.as_tensor(std).detach().clone())

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.expand(-1, self.channels, -1, -1) - self.mean) / self.std


def _is_image(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, PILBase)


def _file_of(item: Any, steps: Sequence[Any]) -> str | Path | None:
    """The file that an item of a data set is, or that its first steps make of it; None where they make none."""
    for step in [None, *steps]:
        try:
            item = item if step is None else step(item)
        except (AttributeError, KeyError, TypeError, ValueError, OSError):
            return None
        if isinstance(item, (str, Path)):
            return item
        if isinstance(item, PILBase):
            return None
    return None
