"""Several fits of one arm, of folds or seeds, become one arm's files: each metric pooled, its mean and its deviation."""

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

from darkcovid.audits.occlusion import SHORTCUT_PREDICTIONS, aggregate_occlusion
from darkcovid.core.io import write_json, write_text
from darkcovid.data.cohort import UNSCORED
from darkcovid.evaluation.evaluate import evaluate
from darkcovid.evaluation.lung_masks import read_scores, summarize_masks
from darkcovid.evaluation.results import (
    ArmCost,
    ArmMetrics,
    AveragedMetrics,
    ClassifierFit,
    ExternalMetrics,
    FitSummary,
    LungAttention,
    MaskMetrics,
    SegmenterFit,
    SourceSeparability,
    parse_classifier_fit,
    parse_cost,
    parse_segmenter_fit,
)
from darkcovid.metrics.classification import probability_columns
from darkcovid.report.plots import plot_predictions

SUMS = (
    *("train_seconds", "data_wait_seconds", "forward_backward_seconds", "validation_seconds", "audit_seconds"),
    *("host_joules", "device_joules"),
)
PEAKS = ("peak_host_bytes", "peak_device_bytes")
MEDIANS = ("epoch_seconds", "train_images_per_second")


def aggregate_fits(folder: Path, fits: dict[str, Path], task: str) -> None:
    """Write an arm's `split.csv`, `predictions.csv`, `timing.json` and, last, `metrics.json` from the folders of its fits.

    Predictions are those of images that the fit was not trained on, each with the fit's name. `metrics.json` has the
    metrics of all of them together, areas under curves being the mean of the fits' own; each fit's under `fits`, and the fits'
    `mean` and `sd` (n - 1).

    Args:
        folder: The arm's.
        fits: Each fit's folder by its name.
        task: The recipe's.
    """
    write_text(folder / "split.csv", _concat_fits(fits, "split.csv").to_csv(index=False))
    predictions = _concat_fits(fits, "predictions.csv")
    write_text(folder / "predictions.csv", predictions.to_csv(index=False, float_format="%.9g"))
    if all((path / SHORTCUT_PREDICTIONS).is_file() for path in fits.values()):
        write_text(folder / SHORTCUT_PREDICTIONS, _concat_fits(fits, SHORTCUT_PREDICTIONS).to_csv(index=False))
    jsons = {name: json.loads((path / "metrics.json").read_text()) for name, path in fits.items()}
    costs = [parse_cost(json.loads((path / "timing.json").read_text())) for path in fits.values()]
    write_json(folder / "timing.json", _pooled_cost(costs).as_dict())
    if task == "lung_segmentation":
        segmenters = {name: parse_segmenter_fit(fit) for name, fit in jsons.items()}
        summary = _pooled_summary(list(segmenters.values()), predictions)
        scores = [score for path in fits.values() for score in read_scores(path / "predictions.csv")]
        pooled = SegmenterFit(summary, summarize_masks(scores))
        numbers = {name: _lung_numbers(fit.metrics) for name, fit in segmenters.items()}
    else:
        classifiers = {name: parse_classifier_fit(fit) for name, fit in jsons.items()}
        summary = _pooled_summary(list(classifiers.values()), predictions)
        columns = probability_columns(summary.classes)
        predictions[columns] = predictions[columns].astype(float)
        pooled = ClassifierFit(summary, _pooled_metrics(classifiers, evaluate(predictions, summary.classes)))
        numbers = {name: _numbers_of(fit.metrics) for name, fit in classifiers.items()}
        plot_predictions(predictions, pooled.metrics, summary.classes, folder / "plots")
    table = pd.DataFrame(numbers).T.astype(float)
    spread = {"fits": numbers, "mean": _without_nan(table.mean()), "sd": _without_nan(table.std(ddof=1))}
    write_json(folder / "metrics.json", pooled.as_dict() | spread)


def _concat_fits(fits: dict[str, Path], file: str) -> pd.DataFrame:
    """The rows of every fit's file that are not of its training set."""
    tables = [pd.read_csv(path / file, dtype=str, keep_default_na=False).assign(fit=name) for name, path in fits.items()]
    table = pd.concat(tables, ignore_index=True)
    return table[~table.side.isin(UNSCORED)] if "side" in table else table


def _pooled_summary(fits: Sequence[ClassifierFit | SegmenterFit], predictions: pd.DataFrame) -> FitSummary:
    """The first fit's, with the mean count of training images, and the count of images that some fit was validated on."""
    train = round(float(np.mean([fit.summary.images["train"] for fit in fits])))
    left_out = round(float(np.mean([fit.summary.left_out_of_training for fit in fits])))
    images = {"train": train, "valid": _count_scored(predictions)}
    if "side" in predictions and (predictions.side == "test").any():
        images["test"] = int(predictions.image[predictions.side == "test"].nunique())
    return replace(fits[0].summary, images=images, left_out_of_training=left_out)


def _pooled_metrics(fits: dict[str, ClassifierFit], pooled: ArmMetrics) -> ArmMetrics:
    """pooled: the metrics of all fits' predictions together."""
    each = [fit.metrics for fit in fits.values()]
    first = each[0]
    normalizers = [metrics.normalizer for metrics in each if metrics.normalizer is not None]
    return replace(
        pooled,
        scored_on="out-of-fold" if _has_folds(fits) and first.test is None else pooled.scored_on,
        external=with_external_facts(pooled, first),
        tta=_mean_averaged([metrics.tta for metrics in each]),
        normalizer=max(normalizers, key=lambda normalizer: normalizer.distance, default=None),
        source_separability=_mean_separability([metrics.source_separability for metrics in each]),
        untrusted_lungs=first.untrusted_lungs,
        audited=first.audited,
        shortcuts=aggregate_occlusion([metrics.shortcuts for metrics in each]),
        attention=_mean_attention([metrics.attention for metrics in each]),
    )


def with_external_facts(pooled: ArmMetrics, one: ArmMetrics) -> dict[str, ExternalMetrics]:
    """The metrics of pooled predictions of external sets, with what one fit knows of the sets beside its predictions.

    Args:
        pooled: Metrics of all fits' predictions together.
        one: Of one fit.

    Returns:
        By the set's name.
    """
    kept = ("labels", "left_out", "bad_images", "untrusted_lungs")
    return {
        name: replace(metrics, **{key: getattr(one.external[name], key) for key in kept})
        for name, metrics in pooled.external.items()
    }


def _has_folds(fits: dict[str, ClassifierFit]) -> bool:
    return any(word.startswith("fold") for name in fits for word in name.split("-"))


def _numbers_of(metrics: ArmMetrics) -> dict[str, float | None]:
    valid, test = metrics.valid, metrics.test
    numbers = {
        "accuracy": valid.accuracy,
        "balanced_accuracy": valid.balanced_accuracy,
        "roc_auc": valid.macro["roc_auc"],
        **{f"{name} recall": scores.recall for name, scores in valid.per_class.items()},
        **{f"{name} roc auc": scores.roc_auc for name, scores in valid.per_class.items()},
    }
    return numbers if test is None else numbers | {"test accuracy": test.accuracy, "test roc_auc": test.macro["roc_auc"]}


def _without_nan(values: pd.Series) -> dict[str, float | None]:
    return {str(name): None if np.isnan(value) else float(value) for name, value in values.items()}


def _mean_separability(each: Sequence[SourceSeparability | None]) -> SourceSeparability | None:
    known = [found for found in each if found is not None]
    if not known:
        return None
    means = np.mean([(found.balanced_accuracy, found.chance) for found in known], axis=0)
    return SourceSeparability(*means.tolist())


def _mean_averaged(each: Sequence[dict[str, AveragedMetrics]]) -> dict[str, AveragedMetrics]:
    """The plain mean over fits, by set."""
    names = [field.name for field in fields(AveragedMetrics)]
    return {
        side: AveragedMetrics(**{name: float(np.mean([getattr(sets[side], name) for sets in each])) for name in names})
        for side in each[0]
    }


def _mean_attention(each: Sequence[dict[str, LungAttention]]) -> dict[str, LungAttention]:
    """The mean of the fits that have a map for a class, by class."""
    return {
        name: LungAttention(
            _known_mean([classes[name].inside_lungs for classes in each]),
            _known_mean([classes[name].inside_lungs_of_fresh_weights for classes in each]),
            _known_mean([classes[name].lungs_of_picture for classes in each]),
        )
        for name in each[0]
    }


def _known_mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _lung_numbers(metrics: MaskMetrics) -> dict[str, float]:
    return {"dice": metrics.dice.mean, "dice_p5": metrics.dice.p5, "box_iou": metrics.box_iou_mean}


def _pooled_cost(costs: Sequence[ArmCost]) -> ArmCost:
    """Sums over fits, greatest peaks, medians of rates; None where a fit has none."""
    pooled: dict[str, float | int | None] = {}
    ways: list[tuple[Sequence[str], Callable[[list[float]], float]]] = [(SUMS, sum), (PEAKS, max), (MEDIANS, median)]
    for names, combine in ways:
        for name in names:
            values = [value for cost in costs if (value := getattr(cost, name)) is not None]  # energy and audits may be missing
            pooled[name] = combine(values) if len(values) == len(costs) else None
    return replace(costs[0], **pooled, fits=len(costs))


def _count_scored(predictions: pd.DataFrame) -> int:
    valid = predictions[predictions.side == "valid"] if "side" in predictions else predictions
    return int(valid.image.nunique())
