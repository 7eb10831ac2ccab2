"""Several fits of one arm, of folds or seeds, become one arm's files: every figure pooled, and its mean and spread."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from darkcovid.audit.occlusion import aggregate_occlusion
from darkcovid.core.io import write_json, write_text
from darkcovid.evaluation.evaluate import evaluate
from darkcovid.evaluation.lung_masks import read_scores, summarize_masks
from darkcovid.report.plots import plot_predictions

SUM_KEYS = (
    *("train_seconds", "data_wait_seconds", "forward_backward_seconds", "validation_seconds", "audit_seconds"),
    *("host_joules", "device_joules"),
)
MAX_KEYS = ("peak_host_bytes", "peak_device_bytes")
MEDIAN_KEYS = ("epoch_seconds", "train_images_per_second")


def aggregate_fits(folder: Path, fits: dict[str, Path], task: str) -> None:
    """Write an arm's `split.csv`, `predictions.csv`, `timing.json` and, last, `metrics.json` from the folders of its fits.

    Predictions are those of images that the fit had not learned from, each with the fit's name. `metrics.json` has the
    metrics of all of them together, areas under curves being the mean of the fits' own; each fit's under `fits`, and the fits'
    `mean` and `sd` (n - 1).
    """
    write_text(folder / "split.csv", _concat_fits(fits, "split.csv").to_csv(index=False))
    predictions = _concat_fits(fits, "predictions.csv")
    write_text(folder / "predictions.csv", predictions.to_csv(index=False, float_format="%.9g"))
    each = {name: json.loads((path / "metrics.json").read_text()) for name, path in fits.items()}
    write_json(folder / "timing.json", _pooled_timing([json.loads((path / "timing.json").read_text()) for path in fits.values()]))
    first = next(iter(each.values()))
    common = {
        key: first[key]
        for key in ("classes", "parameters", "excluded_by_label", "merged_patient_ids", "bad_images", "bad", "untrusted_lungs")
        if key in first
    }
    if task == "lung_segmentation":
        scores = [found for path in fits.values() for found in read_scores(path / "predictions.csv")]
        pooled, figures = summarize_masks(scores), {name: _lung_figures(metrics) for name, metrics in each.items()}
    else:
        for name in first["classes"]:
            predictions[f"probability_{name}"] = predictions[f"probability_{name}"].astype(float)
        pooled = evaluate(predictions, first["classes"]) | _validation_of(fits, first)
        figures = {name: _figures(metrics) for name, metrics in each.items()}
        for name, found in pooled.get("external", {}).items():
            pooled["external"][name] = first["external"][name] | found
        if "shortcuts" in first:
            common["shortcuts"] = aggregate_occlusion([metrics["shortcuts"] for metrics in each.values()])
            common["attention"] = _mean_attention([metrics["attention"] for metrics in each.values()])
        if "normalizer" in first:
            common["normalizer"] = max((metrics["normalizer"] for metrics in each.values()), key=_off)
        if "tta" in first:
            common["tta"] = _means([metrics["tta"] for metrics in each.values()])
        plot_predictions(predictions, pooled, first["classes"], folder / "plots")
    table = pd.DataFrame(figures).T.astype(float)
    spread = {"fits": figures, "mean": _numbers(table.mean()), "sd": _numbers(table.std(ddof=1))}
    images = {
        "train": round(np.mean([metrics["images"]["train"] for metrics in each.values()])),
        "valid": _count_scored(predictions),
    }
    write_json(folder / "metrics.json", common | pooled | spread | {"images": images})


def _concat_fits(fits: dict[str, Path], file: str) -> pd.DataFrame:
    """The rows of every fit's file that are not of its training set."""
    tables = [pd.read_csv(path / file, dtype=str, keep_default_na=False).assign(fit=name) for name, path in fits.items()]
    table = pd.concat(tables, ignore_index=True)
    return table[table.side != "train"] if "side" in table else table


def _validation_of(fits: dict[str, Path], first: dict[str, Any]) -> dict[str, Any]:
    """What the headline comes from where it is not the validation set of one split."""
    folds = any(word.startswith("fold") for name in fits for word in name.split("-"))
    return {"scored_on": "out-of-fold"} if folds and "test" not in first else {}


def _figures(metrics: dict[str, Any]) -> dict[str, float | None]:
    of_class = {
        f"{name} {words}": scores[key]
        for key, words in (("recall", "recall"), ("roc_auc", "roc auc"))
        for name, scores in metrics["per_class"].items()
    }
    whole = {"accuracy": metrics["accuracy"], "balanced_accuracy": metrics["balanced_accuracy"]}
    whole["roc_auc"] = metrics["macro"]["roc_auc"]
    test = {}
    if "test" in metrics:
        test = {"test accuracy": metrics["test"]["accuracy"], "test roc_auc": metrics["test"]["macro"]["roc_auc"]}
    return whole | of_class | test


def _numbers(of_fits: pd.Series) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in of_fits.items()}


def _off(normalizer: dict[str, Any]) -> float:
    """How far a normalizer's mean gray is from that of its training images, 0 where it has none."""
    return abs(normalizer.get("mean", 0.0) - normalizer.get("training_mean", 0.0))


def _means(each: list[dict[str, Any]]) -> dict[str, Any]:
    """The plain mean over fits of mappings of mappings of numbers."""
    return {side: {name: float(np.mean([one[side][name] for one in each])) for name in of} for side, of in each[0].items()}


def _mean_attention(each: list[dict[str, dict[str, float | None]]]) -> dict[str, dict[str, float | None]]:
    """The mean of the fits that have a map for a class."""
    found = {}
    for name, shares in each[0].items():
        known = {key: [one[name][key] for one in each if one[name][key] is not None] for key in shares}
        found[name] = {key: float(np.mean(values)) if values else None for key, values in known.items()}
    return found


def _lung_figures(metrics: dict[str, Any]) -> dict[str, float]:
    return {"dice": metrics["dice"]["mean"], "dice_p5": metrics["dice"]["p5"], "box_iou": metrics["box_iou_mean"]}


def _pooled_timing(timings: list[dict[str, Any]]) -> dict[str, Any]:
    pooled = dict(timings[0])
    for keys, combine in ((SUM_KEYS, sum), (MAX_KEYS, max), (MEDIAN_KEYS, np.median)):
        for key in keys:
            values = [timing.get(key) for timing in timings]  # energy and audits are not measured everywhere
            pooled[key] = None if None in values else float(combine(values))
    return pooled | {key: int(pooled[key]) for key in MAX_KEYS} | {"fits": len(timings)}


def _count_scored(predictions: pd.DataFrame) -> int:
    valid = predictions[predictions.side == "valid"] if "side" in predictions else predictions
    return int(valid.image.nunique())
