"""Which arms are tested against which on the same images, within a run and across runs, and the predictions that are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from darkcovid.core.words import counted
from darkcovid.evaluation.results import is_segmenter
from darkcovid.metrics.classification import probability_columns
from darkcovid.metrics.paired_tests import Predictions, compare_pairs
from darkcovid.recipe import AUDIT
from darkcovid.recipe.fit_id import without_seed


def pairs_of(arms: Mapping[str, dict[str, Any]], runs: Sequence[Mapping[str, Path]]) -> dict[str, Any]:
    """The paired tests of a comparison of classifiers.

    Args:
        arms: As in `comparison.json`.
        runs: Of each run, its arms' folders by the same names.

    Returns:
        `pairs`, and in `not_paired` why arms have none; {} of one run's segmenters.
    """
    if any(is_segmenter(arm) for arm in arms.values()):
        return {} if len(runs) < 2 else {"pairs": [], "not_paired": ["Lung segmenters have no paired tests"]}
    classes = {tuple(arm["per_class"]) for arm in arms.values()}
    if len(classes) > 1:
        return {"pairs": [], "not_paired": ["No paired tests: the arms have different classes"]}
    pairs, not_paired = paired_comparisons(runs, list(classes.pop()))
    return {"pairs": pairs, "not_paired": not_paired}


def paired_comparisons(runs: Sequence[Mapping[str, Path]], classes: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Every classifier against its reference, as `metrics.paired_tests.compare_pairs` does; audits' arms are left out.

    The reference is the arm of the same name of the earliest run that has one; without one, and for the other arms of the first
    run, it is the first arm of all. Arms of the same name come first.

    Args:
        runs: Of each run, its arms' folders by name, whose `predictions.csv` are read.
        classes: In the order of the probabilities.

    Returns:
        One dict per pair that was scored on the same images, and sentences on the others.
    """
    own = [{name: folder for name, folder in run.items() if not folder.name.startswith(AUDIT)} for run in runs]
    arms = {name: read_predictions(folder, classes) for run in own for name, folder in run.items()}
    aligned, notes, missing = [], [], {}
    for name, reference in _references(own):
        found = same_images(arms[name], arms[reference])
        if found is None:
            missing.setdefault(reference, []).append(name)
            continue
        aligned.append(((name, found[0]), (reference, found[1])))
        notes.append(_averaged_note({name: (arms[name], found[0]), reference: (arms[reference], found[1])}))
    pairs = [
        asdict(replace(pair, sentence=pair.sentence + note))
        for pair, note in zip(compare_pairs(aligned, classes), notes, strict=True)
    ]
    reason = "they were not scored on the same images with the same labels"
    return pairs, [f"No paired test of {', '.join(names)} against {other}: {reason}" for other, names in missing.items()]


def _references(runs: Sequence[Mapping[str, Path]]) -> list[tuple[str, str]]:
    """(arm, reference) of every arm but the first, those of the same name first."""
    earliest: dict[str, str] = {}
    same, others = [], []
    for run in runs:
        for name, folder in run.items():
            if folder.name in earliest:
                same.append((name, earliest[folder.name]))
            else:
                others.append((name, next(iter(earliest.values()), name)))
                earliest[folder.name] = name
    return [*same, *others[1:]]


def same_images(arm: Predictions, base: Predictions) -> tuple[Predictions, Predictions] | None:
    """Two arms' predictions, row by row of the same images.

    Fits of the same names stand beside each other, and an ensemble beside each fit of the same fold. Otherwise every image gets
    one answer, the mean of the probabilities of its fits.

    Args:
        arm: Predictions.
        base: Predictions.

    Returns:
        Both; None where they are of other images, or of the same ones under other labels.
    """
    matched = _row_by_row(base, arm)
    pair = (matched, base) if matched is not None else (one_answer_per_image(arm), one_answer_per_image(base))
    first, second = pair
    same = matched is not None or list(first.images) == list(second.images)
    return pair if same and np.array_equal(first.labels, second.labels) else None


def _row_by_row(base: Predictions, arm: Predictions) -> Predictions | None:
    """An arm's predictions in the rows of another's; None where they cannot be put so.

    An ensemble has one prediction of an image for all seeds of a fold, and one of the test set for all fits: it stands beside
    each of theirs.
    """
    if list(arm.images) == list(base.images):
        return arm
    if not base.fits:
        return None
    rows = {image: row for row, image in enumerate(arm.images)}
    names = image_names(base)
    found = [rows.get(f"{without_seed(fit)} {name}", rows.get(f" {name}")) for name, fit in zip(names, base.fits, strict=True)]
    known = [row for row in found if row is not None]
    if len(known) < len(found) or len(set(known)) < len(rows):
        return None
    return replace(base, labels=arm.labels[known], probabilities=arm.probabilities[known])


def image_names(arm: Predictions) -> list[str]:
    """(n) names of the images, without the fit that predicted each."""
    fits = arm.fits or [""] * len(arm.images)
    return [
        str(image).removeprefix(f"{fit} ") if len(arm.fits) else str(image) for image, fit in zip(arm.images, fits, strict=True)
    ]


def one_answer_per_image(arm: Predictions) -> Predictions:
    """The mean of the probabilities that an arm's fits give each image, sorted by image and patient."""
    folds = [without_seed(fit) for fit in arm.fits] if len(arm.fits) else [""] * len(arm.labels)
    table = pd.DataFrame({"image": image_names(arm), "patient": arm.patients, "label": arm.labels, "fold": folds})
    grouped = table.groupby(["image", "patient"], sort=True)
    images = grouped[["label", "fold"]].first().reset_index()
    order = grouped.ngroup().to_numpy()
    sums = np.zeros((len(images), arm.probabilities.shape[1]))
    np.add.at(sums, order, arm.probabilities)
    mean = sums / np.bincount(order)[:, None]
    out_of_fold = bool((grouped.fold.nunique() == 1).all()) and images.fold.nunique() > 1
    fits = images.fold.tolist() if out_of_fold else ()
    return Predictions(images.image.tolist(), images.patient.tolist(), images.label.to_numpy(), mean, fits=fits)


def _averaged_note(arms: Mapping[str, tuple[Predictions, Predictions]]) -> str:
    """Of which arms an image's answer is a mean, after a blank; '' of none."""
    counts = {name: round(len(all_fits.labels) / len(used.labels)) for name, (all_fits, used) in arms.items()}
    said = [f"{name} is the mean of its {counted(count, 'fit')}" for name, count in counts.items() if count > 1]
    return f" Each image's answer of {' and of '.join(said)}." if said else ""


def read_predictions(folder: Path, classes: list[str]) -> Predictions:
    """A classifier's predictions of its test set, or without one of its validation set, of every fold and seed.

    Args:
        folder: The arm's.
        classes: In the order of the probabilities.

    Returns:
        The predictions, sorted by fit and image.
    """
    table = pd.read_csv(folder / "predictions.csv", dtype={"image": str, "patient": str}, keep_default_na=False)
    table = table[table.side == ("test" if (table.side == "test").any() else "valid")]
    keys = ["fit", "image"] if "fit" in table else ["image"]
    table = table.sort_values(keys)
    return Predictions(
        images=table[keys].agg(" ".join, axis=1).tolist(),
        patients=table.patient.tolist(),
        labels=table.label.map({name: code for code, name in enumerate(classes)}).to_numpy(),
        probabilities=table[probability_columns(classes)].to_numpy(float),
        several_fits=bool(table.image.duplicated().any()),
        fits=table.fit.tolist() if "fit" in table else (),
    )
