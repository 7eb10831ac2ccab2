"""Runs side by side on the board: the figures of their arms, paired tests, what differs between their recipes, disagreements."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from darkcovid.core.errors import UsageError
from darkcovid.evaluation.results import is_segmenter, parse_comparison
from darkcovid.experiment.compare import compare_runs, finished_arms, load_arm_metrics
from darkcovid.experiment.paired_arms import image_names, one_answer_per_image, read_predictions, same_images
from darkcovid.experiment.recipe_differences import recipe_differences
from darkcovid.experiment.run_list import DAMAGE
from darkcovid.experiment.run_state import AUDIT as AUDIT_KIND
from darkcovid.experiment.run_state import SWEEP, run_kind
from darkcovid.metrics.paired_tests import Predictions
from darkcovid.recipe import AUDIT
from darkcovid.report.tables import comparison_notes, comparison_rows
from darkcovid.serving.board.curves import arm_colors
from darkcovid.serving.responses import HTTPError

MAX_DISAGREEMENTS = 200


def compare_on_board(runs: Sequence[Path]) -> dict[str, Any]:
    """What the board shows of several runs.

    Args:
        runs: Their folders, two or more.

    Returns:
        `runs`: names; `colors`: of arms, by name; `arms`: each after the number of its run, as in `1: small`; `rows`: a name and
        one text per arm; `pairs` and `not_comparable` as `compare_runs` has them; `classifiers`: `{run, arm}` whose predictions
        can be compared; `differences`: one value per run by key of their recipes; `notes`: what could not be compared, in
        sentences.

    Raises:
        HTTPError: 422, one is an audit.
    """
    notes, finished, classifiers = [], [], []
    for run in runs:
        kind = run_kind(run)
        if kind == AUDIT_KIND:
            raise HTTPError(422, f"{run.name} is an audit, which has neither a recipe nor fits; choose runs")
        if kind == SWEEP:
            notes.append(f"{run.name} is a sweep: its recipe is compared; its figures are those of its final run")
            continue
        try:
            arms = [arm for arm in finished_arms(run) if not _is_audit(arm)]
            classifiers += [{"run": run.name, "arm": arm.name} for arm in arms if not is_segmenter(load_arm_metrics(arm))]
            finished.append(run)
        except DAMAGE:
            notes.append(f"{run.name} is damaged: its figures cannot be read")
        except UsageError:
            notes.append(f"{run.name} has no finished arm yet: its recipe is compared, its figures are not")
    result = {"arms": [], "rows": [], "pairs": [], "not_comparable": [], "classifiers": classifiers}
    if finished:
        try:
            figures, reasons = _figures(finished, [number for number, run in enumerate(runs, 1) if run in finished])
            result |= figures
            notes += reasons
        except (UsageError, *DAMAGE) as error:
            notes.append(f"the figures cannot be compared: {_without_folder(error, finished)}")
    try:
        differences = recipe_differences(*runs)
    except UsageError as error:
        differences = {}
        notes.append(f"the recipes cannot be compared: {_without_folder(error, runs)}")
    named = {"runs": [run.name for run in runs], "colors": arm_colors(runs)}
    return result | named | {"differences": differences, "notes": notes}


def _figures(runs: list[Path], numbers: list[int]) -> tuple[dict[str, Any], list[str]]:
    """What is known of the arms, and what cannot be compared."""
    compared = compare_runs(runs, force=True, numbers=numbers)
    own = {name: arm for name, arm in compared["arms"].items() if not name.partition(": ")[2].startswith(AUDIT)}
    comparison = parse_comparison(compared | {"arms": own})
    figures = {
        "arms": list(own),
        "rows": comparison_rows(comparison),
        "pairs": compared.get("pairs", []),
        "not_comparable": comparison.not_comparable,
    }
    return figures, comparison_notes(replace(comparison, not_comparable=[]))


def _is_audit(arm: Path) -> bool:
    return arm.name.startswith(AUDIT)


def disagreements(first: Path, second: Path) -> dict[str, Any]:
    """The images that two arms call differently.

    Args:
        first: One arm's folder.
        second: The other's.

    Returns:
        `images` scored by both; `answers`: `one per image and fit`, or `one per image` (the mean of its fits); `both_right`,
        `only_first`, `only_second`, `both_wrong`: counts of images; `rows`: `{image, patient, label, first: {predicted,
        probability}, second: ...}`, those first whose probabilities of the true class differ most, at most
        `MAX_DISAGREEMENTS`; `disagree`: how many there are.

    Raises:
        HTTPError: 422, their classes differ, or no image was scored by both.
    """
    try:
        classes, others = (list(load_arm_metrics(arm)["per_class"]) for arm in (first, second))
        if classes != others:
            raise HTTPError(422, "the two arms have different classes, so their answers cannot be compared")
        read = read_predictions(first, classes), read_predictions(second, classes)
        arms = same_images(*read) or _of_both(*read)
    except DAMAGE as error:
        raise HTTPError(
            422, f"the two arms cannot be compared: {_without_folder(error, (first.parent, second.parent))}"
        ) from None
    names = image_names(arms[0])
    a, b = (arm.probabilities for arm in arms)
    labels, rights = arms[0].labels, [arm.right for arm in arms]
    differ = np.flatnonzero(a.argmax(1) != b.argmax(1))
    at = np.arange(len(labels))
    gap = np.abs(a[at, labels] - b[at, labels])
    order = differ[np.argsort(-gap[differ], kind="stable")][:MAX_DISAGREEMENTS]
    return {
        "images": len(labels),
        "answers": _answers(read, arms[0]),
        "both_right": int((rights[0] & rights[1]).sum()),
        "only_first": int((rights[0] & ~rights[1]).sum()),
        "only_second": int((~rights[0] & rights[1]).sum()),
        "both_wrong": int((~rights[0] & ~rights[1]).sum()),
        "disagree": len(differ),
        "rows": [
            {
                "image": names[row],
                "patient": arms[0].patients[row],
                "label": classes[labels[row]],
                "first": {"predicted": classes[a[row].argmax()], "probability": float(a[row].max())},
                "second": {"predicted": classes[b[row].argmax()], "probability": float(b[row].max())},
            }
            for row in order
        ],
    }


def _answers(read: Sequence[Predictions], compared: Predictions) -> str:
    if compared.several_fits:
        return "one per image and fit"
    return "one per image, the mean of its fits" if any(arm.several_fits for arm in read) else "one per image"


def _of_both(*arms: Predictions) -> list[Predictions]:
    """Two arms' answers to the images that both scored under the same label, one per image, row by row."""
    first, second = map(one_answer_per_image, arms)
    places = {image: row for row, image in enumerate(second.images)}
    pairs = [(row, places[image]) for row, image in enumerate(first.images) if image in places]
    pairs = [(row, other) for row, other in pairs if first.labels[row] == second.labels[other]]
    if not pairs:
        raise HTTPError(422, "the two arms were scored on different images, so there is nothing to disagree on")
    return [_rows(arm, list(rows)) for arm, rows in zip((first, second), zip(*pairs, strict=True), strict=True)]


def _rows(arm: Predictions, rows: list[int]) -> Predictions:
    fits = [arm.fits[row] for row in rows] if len(arm.fits) else ()
    images, patients = [arm.images[row] for row in rows], [arm.patients[row] for row in rows]
    return Predictions(images, patients, arm.labels[rows], arm.probabilities[rows], arm.several_fits, fits)


def _without_folder(error: Exception, runs: Sequence[Path]) -> str:
    """An error's words, without where the runs are on this machine."""
    text = " ".join(str(error).split())
    for run in runs:
        text = text.replace(f"{run.parent}/", "")
    return text
