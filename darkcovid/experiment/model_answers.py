"""What do a model's outputs mean? The same as in its audit, whichever images it is asked about."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from darkcovid.core.array_cache import StoredArray
from darkcovid.core.errors import DataError
from darkcovid.data.predictions.class_names import ClassNames
from darkcovid.data.predictions.columns import ColumnChoice
from darkcovid.data.predictions.options import PredictionOptions
from darkcovid.data.predictions.scores import Scores, kind_of_column, kind_of_scores, to_binary, to_probabilities
from darkcovid.inference.foreign.client import ForeignModel
from darkcovid.inference.foreign.inputs import InputPolicy
from darkcovid.metrics.calibration import apply_temperature
from darkcovid.metrics.classification import probability_columns

BATCH = 32
SAME_ANSWER = 0.01  # of probabilities of the same images, asked about twice
ANSWER = "score"  # the column of a single output


def ask_for_scores(model: ForeignModel, policy: InputPolicy, pixels: StoredArray) -> np.ndarray:
    """Ask a model.

    Args:
        model: Which answers batches.
        policy: Its input.
        pixels: (m, ..., h, w) uint8.

    Returns:
        (m, k) float64, of a file of ours before its temperature.

    Raises:
        DataError: It fails.
    """
    blocks = [np.array(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
    answers = [model.predict(policy.batch(block)) for block in blocks]
    if len({answer.shape[1] for answer in answers}) > 1:
        raise DataError(f"{model.source}: answered different numbers of scores to different images")
    scores = np.concatenate(answers)
    return apply_temperature(scores, 1 / policy.temperature) if policy.temperature else scores


def output_names(policy: InputPolicy, scores: np.ndarray) -> list[str]:
    """A name for each output: its class where the file says it, else its number.

    Args:
        policy: The model's input.
        scores: (m, k) float.

    Returns:
        (k) names.
    """
    if len(policy.classes) == scores.shape[1]:
        return list(policy.classes)
    return [ANSWER] if scores.shape[1] == 1 else [str(number) for number in range(scores.shape[1])]


def kind_of_outputs(scores: np.ndarray, columns: Sequence[str], options: PredictionOptions, name: str) -> Scores:
    """What the answers are, once for all that follow.

    Args:
        scores: (m, k) float.
        columns: (k) names.
        options: What a person says of them.
        name: The model, for messages.

    Returns:
        As a person said, else as the numbers show.

    Raises:
        UsageError, DataError: As `kind_of_scores` does.
    """
    if options.scores != "auto":
        return options.scores
    return kind_of_column(scores[:, 0], columns[0], name) if len(columns) == 1 else kind_of_scores(scores, columns, name)


def all_classes(policy: InputPolicy, columns: Sequence[str], options: PredictionOptions) -> ColumnChoice:
    """A column for each class that a model is known to have, whether or not the manifest has images of it.

    Args:
        policy: The model's input, and its classes where they are known.
        columns: (k) names of outputs.
        options: What a person says of them.

    Returns:
        What a person said, else these.
    """
    if options.columns.scores or len(columns) == 1 or list(policy.classes) != list(columns):
        return options.columns
    return replace(options.columns, scores={name: name for name in policy.classes})


def outputs_of_classes(columns: Sequence[str], options: PredictionOptions, classes: Sequence[str]) -> list[tuple[int, int]]:
    """Which output speaks for each class, and with which sign.

    Args:
        columns: (k) names of outputs.
        options: What they mean, with the kind of scores.
        classes: Of the audit, in the order of its probabilities.

    Returns:
        (output, 1) per class; where one output tells two classes apart, (output, 1) and (output, -1).
    """
    if len(columns) == 1:
        return [(0, 1), (0, -1)]
    meant = ClassNames(classes, options.class_names)
    said = {column: meant.meaning(name) or name for name, column in options.columns.scores.items()}
    places = {said.get(column) or meant.meaning(column): place for place, column in enumerate(columns)}
    if options.scores == "per-finding":
        return [(places[classes[0]], 1), (places[classes[0]], -1)]
    return [(places[name], 1) for name in classes]


def answers_of(
    model: ForeignModel, policy: InputPolicy, columns: Sequence[str], options: PredictionOptions, classes: Sequence[str]
) -> Callable[[StoredArray], np.ndarray]:
    """A function of pixels to probabilities, which reads answers as those that are audited were read.

    Args:
        model: Which answers batches.
        policy: Its input.
        columns: (k) names of outputs.
        options: What they mean, with the kind of scores.
        classes: Of the audit, in the order of its probabilities.

    Returns:
        Of (m, ..., h, w) uint8 to (m, classes) float.
    """
    outputs = outputs_of_classes(columns, options, classes)

    def predict(pixels: StoredArray) -> np.ndarray:
        scores = ask_for_scores(model, policy, pixels)
        if len(columns) == 1:
            return to_binary(scores[:, 0], columns[0], options.scores, policy.describe()).values[:, ::-1]
        if options.scores != "per-finding":
            ordered = scores[:, [place for place, _ in outputs]]
            return to_probabilities(ordered, classes, options.scores, policy.describe()).values
        values = to_probabilities(scores, columns, options.scores, policy.describe()).values[:, outputs[0][0]]
        return np.column_stack([values, 1 - values])

    return predict


def check_asked_again(views: pd.DataFrame, audited: pd.DataFrame, classes: Sequence[str], source: str) -> None:
    """Check that a model answers the plain images as it did when it was audited.

    Args:
        views: Its predictions of images with parts hidden, among which are the plain ones.
        audited: Its predictions that are audited.
        classes: Of both.
        source: The model, for the message.

    Raises:
        DataError: It does not, so that what it answers to other images says nothing.
    """
    columns = probability_columns(classes)
    again = views[views.shown == "plain"]
    first = audited.set_index("image")[columns].reindex(again.image).to_numpy(float)
    apart = np.abs(again[columns].to_numpy(float) - first).max(initial=0)
    if not apart <= SAME_ANSWER:
        raise DataError(
            f"{source}: asked about the same images again, the model gives probabilities that differ by up to {apart:.2f}; "
            "switch off dropout and whatever else is random, or leave parts of images unhidden with --no-controls"
        )
