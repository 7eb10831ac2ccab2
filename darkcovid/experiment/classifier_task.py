"""An arm that trains a classifier: its inputs, its fit, and the scores of its predictions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from darkcovid.audits.data_audit import normalizer_facts
from darkcovid.audits.feature_distance import (
    FEATURE_DISTANCE,
    MAX_TRAINING_IMAGES,
    FeatureDistance,
    collect_features,
    fit_feature_distance,
    image_features,
)
from darkcovid.audits.gradcam import GradCamResult, gradcam_lung_overlap, lung_areas
from darkcovid.audits.occlusion import SHORTCUT_PREDICTIONS, occlusion_metrics, occlusion_predictions
from darkcovid.audits.source_separability import source_separability
from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device
from darkcovid.core.io import save_png, write_text
from darkcovid.core.log import logger
from darkcovid.core.slow_progress import slow_step
from darkcovid.data.cohort import Cohort
from darkcovid.data.resize import Size
from darkcovid.data.splits import evenly_spaced, source_name
from darkcovid.evaluation.evaluate import EXTERNAL, averaged_views, evaluate
from darkcovid.evaluation.results import ArmMetrics, SourceSeparability
from darkcovid.experiment.artifacts import gradcam_gallery, prediction_table, rejected_mask_gallery, save_weights, write_split
from darkcovid.experiment.explained_images import ExplainedImages, explain_examples
from darkcovid.experiment.train_arm import FitJob, ScoredFit
from darkcovid.models.weights import initial_weights
from darkcovid.recipe import AUDIT
from darkcovid.report.plots import plot_predictions, plot_source_map
from darkcovid.report.several_explanations import EXPLANATIONS
from darkcovid.report.thumbnails import MAX_THUMBNAILS, THUMBNAILS, thumbnail, write_thumbnails
from darkcovid.training.classifier import FittedClassifier
from darkcovid.training.fit import FitOptions
from darkcovid.vision.arm_inputs import ArmInputs
from darkcovid.vision.learner import classifier_learner

BLOCK = 1024  # images whose pixels are in memory at once


@dataclass(frozen=True)
class ClassifierTask:
    """An `ArmTask`: the classifier of `inputs`, made of the images of `cohort`."""

    inputs: ArmInputs
    cohort: Cohort

    @property
    def size(self) -> Size:
        """(height, width) of the network's input in pixels."""
        return self.inputs.size

    @property
    def rejections(self) -> tuple[str | None, ...]:
        """Why each image's lung mask was rejected; None where it was accepted, or none was made."""
        return self.inputs.lungs.reasons if self.inputs.lungs else (None,) * len(self.cohort)

    def write_inputs(self, job: FitJob) -> None:
        """`split.csv`, and a plot of the images whose lung masks were rejected."""
        write_split(job.folder, self.cohort, self.rejections)
        if self.inputs.lungs and any(self.rejections):
            save_png(rejected_mask_gallery(self.cohort, self.inputs.lungs), job.folder / "plots" / "untrusted_lungs.png")

    def fit(self, job: FitJob, compute: Device, options: FitOptions) -> FittedClassifier:
        """Train, and predict every image of the cohort.

        Args:
            job: Which fit.
            compute: Device and precision.
            options: Checkpoint, resuming and callbacks.

        Returns:
            The fit and its probabilities.
        """
        recipe, cohort = job.recipe, self.cohort
        labeled = cohort.with_shuffled_labels(recipe.training.seed) if recipe.data.shuffle_labels else cohort
        learner = classifier_learner(recipe, labeled, self.inputs.pixels, compute, self.inputs.areas)
        began = initial_weights(learner.model)
        if began is not None and compute.distributed.is_main:
            logger.info("%s: %s", job.name, began)
        return learner.fit_recipe(options)

    def score(self, job: FitJob, compute: Device, result: FittedClassifier) -> ScoredFit:
        """Metrics of all sets, external ones included, and of the shortcut audit; writes predictions, weights and plots.

        Args:
            job: Which fit.
            compute: Device and precision of the audit.
            result: What `fit` returned.

        Returns:
            Metrics, and what the audit took.
        """
        recipe, folder, inputs, cohort = job.recipe, job.folder, self.inputs, self.cohort
        network = result.fitted.learner.model
        features = partial(image_features, network, result.normalizer, compute=compute)
        with slow_step(f"{job.name}: features of images"):
            distance, scores, separability = self._feature_audit(features, folder)
        distance.save(folder / FEATURE_DISTANCE)
        with slow_step(f"{job.name}: external sets"):
            external = list(self._predict_external(job, result, distance))
        own = prediction_table(cohort, result.probabilities).assign(ood_score=scores)
        if inputs.lungs is not None:
            own = own.assign(lungs_rejected=(~inputs.lungs.trusted).astype(int))
        if recipe.data.split.method == "leave_source_out":
            own = own.assign(source=self._sources())
        predictions = pd.concat([own, *external])
        with slow_step(f"{job.name}: metrics and their intervals"):
            metrics = evaluate(predictions, list(cohort.classes))
        metrics = replace(
            metrics,
            external={each.of.name: each.annotate(metrics.external[each.of.name]) for each in inputs.external},
            tta=averaged_views(cohort, result.averaged),
            source_separability=separability,
            normalizer=normalizer_facts(recipe.data.normalize, result.normalizer, inputs.pixels, cohort.train),
            untrusted_lungs=sum(reason is not None for reason in self.rejections),
        )
        save_weights(network, recipe, cohort, inputs.pixels, result.normalizer, folder / "weights.safetensors")
        write_text(folder / "predictions.csv", predictions.to_csv(index=False, float_format="%.9g"))
        with slow_step(f"{job.name}: plots"):
            plot_predictions(predictions, metrics, cohort.classes, folder / "plots")
        metrics, audit_seconds = self._audit_shortcuts(job, compute, result, metrics)
        return ScoredFit(
            result.fitted,
            metrics,
            prepare_seconds=inputs.prepare_seconds,
            segment_seconds=inputs.segment_seconds,
            audit_seconds=audit_seconds,
            prepared_in_this_run=inputs.fresh,
        )

    def _audit_shortcuts(
        self, job: FitJob, compute: Device, result: FittedClassifier, metrics: ArmMetrics
    ) -> tuple[ArmMetrics, float | None]:
        """`metrics` with those without lungs and with Grad-CAM's, and the seconds that took; unchanged without such an audit."""
        inputs, cohort = self.inputs, self.cohort
        if inputs.areas is None or not job.recipe.judges_shortcuts:
            self._write_thumbnails(job)
            return metrics, None
        started, network = perf_counter(), result.fitted.learner.model
        with slow_step(f"{job.name}: predicting with the lungs hidden"):
            hidden = occlusion_predictions(result.predict, inputs.pixels, inputs.areas, cohort)
        write_text(job.folder / SHORTCUT_PREDICTIONS, hidden.to_csv(index=False, float_format="%.9g"))
        with slow_step(f"{job.name}: Grad-CAM"):
            gradcam = gradcam_lung_overlap(
                network, result.normalizer, inputs.pixels, result.probabilities, inputs.areas, cohort, compute
            )
        explained = None
        if job.first and not job.name.startswith(AUDIT):
            with slow_step(f"{job.name}: explanations of a few images"):
                explained = explain_examples(network, result.normalizer, inputs.pixels, result.probabilities, cohort, compute)
            write_text(job.folder / EXPLANATIONS, explained.table.to_csv(index=False, float_format="%.6f"))
        self._write_thumbnails(job, gradcam, explained)
        write_text(job.folder / "gradcam.csv", gradcam.table.to_csv(index=False, float_format="%.6f"))
        save_png(gradcam_gallery(gradcam, inputs.pixels, cohort.classes), job.folder / "plots" / "gradcam.png")
        audited = replace(metrics, audited=True, shortcuts=occlusion_metrics(hidden, cohort.classes), attention=gradcam.summary)
        return audited, perf_counter() - started

    def _write_thumbnails(
        self, job: FitJob, gradcam: GradCamResult | None = None, explained: ExplainedImages | None = None
    ) -> None:
        """`thumbnails.json`: validation and test images as the network saw them, with lungs and heatmaps where they are known."""
        if job.name.startswith(AUDIT):
            return
        with slow_step(f"{job.name}: thumbnails"):
            write_thumbnails(job.folder / THUMBNAILS, self._thumbnails(gradcam, explained))

    def _thumbnails(self, gradcam: GradCamResult | None, explained: ExplainedImages | None) -> list[tuple[str, dict[str, Any]]]:
        """Each image's name and thumbnail."""
        cohort, inputs = self.cohort, self.inputs
        rows = evenly_spaced(np.flatnonzero(cohort.valid | cohort.test), MAX_THUMBNAILS)
        rows = rows if explained is None else np.union1d(rows, explained.rows)
        places = {} if gradcam is None else {int(row): place for place, row in enumerate(gradcam.rows)}
        named = []
        for row in rows:
            pixels = np.asarray(inputs.pixels[row])
            areas = inputs.areas
            lungs = lung_areas(areas, np.array([row]))[0] if areas is not None and areas.trusted[row] else None
            heat = gradcam.maps[places[row]] if gradcam is not None and row in places else None
            others = None if explained is None else explained.of(row)
            named.append((cohort.rows.path[row], thumbnail(pixels if pixels.ndim == 2 else pixels[0], lungs, heat, others)))
        return named

    def _feature_audit(
        self, features: Callable[[StoredArray], np.ndarray], folder: Path
    ) -> tuple[FeatureDistance, np.ndarray, SourceSeparability | None]:
        """What new images are compared with, (n,) scores of the cohort's images, nan of the training set's, and how well features
        tell the source; draws the features of several sources."""
        cohort, pixels = self.cohort, self.inputs.pixels
        rows = evenly_spaced(np.flatnonzero(cohort.train), MAX_TRAINING_IMAGES)
        unseen = np.flatnonzero(cohort.valid | cohort.test)
        blocks = [unseen[start : start + BLOCK] for start in range(0, len(unseen), BLOCK)]
        of_unseen = np.concatenate([features(pixels[block]) for block in blocks])
        distance = fit_feature_distance(features(pixels[rows]), of_unseen[cohort.valid[unseen]])
        scores = np.full(len(cohort), np.nan)
        scores[unseen] = distance.scores(of_unseen)
        sources = self._sources()[unseen]
        if len(set(sources)) < 2:
            return distance, scores, None
        classes = np.array(cohort.classes)[cohort.labels[unseen]]
        plot_source_map(of_unseen, classes, sources, folder / "plots" / "sources.png")
        return distance, scores, source_separability(of_unseen, classes, sources, cohort.patients.to_numpy()[unseen])

    def _sources(self) -> np.ndarray:
        """(n,) source of each image; '' where the manifest has no such column."""
        column = source_name(self.inputs.recipe.data.split)
        return self.cohort.rows[column].to_numpy() if column in self.cohort.rows else np.full(len(self.cohort), "")

    def _predict_external(self, job: FitJob, result: FittedClassifier, distance: FeatureDistance) -> Iterator[pd.DataFrame]:
        """The predictions of each external set, under its name as the set. Each use of one is logged."""
        for external in self.inputs.external:
            job.directory.event("external", arm=job.name, set=external.of.name)
            with collect_features(result.fitted.learner.model) as features:
                table = prediction_table(external.of.cohort, result.predict(external.pixels))
            if external.rejected is not None:
                table = table.assign(lungs_rejected=external.rejected.astype(int))
            yield table.assign(side=EXTERNAL + external.of.name, ood_score=distance.scores(features()))
