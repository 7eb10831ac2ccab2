"""Predictions of several models of the same images, compared in pairs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from darkcovid.audits.subject import AuditSubject
from darkcovid.core.errors import UsageError
from darkcovid.metrics.classification import probability_columns
from darkcovid.metrics.paired_tests import PairedComparison, Predictions, compare_arms

FROM_SCORES = ("roc_auc", "average_precision")


@dataclass(frozen=True, eq=False)
class ArmPredictions:
    """One arm: table: as `predictions.csv` has it; classes: in the order of the probabilities; labels_only: whether scores are
    missing; group: the finding, of which arms are compared with one another."""

    table: pd.DataFrame
    classes: tuple[str, ...]
    labels_only: bool = False
    group: str = ""


def paired_arms(arms: Mapping[str, ArmPredictions], subject: AuditSubject) -> list[PairedComparison]:
    """The first arm of each finding against the others, on the images that all of them have.

    Args:
        arms: By name.
        subject: To whose notes is added which images were compared.

    Returns:
        One comparison per other arm.

    Raises:
        UsageError: Arms of other classes, or without an image in common.
    """
    pairs = []
    for group in dict.fromkeys(arm.group for arm in arms.values()):
        members = {name: arm for name, arm in arms.items() if arm.group == group}
        if len(members) > 1:
            pairs += _compared(members, subject)
    return pairs


def _compared(arms: Mapping[str, ArmPredictions], subject: AuditSubject) -> list[PairedComparison]:
    (first, base), *others = arms.items()
    for name, arm in others:
        if set(arm.classes) != set(base.classes):
            raise UsageError(
                f"{first} has the classes {', '.join(base.classes)}, {name} {', '.join(arm.classes)}: compare predictions of the "
                "same classes, or audit each file by itself"
            )
    headline = {name: _headline(arm.table) for name, arm in arms.items()}
    common = set.intersection(*(set(table.image) for table in headline.values()))
    if not common:
        raise UsageError(f"{' and '.join(arms)} have no image in common, so nothing can be compared; audit each file by itself")
    for name, table in headline.items():
        if len(table) > len(common):
            subject.notes.setdefault(name, []).append(
                f"compared with the others on the {len(common)} of its {len(table)} images that all files predict"
            )
    codes = {name: code for code, name in enumerate(base.classes)}
    predictions = {}
    for name, table in headline.items():
        table = table[table.image.isin(common)].sort_values("image")
        probabilities = table[probability_columns(base.classes)].to_numpy(float)
        labels = table.label.map(codes).to_numpy(int)
        predictions[name] = Predictions(table.image.tolist(), table.patient.tolist(), labels, probabilities)
    pairs = compare_arms(first, predictions, base.classes)
    if not any(arm.labels_only for arm in arms.values()):
        return pairs
    return [
        replace(pair, differences={k: v for k, v in pair.differences.items() if not k.endswith(FROM_SCORES)}) for pair in pairs
    ]


def _headline(table: pd.DataFrame) -> pd.DataFrame:
    """The test set, where there is one, else all."""
    test = table[table.side == "test"]
    return test if len(test) else table
