"""The charts of an arm in a report, from its own files: epochs, ROC, precision and recall, reliability, risk and coverage."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_curve, roc_curve

from darkcovid.audits.checks import RunEvidence
from darkcovid.audits.checks.data import majority
from darkcovid.data.cohort import UNSCORED
from darkcovid.evaluation.results import ArmMetrics
from darkcovid.metrics.classification import PROBABILITY
from darkcovid.report.charts import Axes, Line, line_chart
from darkcovid.report.colors import color_of, distinct_colors

UNIT = (0.0, 1.0)
MAX_FITS = 10
FAR = 0.25  # of accuracy, below all intervals, where the majority class is not drawn
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error)


@dataclass(frozen=True)
class Chart:
    """svg: the drawing; caption: what it shows; legend: color and text of each line; wide: whether it takes the page's width."""

    svg: str
    caption: str
    legend: list[tuple[str, str]]
    wide: bool = False


def cost_chart(evidence: RunEvidence) -> Chart | None:
    """What each arm cost and how good it was, with its interval; audits' arms are left out. None where no cost is known."""
    lines = []
    for name, arm in evidence.arms.items():
        scored, minutes = arm.metrics.headline, arm.cost.train_seconds / 60
        low, high = scored.interval("accuracy")
        lines.append(Line(name, [minutes], [scored.accuracy], low=[low], high=[high], joined=False))
    if not any(arm.cost.epochs for arm in evidence.arms.values()):
        return None
    level = majority(next(iter(evidence.scored.values())))
    longest = max(line.x[0] for line in lines)
    bottom = min(line.low[0] for line in lines)
    near = level > bottom - FAR
    ranges = (0.0, longest * 1.08 or 1.0), (max(0.0, min(bottom, level if near else bottom) - 0.03), 1.0)
    axes = Axes("minutes of training", "accuracy", *ranges, level=level if near else None, wide=True)
    texts = [f"{line.name}: {line.x[0]:.2f} min, {line.y[0]:.3f} ({line.low[0]:.3f} to {line.high[0]:.3f})" for line in lines]
    where = "" if near else ", below the figure"
    guess = f"{'dashed: ' if near else ''}the majority class of the same images{where}: {level:.3f}"
    caption = f"Minutes of training and accuracy of each arm, with 95 % intervals; {guess}"
    legend = list(zip(distinct_colors(len(texts)), texts, strict=True))
    return _chart(caption, lines, axes, legend)


def arm_charts(folder: Path, metrics: ArmMetrics) -> list[Chart]:
    """The charts of an arm.

    Args:
        folder: The arm's.
        metrics: Of the arm.

    Returns:
        Those whose files are there, and are what they should be.
    """
    charts = epoch_charts(folder)
    try:
        table = pd.read_csv(folder / "predictions.csv", dtype={"image": str, "patient": str}, keep_default_na=False)
        charts += prediction_charts(table, metrics)
    except DAMAGE:
        pass
    return [chart for chart in charts if chart is not None]


def epoch_charts(folder: Path) -> list[Chart | None]:
    """Loss and validation metric by epoch: of an arm's fit, or of each of its fits."""
    fits = {file.parent.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("history.csv"))[:MAX_FITS]}
    losses, metrics = [], []
    for fit, file in fits.items():
        try:
            rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
            columns = {name: [float(row[name] or "nan") for row in rows] for name in ("epoch", "train_loss", "valid_loss")}
            metric = "dice" if rows and "dice" in rows[0] else "accuracy"
            values = [float(row[metric] or "nan") for row in rows]
        except DAMAGE:
            continue
        prefix = "" if fit == "." else f"{fit} "
        losses += [Line(f"{prefix}{name}", columns["epoch"], columns[column]) for name, column in
                   (("training", "train_loss"), ("validation", "valid_loss")) if fit == "." or name == "validation"]  # fmt: skip
        metrics.append(Line(f"{prefix}validation {metric}", columns["epoch"], values))
    epochs = [epoch for line in metrics for epoch in line.x]
    span = (min(epochs), max(epochs)) if epochs else None
    return [
        _chart("Loss by epoch", losses, Axes("epoch", "loss", span)),
        _chart("Validation metric by epoch", metrics, Axes("epoch", "metric", span, UNIT)),
    ]


def prediction_charts(table: pd.DataFrame, metrics: ArmMetrics) -> list[Chart | None]:
    """What predictions are worth: of the test set where there is one, else of the validation set; the last chart of every set.

    Args:
        table: As in `predictions.csv`.
        metrics: Of the arm.

    Returns:
        The charts, None where nothing is known.
    """
    headline = metrics.headline
    if metrics.labels_only:
        return []
    scored = table[table.side == ("test" if metrics.test else "valid")]
    roc, recall, roc_legend, recall_legend = [], [], [], []
    for index, (name, of_class) in enumerate(headline.per_class.items()):
        if of_class.roc_auc is None:
            continue
        truth, scores = (scored.label == name).to_numpy(), scored[PROBABILITY + name].to_numpy(float)
        false, true, _ = roc_curve(truth, scores)
        precisions, recalls, _ = precision_recall_curve(truth, scores)
        color = color_of(index, len(headline.per_class))
        roc_legend.append((color, f"{name}: AUC {of_class.roc_auc:.3f}"))
        recall_legend.append((color, f"{name}: AP {of_class.average_precision:.3f}"))
        roc.append(Line(name, false.tolist(), true.tolist(), color=color))
        curve = Line(name, recalls.tolist(), precisions.tolist(), step=True, color=color)  # from recall 1 down, as they are given
        recall.append(curve)
    bins = [each for each in headline.calibration.bins if each.images]
    reliable = Line("answers", [each.confidence for each in bins], [each.accuracy for each in bins])
    error = [("", f"calibration error {headline.ece:.3f}")]
    reliability = Axes("confidence", "share right", UNIT, UNIT, diagonal=True)
    risks = risk_lines(table, list(headline.per_class))
    worst = max((value for line in risks for value in line.y), default=0.0)
    coverage = Axes("share answered", "share wrong", UNIT, (0.0, max(0.05, min(1.0, worst * 1.05))))
    return [
        _chart("ROC curve of each class", roc, Axes("1 - specificity", "sensitivity", UNIT, UNIT, diagonal=True), roc_legend),
        _chart("Precision against recall of each class", recall, Axes("recall", "precision", UNIT, UNIT), recall_legend),
        _chart("Confidence against the share that was right", [reliable], reliability, error),
        _chart("Wrong answers by the share answered", risks, coverage),
    ]


def risk_lines(table: pd.DataFrame, classes: Sequence[str]) -> list[Line]:
    """Of every set, the share of wrong answers among the most confident, by how many are answered (Geifman and El-Yaniv 2017).

    Args:
        table: As in `predictions.csv`.
        classes: Their names.

    Returns:
        One line per set, the validation set's first.
    """
    scored = table[~table.side.isin(UNSCORED)]
    names = scored.side.str.removeprefix("external:").replace({"valid": "validation"})
    if "source" in scored:
        names = names.mask(scored.side == "test", scored.source)
    lines = []
    for name, rows in sorted(scored.groupby(names.to_numpy(), sort=False), key=lambda named: named[0] != "validation"):
        probabilities = rows[[PROBABILITY + label for label in classes]].to_numpy(float)
        wrong = np.array(classes)[probabilities.argmax(1)] != rows.label.to_numpy()
        order, answered = np.argsort(-probabilities.max(1), kind="stable"), np.arange(1, len(rows) + 1)
        lines.append(Line(str(name), (answered / len(rows)).tolist(), (np.cumsum(wrong[order]) / answered).tolist()))
    return lines


def _chart(caption: str, lines: list[Line], axes: Axes, legend: list[tuple[str, str]] | None = None) -> Chart | None:
    svg = line_chart(caption, lines, axes)
    if not svg:
        return None
    legend = legend if legend is not None else [(color_of(index, len(lines)), line.name) for index, line in enumerate(lines)]
    return Chart(svg, caption, legend, axes.wide)
