"""Is one arm better than another on the same patients? Paired tests, corrected for how many are made, and what may be said."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from darkcovid.evaluation.intervals import figures, interval, patient_weights

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of an arm minus that of the reference: the difference, and its 95 % interval over patients."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Pair:
    """An arm against the reference. only_reference, only_arm: images that one alone got right; p: exact McNemar test on
    them, None where images were predicted several times; p_holm: after Holm's correction for all arms; differences: by the
    names of `figures`; sentence: what may be written."""

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
    """What one arm said of images it had not learned from. images: (n,) names, with the fit's where there are several;
    patients: (n,); labels: (n,) int; probabilities: (n, classes)."""

    images: Sequence[str]
    patients: Sequence[str]
    labels: np.ndarray
    probabilities: np.ndarray
    several_fits: bool = False

    @property
    def right(self) -> np.ndarray:
        """(n,) bool."""
        return self.probabilities.argmax(1) == self.labels


def compare_to(reference: str, arms: dict[str, Predictions], classes: Sequence[str]) -> list[Pair]:
    """Every other arm against `reference`; all hold the same images in the same order."""
    base = arms[reference]
    others = {name: arm for name, arm in arms.items() if name != reference}
    weights = patient_weights(base.patients)
    everyone = np.ones((1, len(base.labels)), np.int32)
    drawn = {name: figures(arm.labels, arm.probabilities, classes, weights) for name, arm in arms.items()}
    whole = {name: figures(arm.labels, arm.probabilities, classes, everyone) for name, arm in arms.items()}
    discordant = {
        name: (int((base.right & ~arm.right).sum()), int((arm.right & ~base.right).sum())) for name, arm in others.items()
    }
    ps = {name: None if base.several_fits else mcnemar(*counts) for name, counts in discordant.items()}
    corrected = holm(ps)
    pairs = []
    for name in others:
        differences = {}
        for figure, draws in drawn[name].items():
            span = interval(draws - drawn[reference][figure])
            if span is not None:
                apart = whole[name][figure][0] - whole[reference][figure][0]
                differences[figure] = Difference(float(apart), *span)
        sentence = in_words(name, reference, differences["accuracy"], corrected[name])
        pairs.append(Pair(name, reference, *discordant[name], ps[name], corrected[name], differences, sentence))
    return pairs


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided McNemar test (McNemar 1947) on the images that one of two classifiers alone got right."""
    discordant = only_first + only_second
    return 1.0 if discordant == 0 else float(binomtest(only_first, discordant, 0.5).pvalue)


def holm(ps: dict[str, float | None]) -> dict[str, float | None]:
    """Holm's step-down correction (Holm 1979) of those that are not None."""
    ordered = sorted((p, name) for name, p in ps.items() if p is not None)
    corrected, least = dict.fromkeys(ps), 0.0
    for place, (p, name) in enumerate(ordered):
        least = max(least, min(1.0, p * (len(ordered) - place)))
        corrected[name] = least
    return corrected


def in_words(arm: str, reference: str, accuracy: Difference, p: float | None) -> str:
    """The sentence that the evidence allows, on accuracy."""
    span = f"{accuracy.difference:+.3f} (95 % interval {accuracy.low:+.3f} to {accuracy.high:+.3f})"
    tested = "" if p is None else f", McNemar p {p:.3g} after Holm's correction"
    agree = accuracy.low > 0 or accuracy.high < 0
    if not agree or (p is not None and p >= ALPHA):
        return f"No difference in accuracy between {arm} and {reference} could be shown: {span}{tested}."
    better = "more" if accuracy.difference > 0 else "less"
    return f"{arm} was {better} accurate than {reference}: {span}{tested}."
