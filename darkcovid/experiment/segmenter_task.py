"""An arm that trains a lung segmenter: its fit, and the scores of its masks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darkcovid.core.device import Device
from darkcovid.core.io import write_text
from darkcovid.data.cohort import Cohort
from darkcovid.data.resize import Size
from darkcovid.evaluation.lung_masks import score_lungs, score_table, summarize_masks
from darkcovid.experiment.artifacts import write_split
from darkcovid.experiment.train_arm import FitJob, ScoredFit
from darkcovid.lungs.unet import INPUT_SIZE, save_segmenter
from darkcovid.recipe import Lungs
from darkcovid.training.fit import FitOptions
from darkcovid.training.segmenter import FittedSegmenter, fit_segmenter


@dataclass(frozen=True)
class SegmenterTask:
    """An `ArmTask`: the lung segmenter of the masks of `cohort`; decoded images are kept in `cache_dir`."""

    cohort: Cohort
    cache_dir: Path

    @property
    def size(self) -> Size:
        """(height, width) of the network's input in pixels."""
        return INPUT_SIZE

    def write_inputs(self, job: FitJob) -> None:
        """`split.csv`."""
        write_split(job.folder, self.cohort, (None,) * len(self.cohort))

    def fit(self, job: FitJob, compute: Device, options: FitOptions) -> FittedSegmenter:
        """Train, and segment the validation set.

        Args:
            job: Which fit.
            compute: Device and precision.
            options: Checkpoint, resuming and callbacks.

        Returns:
            The fit and its masks.
        """
        return fit_segmenter(job.recipe, self.cohort, compute, self.cache_dir, options)

    def score(self, job: FitJob, compute: Device, result: FittedSegmenter) -> ScoredFit:
        """Overlap of the validation set's masks with the true ones; writes the weights and each image's scores.

        Args:
            job: Which fit.
            compute: Unused: masks are compared on the CPU.
            result: What `fit` returned.

        Returns:
            Metrics of the masks.
        """
        save_segmenter(result.fitted.learner.model, result.normalizer, job.folder / "weights.safetensors")
        scores = score_lungs(result.predicted, result.reasons, result.truth, (job.recipe.lungs or Lungs()).margin)
        table = score_table(self.cohort.take(np.flatnonzero(self.cohort.valid)), scores)
        write_text(job.folder / "predictions.csv", table.to_csv(index=False, float_format="%.6f"))
        return ScoredFit(result.fitted, summarize_masks(scores))
