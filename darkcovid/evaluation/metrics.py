"""How good are these predictions? The arithmetic is scikit-learn's."""

from dataclasses import asdict, dataclass

import numpy as np
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, precision_recall_fscore_support


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Precision, recall (sensitivity) and F1 in 0..1 of one class against the rest; support: its images."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Scores:
    """accuracy and balanced_accuracy (mean recall) in 0..1; confusion_matrix[true][predicted] counts images."""

    accuracy: float
    balanced_accuracy: float
    per_class: dict[str, ClassScore]
    confusion_matrix: list[list[int]]

    def as_dict(self) -> dict:
        return asdict(self)


def score(labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]) -> Scores:
    """labels: (n,) int index into `classes`; probabilities: (n, len(classes)), the largest is the prediction.

    A class that is never predicted has precision 0.
    """
    predicted = probabilities.argmax(1)
    codes = list(range(len(classes)))
    columns = precision_recall_fscore_support(labels, predicted, labels=codes, zero_division=0)
    return Scores(
        accuracy=float(accuracy_score(labels, predicted)),
        balanced_accuracy=float(balanced_accuracy_score(labels, predicted)),
        per_class={
            name: ClassScore(float(precision), float(recall), float(f1), int(support))
            for name, precision, recall, f1, support in zip(classes, *columns, strict=True)
        },
        confusion_matrix=confusion_matrix(labels, predicted, labels=codes).tolist(),
    )
