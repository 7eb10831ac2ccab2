"""Is one arm better than another on the same patients? Paired tests, corrected for how many are made, and what may be said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from darkcovid.metrics.confidence_intervals import Estimate, difference
from darkcovid.metrics.metrics_with_intervals import codes_of, estimates
from darkcovid.metrics.p_values import holm, p_text

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of an arm minus that of the reference: the difference, and its 95 % interval over patients."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """An arm against the reference.

    Attributes:
        arm: Its name.
        reference: The reference arm's.
        only_reference: Images that the reference alone got right.
        only_arm: Images that the arm alone got right.
        p: Exact McNemar test on patients; None where images were predicted several times.
        p_holm: After Holm's correction for all arms.
        differences: By the names of `estimates`.
        sentence: What may be written.
    """

    arm: str
    reference: str
    only_reference: int
    only_arm: int
    p: float | None
    p_holm: float | None
    differences: dict[str, Difference]
    sentence: str


@dataclass(frozen=True)
class Predictions:
    """One arm's predictions of images that it was not trained on.

    Attributes:
        images: (n) names, with the fit's where there are several.
        patients: (n) names.
        labels: (n,) int.
        probabilities: (n, classes) float.
        several_fits: Whether images were predicted several times.
        fits: (n) which fit predicted; empty: one.
    """

    images: Sequence[str]
    patients: Sequence[str]
    labels: np.ndarray
    probabilities: np.ndarray
    several_fits: bool = False
    fits: Sequence[str] = ()

    @property
    def right(self) -> np.ndarray:
        """(n,) bool, whether each prediction is right."""
        return self.probabilities.argmax(1) == self.labels


NamedArm = tuple[str, Predictions]


def compare_arms(reference: str, arms: dict[str, Predictions], classes: Sequence[str]) -> list[PairedComparison]:
    """Every other arm against the reference.

    Args:
        reference: Its name.
        arms: Predictions of the same images in the same order.
        classes: Their names.

    Returns:
        One comparison per other arm.
    """
    base = (reference, arms[reference])
    return compare_pairs([((name, arm), base) for name, arm in arms.items() if name != reference], classes)


def compare_pairs(pairs: Sequence[tuple[NamedArm, NamedArm]], classes: Sequence[str]) -> list[PairedComparison]:
    """Each arm against its own reference; Holm's correction is for all of them.

    Args:
        pairs: Names and predictions of an arm and of its reference, both of the same images in the same order.
        classes: Their names.

    Returns:
        One comparison per pair.
    """
    each = {
        id(arm): estimates(arm.labels, arm.probabilities, classes, arm.patients, arm.fits or None)
        for pair in pairs
        for arm in {id(arm): arm for _, arm in pair}.values()
    }
    ps = {
        number: None if base.several_fits or arm.several_fits else mcnemar(*patients_for(base, arm))
        for number, ((_, arm), (_, base)) in enumerate(pairs)
    }
    corrected = holm(ps)
    found = []
    for number, ((name, arm), (reference, base)) in enumerate(pairs):
        own, theirs = each[id(arm)], each[id(base)]
        differences = {
            metric: Difference(mine.value - other.value, *difference(mine, other, paired=True))
            for metric, mine in own.items()
            if mine is not None and (other := theirs[metric]) is not None
        }
        sentence = conclusion_sentence(name, reference, differences["accuracy"], corrected[number])
        sentence += untrained_sentence({name: own["accuracy"], reference: theirs["accuracy"]}, base.labels)
        discordant = int((base.right & ~arm.right).sum()), int((arm.right & ~base.right).sum())
        found.append(PairedComparison(name, reference, *discordant, ps[number], corrected[number], differences, sentence))
    return found


def untrained_sentence(accuracies: Mapping[str, Estimate | None], labels: np.ndarray) -> str:
    """What a comparison is worth where an arm may have learned nothing.

    Args:
        accuracies: Of each arm that is compared.
        labels: (n,) int, of the images.

    Returns:
        One sentence after a blank; '' where all arms are shown to be more accurate than the majority class.
    """
    majority = float(np.bincount(labels).max() / len(labels))
    if majority == 1:  # images of one class, as a source may have
        return ""
    weak = [name for name, found in accuracies.items() if found is not None and found.interval[0] <= majority]
    if not weak:
        return ""
    verb = "is" if len(weak) == 1 else "are"
    return f" {' and '.join(weak)} {verb} not shown to be more accurate than the majority class ({majority:.3f})."


def patients_for(first: Predictions, second: Predictions) -> tuple[int, int]:
    """For how many patients one of two arms was the better.

    Args:
        first: Predictions.
        second: Predictions of the same images in the same order.

    Returns:
        Patients with more images right by the first, and by the second.
    """
    codes = codes_of(first.patients, len(first.labels))
    net = np.bincount(codes, first.right.astype(int) - second.right.astype(int))
    return int((net > 0).sum()), int((net < 0).sum())


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided McNemar test (McNemar 1947): a sign test; with one image per patient the test on images.

    Args:
        only_first: Patients for whom the first classifier was the better.
        only_second: Patients for whom the second was.

    Returns:
        p.
    """
    discordant = only_first + only_second
    return 1.0 if discordant == 0 else float(binomtest(only_first, discordant, 0.5).pvalue)


def conclusion_sentence(arm: str, reference: str, accuracy: Difference, p: float | None) -> str:
    """The sentence that the evidence allows, on accuracy.

    Args:
        arm: Its name.
        reference: The reference arm's.
        accuracy: The arm's less the reference's.
        p: After Holm's correction; None where there was no test.

    Returns:
        One sentence.
    """
    span = f"{accuracy.difference:+.3f} (95 % interval {accuracy.low:+.3f} to {accuracy.high:+.3f})"
    tested = "" if p is None else f", McNemar {p_text(p)} after Holm's correction"
    agree = accuracy.low > 0 or accuracy.high < 0
    if not agree or (p is not None and p >= ALPHA):
        return f"No difference in accuracy between {arm} and {reference} could be shown: {span}{tested}."
    better = "more" if accuracy.difference > 0 else "less"
    return f"{arm} was {better} accurate than {reference}: {span}{tested}."
