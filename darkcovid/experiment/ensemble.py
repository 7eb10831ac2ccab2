"""Arms whose probabilities are averaged: an ensemble is scored, compared and reported as one more arm.

An image of a fold is predicted by the fits that were not trained on it, so out-of-fold figures stay honest; images that no fit
was trained on, of the test set and of external sets, are predicted by all fits.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from darkcovid.audits.occlusion import SHORTCUT_PREDICTIONS, aggregate_occlusion, occlusion_metrics
from darkcovid.core.io import write_json, write_text
from darkcovid.data.cohort import LEFT_OUT
from darkcovid.evaluation.evaluate import EXTERNAL, evaluate
from darkcovid.evaluation.results import (
    ArmCost,
    ClassifierFit,
    ExternalMetrics,
    OcclusionAudit,
    parse_classifier_fit,
    parse_cost,
)
from darkcovid.experiment.aggregate import with_external_facts
from darkcovid.metrics.classification import probability_columns
from darkcovid.recipe.fit_id import without_seed
from darkcovid.report.plots import plot_predictions

OCCURRENCE, TRAIN = "occurrence", "train"


def write_ensemble(folder: Path, members: Sequence[Path]) -> None:
    """Write the `split.csv`, `predictions.csv`, `timing.json` and, last, `metrics.json` of an ensemble of finished arms.

    Args:
        folder: The ensemble's.
        members: The arms' folders.
    """
    arms = [parse_classifier_fit(json.loads((member / "metrics.json").read_text())) for member in members]
    costs = [parse_cost(json.loads((member / "timing.json").read_text())) for member in members]
    classes = arms[0].summary.classes
    tables = [read_text_table(member / "predictions.csv") for member in members]
    predictions = average_predictions(tables, classes)
    split = _without_seeds(read_text_table(members[0] / "split.csv"))
    write_text(folder / "split.csv", split.drop_duplicates(["fit", "image"] if "fit" in split else ["image"]).to_csv(index=False))
    write_text(folder / "predictions.csv", predictions.to_csv(index=False, float_format="%.9g"))
    metrics = evaluate(predictions, classes)
    by_fold = evaluate(average_by_fold(tables, classes), classes) if metrics.elsewhere else metrics
    first = arms[0].metrics
    summary = replace(
        arms[0].summary,
        parameters=sum(arm.summary.parameters * cost.fits for arm, cost in zip(arms, costs, strict=True)),
        initial_weights=None,
        left_out_of_training=min(arm.summary.left_out_of_training for arm in arms),
        members=[member.name for member in members],
    )
    audits = [member / SHORTCUT_PREDICTIONS for member in members]
    audited = all(audit.is_file() for audit in audits)
    metrics = replace(
        metrics,
        audited=audited,
        shortcuts=_audit_shortcuts([read_text_table(audit) for audit in audits], classes) if audited else None,
        scored_on=first.scored_on or metrics.scored_on,
        external=_with_falls(with_external_facts(metrics, first), by_fold.external),
        sources=_with_falls(metrics.sources, by_fold.sources),
        untrusted_lungs=max(arm.metrics.untrusted_lungs for arm in arms),
    )
    plot_predictions(predictions, metrics, classes, folder / "plots")
    write_json(folder / "timing.json", _summed(costs).as_dict())
    write_json(folder / "metrics.json", ClassifierFit(summary, metrics).as_dict())


def read_text_table(path: Path) -> pd.DataFrame:
    """A CSV file, every cell as text."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def average_predictions(members: Sequence[pd.DataFrame], classes: Sequence[str]) -> pd.DataFrame:
    """The mean of the probabilities that members give an image.

    Args:
        members: Each arm's `predictions.csv`, of all its fits, every cell as text.
        classes: In the order of the probabilities.

    Returns:
        A row per image and fold of its validation set, or per image of a set that no fit was trained on.
    """
    table = _joined(members, "side")
    trained = table.assign(trained=table.side == TRAIN).groupby(_image_keys(table)).trained.transform("any")
    table.loc[trained & (table.side == LEFT_OUT), "side"] = TRAIN  # where another member was trained on the image
    if "fit" in table:
        unseen = (table.side == "test") | table.side.str.startswith(EXTERNAL)
        table.loc[unseen, "fit"] = ""
    return _averaged(table, classes, "side")


def average_by_fold(members: Sequence[pd.DataFrame], classes: Sequence[str]) -> pd.DataFrame:
    """The mean of the fits of one fold alone, for images of external sets too: as images of the validation set are predicted.

    Args:
        members: As `average_predictions` takes them.
        classes: In the order of the probabilities.

    Returns:
        A row per image and fold.
    """
    return _averaged(_joined(members, "side"), classes, "side")


def _with_falls(elsewhere: dict[str, ExternalMetrics], by_fold: dict[str, ExternalMetrics]) -> dict[str, ExternalMetrics]:
    """Sets of images from elsewhere with what is lost on them by the fits of a fold, as the validation set was predicted; the
    mean of all folds is better than those, and would hide a part of it."""
    return {name: replace(metrics, fall=by_fold[name].fall) for name, metrics in elsewhere.items()}


def _averaged(table: pd.DataFrame, classes: Sequence[str], part: str) -> pd.DataFrame:
    """The mean probabilities of each image in each part of the table, and fold."""
    columns = [*probability_columns(classes), *(["ood_score"] if "ood_score" in table else [])]
    numbers = table.assign(**{name: pd.to_numeric(table[name]) for name in columns})
    grouped = numbers.groupby([part, *_image_keys(table)], sort=False)
    averaged = grouped.first()
    averaged[columns] = grouped[columns].mean()
    averaged = averaged.reset_index()[[name for name in table if name != OCCURRENCE]]
    if "predicted" in averaged:
        averaged["predicted"] = [classes[best] for best in averaged[probability_columns(classes)].to_numpy().argmax(1)]
    return averaged


def _audit_shortcuts(members: Sequence[pd.DataFrame], classes: Sequence[str]) -> OcclusionAudit | None:
    """Metrics with parts of the images hidden, of the members' mean, over folds as an arm's."""
    averaged = _averaged(_joined(members, "shown"), classes, "shown")
    folds = [rows for _, rows in averaged.groupby("fit", sort=False)] if "fit" in averaged else [averaged]
    return aggregate_occlusion([occlusion_metrics(fold, classes) for fold in folds])


def _joined(members: Sequence[pd.DataFrame], part: str) -> pd.DataFrame:
    """The members' rows without seeds, each with its number among those of one fit and path: two datasets may list one path."""
    keys = [part, *(["fit"] if "fit" in members[0] else []), "image"]
    numbered = [member.assign(**{OCCURRENCE: member.groupby(keys).cumcount()}) for member in members]
    return pd.concat([_without_seeds(member) for member in numbered], ignore_index=True)


def _image_keys(table: pd.DataFrame) -> list[str]:
    return [*(["fit"] if "fit" in table else []), "image", OCCURRENCE]


def _without_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """The name of a fit without its seed, since fits of all seeds share the folds."""
    if "fit" not in table:
        return table
    return table.assign(fit=[without_seed(fit) for fit in table.fit])


def _summed(costs: Sequence[ArmCost]) -> ArmCost:
    """What all members cost together; an epoch of the ensemble is one of each member."""

    def total(name: str) -> float | None:
        values = [value for cost in costs if (value := getattr(cost, name)) is not None]
        return sum(values) if values else None

    images = costs[0].train_images_per_second * costs[0].epoch_seconds
    epoch_seconds = sum(cost.epoch_seconds for cost in costs)
    return replace(
        costs[0],
        epochs=max(cost.epochs for cost in costs),
        train_seconds=sum(cost.train_seconds for cost in costs),
        epoch_seconds=epoch_seconds,
        train_images_per_second=images / epoch_seconds if epoch_seconds else 0.0,
        peak_host_bytes=max(cost.peak_host_bytes for cost in costs),
        peak_device_bytes=max(cost.peak_device_bytes for cost in costs),
        host_joules=total("host_joules"),
        device_joules=total("device_joules"),
        data_wait_seconds=total("data_wait_seconds"),
        forward_backward_seconds=total("forward_backward_seconds"),
        validation_seconds=total("validation_seconds"),
        prepare_seconds=total("prepare_seconds"),
        segment_seconds=total("segment_seconds"),
        audit_seconds=None,
        fits=sum(cost.fits for cost in costs),
    )
