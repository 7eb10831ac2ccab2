"""Curves and matrices as PNG files, drawn without a screen."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.text import Text
from sklearn.decomposition import PCA
from sklearn.metrics import precision_recall_curve, roc_curve
from sklearn.preprocessing import StandardScaler

from darkcovid.core.io import atomic_path
from darkcovid.evaluation.benchmark_result import BenchmarkResult
from darkcovid.evaluation.results import Arm, ArmMetrics, ClassifierArm, Comparison
from darkcovid.evaluation.time_to_accuracy import TimeToAccuracy
from darkcovid.metrics.calibration import ReliabilityBin
from darkcovid.metrics.classification import PROBABILITY
from darkcovid.report.arm_charts import risk_lines
from darkcovid.report.colors import PALETTE, distinct_colors
from darkcovid.training.history import History

TRAIN, VALID, STOCK_COLOR = PALETTE[0], PALETTE[1], "#777777"
SCRIPTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Thai", "WenQuanYi Zen Hei"),
    *("Droid Sans Fallback", "Arial Unicode MS", "Microsoft YaHei", "PingFang SC", "FreeSans"),
)
STAGE_COLORS = ("#CCBB44", "#4477AA", "#66CCEE", "#AA3377", "#228833", "#BBBBBB")


def shown(classes: Sequence[str]) -> list[str]:
    """The names of classes as the figure's fonts can draw them: as they are, or `class 2` for the second where a letter of it is
    in no font, so that nothing is drawn as a box."""
    glyphs = _glyphs()
    return [
        name if all(ord(letter) in glyphs or letter == " " for letter in name) else f"class {number}"
        for number, name in enumerate(classes, 1)
    ]


@cache
def _families() -> list[str]:
    """The usual font first, then one font of every script that is installed."""
    installed = {entry.name for entry in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in SCRIPTS if name in installed)]


@cache
def _glyphs() -> frozenset[int]:
    """The letters that one of these fonts has."""
    fonts = [get_font(findfont(name, fallback_to_default=True)) for name in _families()]
    return frozenset().union(*(font.get_charmap() for font in fonts))


def plot_history(history: History, folder: Path) -> None:
    """`loss.png`, `<metric>.png` and `learning_rate.png` of a fit.

    Args:
        history: Of the fit.
        folder: Where the plots go.
    """
    epochs = [row["epoch"] for row in history.rows]
    metric = history.metric
    figure, axes = _figure("epoch", "loss")
    axes.plot(epochs, [row["train_loss"] for row in history.rows], color=TRAIN, label="training", marker=_marker(epochs))
    axes.plot(epochs, [row["valid_loss"] for row in history.rows], color=VALID, label="validation", marker=_marker(epochs))
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    save(figure, folder / "loss.png")

    figure, axes = _figure("epoch", f"validation {metric}")
    axes.plot(epochs, [row[metric] for row in history.rows], color=VALID, marker=_marker(epochs))
    axes.set_ylim(0, 1)
    save(figure, folder / f"{metric}.png")

    figure, axes = _figure("training step", "learning rate")
    axes.plot(range(1, len(history.lrs) + 1), history.lrs, color=TRAIN)
    save(figure, folder / "learning_rate.png")


def plot_confusion(matrix: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """A confusion matrix, shaded by the share of the true class.

    Args:
        matrix: (classes, classes) int counts, [true][predicted].
        classes: Their names.
        path: The PNG file.
    """
    figure = Figure(figsize=(1.6 + 1.1 * len(classes), 1.2 + 1.0 * len(classes)), layout="constrained")
    axes = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        text = f"{count}\n{shares[row, column]:.0%}"
        axes.text(column, row, text, ha="center", va="center", color="white" if shares[row, column] > 0.55 else "black")
    axes.set_xticks(range(len(classes)), shown(classes))
    axes.set_yticks(range(len(classes)), shown(classes))
    axes.set(xlabel="predicted", ylabel="true")
    save(figure, path)


def plot_predictions(predictions: pd.DataFrame, metrics: ArmMetrics, classes: Sequence[str], folder: Path) -> None:
    """`confusion_matrix.png`, `roc.png`, `precision_recall.png` and `reliability.png` of the test set, or without one of the
    validation set; and `risk_coverage.png` of every set.

    Args:
        predictions: As in `predictions.csv`.
        metrics: As `evaluate` gives them.
        classes: Their names.
        folder: Where the plots go.
    """
    headline = metrics.headline
    plot_confusion(np.array(headline.confusion_matrix), classes, folder / "confusion_matrix.png")
    scored = predictions[predictions.side == ("test" if metrics.test else "valid")]
    roc, roc_axes = _figure("1 - specificity", "sensitivity")
    recall, recall_axes = _figure("recall", "precision")
    for name, label, color in zip(classes, shown(classes), distinct_colors(len(classes)), strict=True):
        truth, scores = (scored.label == name).to_numpy(), scored[PROBABILITY + name].to_numpy()
        of_class = headline.per_class[name]
        if of_class.roc_auc is None:
            continue
        false, true, _ = roc_curve(truth, scores)
        precisions, recalls, _ = precision_recall_curve(truth, scores)
        roc_axes.plot(false, true, color=color, label=f"{label}: AUC {of_class.roc_auc:.3f}")
        recall_axes.step(recalls, precisions, color=color, where="post", label=f"{label}: AP {of_class.average_precision:.3f}")
    roc_axes.plot([0, 1], [0, 1], color="gray", linestyle=":")
    for figure, axes, name in ((roc, roc_axes, "roc"), (recall, recall_axes, "precision_recall")):
        axes.set(xlim=(0, 1.01), ylim=(0, 1.01))
        if axes.get_legend_handles_labels()[0]:  # none where all images are of one class
            axes.legend(loc="lower center" if name == "precision_recall" else "lower right", framealpha=0.9)
        save(figure, folder / f"{name}.png")
    plot_reliability(headline.calibration.bins, headline.ece, folder / "reliability.png")
    plot_risk_coverage(predictions, classes, folder / "risk_coverage.png")


def plot_risk_coverage(predictions: pd.DataFrame, classes: Sequence[str], path: Path) -> None:
    """The share of wrong answers among the most confident, by how many are answered, of every set (Geifman and El-Yaniv 2017).

    Args:
        predictions: As in `predictions.csv`.
        classes: Their names.
        path: The PNG file.
    """
    figure, axes = _figure("share answered, the most confident first", "share of these that are wrong")
    lines = risk_lines(predictions, classes)
    for line, color in zip(lines, distinct_colors(len(lines)), strict=True):
        axes.plot(line.x, line.y, color=color, label=line.name)
    axes.set(xlim=(0, 1.01), ylim=(0, None))
    axes.legend(loc="upper left", framealpha=0.9)
    save(figure, path)


def plot_source_map(features: np.ndarray, classes: np.ndarray, sources: np.ndarray, path: Path) -> None:
    """A network's features of images on their first two principal components, colored by class and by source.

    Args:
        features: (n, c) float.
        classes: (n,) names.
        sources: (n,) names.
        path: The PNG file.
    """
    if not np.isfinite(features).all() or min(features.shape) < 2:
        return
    places = PCA(2, random_state=0).fit_transform(StandardScaler().fit_transform(features))
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    for number, (title, names) in enumerate((("class", classes), ("source", sources)), 1):
        axes = figure.add_subplot(1, 2, number)
        present = sorted(set(names))
        for name, label, color in zip(present, shown(present), distinct_colors(len(present)), strict=True):
            rows = names == name
            axes.scatter(*places[rows].T, s=6, alpha=0.6, color=color, label=label)
        axes.set(title=f"by {title}", xticks=[], yticks=[], xlabel="first component", ylabel="second component")
        axes.legend(framealpha=0.9, markerscale=2)
    save(figure, path)


def plot_deletion(hidden: np.ndarray, curves: dict[str, np.ndarray], path: Path) -> None:
    """Mean probability of the answers by the share of the image that is hidden.

    Args:
        hidden: (steps,) shares.
        curves: (steps,) probabilities, by what decides which patch is hidden first.
        path: The PNG file.
    """
    figure, axes = _figure("share of the image that is hidden", "mean probability of the answer")
    for (name, curve), color in zip(curves.items(), (VALID, TRAIN), strict=True):
        axes.plot(hidden, curve, color=color, marker="o", label=name)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False)
    save(figure, path)


def plot_reliability(bins: Sequence[ReliabilityBin], error: float, path: Path) -> None:
    """Accuracy against confidence; a dot's area is its share of the images.

    Args:
        bins: Of confidence.
        error: The expected calibration error, in 0..1.
        path: The PNG file.
    """
    figure, axes = _figure("confidence", "share that was right")
    images = np.array([part.images for part in bins])
    confidence, accuracy = [part.confidence for part in bins], [part.accuracy for part in bins]
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":")
    axes.plot(confidence, accuracy, color=TRAIN)
    axes.scatter(confidence, accuracy, s=20 + 400 * images / images.sum(), color=TRAIN)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), title=f"calibration error {error:.3f}")
    save(figure, path)


def plot_range_test(lrs: Sequence[float], losses: Sequence[float], suggestions: dict[str, float], path: Path) -> None:
    """Loss against learning rate on a log scale, with a line at each suggestion (those that agree share one).

    Args:
        lrs: Learning rates tried.
        losses: Smoothed training loss at each.
        suggestions: Learning rate by the suggestion's name.
        path: The PNG file.
    """
    figure, axes = _figure("learning rate (log scale)", "smoothed training loss")
    axes.plot(lrs, losses, color=TRAIN)
    axes.set_xscale("log")
    groups: dict[float, list[str]] = {}
    for name, rate in suggestions.items():
        groups.setdefault(rate, []).append(name)
    for color, (rate, names) in zip(("#EE6677", "#228833", "#CCBB44", "#AA3377"), groups.items(), strict=False):
        axes.axvline(rate, color=color, linestyle="--", label=f"{', '.join(names)}: {rate:.2g}")
    axes.set_ylim(top=min(max(losses), 2 * losses[0]))  # past that the loss only explodes
    axes.legend(framealpha=0.9)
    save(figure, path)


def plot_bench(result: BenchmarkResult, path: Path) -> None:
    """Seconds of a median epoch of each contender by stage, and how many times faster than stock fastai it is.

    Args:
        result: As `benchmark.bench` gives it.
        path: The PNG file.
    """
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.add_subplot()
    labels, timings = list(result.contenders), list(result.contenders.values())
    left = np.zeros(len(labels))
    scale = [timing.epoch_seconds / sum(timing.stages.values()) for timing in timings]
    for stage, color in zip(timings[0].stages, STAGE_COLORS, strict=False):
        seconds = np.array([timing.stages[stage] for timing in timings]) * scale
        axes.barh(labels, seconds, left=left, color=color, label=stage)
        left += seconds
    for row, label in enumerate(labels):
        axes.text(left[row], row, f" {left[row]:.1f} s, {result.ratio(label):.1f}x", va="center")
    axes.set(xlabel="seconds of one epoch", xlim=(0, 1.2 * left.max()))
    axes.invert_yaxis()
    axes.legend(ncols=len(STAGE_COLORS), fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    save(figure, path)


def plot_time_to_accuracy(result: TimeToAccuracy, path: Path) -> None:
    """Validation accuracy over seconds of training, of each contender.

    Args:
        result: As `time_to_accuracy` gives it.
        path: The PNG file.
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for (label, curve), color in zip(result.contenders.items(), (STOCK_COLOR, VALID, TRAIN), strict=False):
        axes.plot(curve.seconds, curve.accuracy, color=color, alpha=0.3, linewidth=1)
        smoothed = [float("nan") if mean is None else mean for mean in curve.smoothed]
        reached = curve.reached(result.target)
        said = "not reached" if reached is None else f"{reached:.0f} s"
        axes.plot(curve.seconds, smoothed, color=color, label=f"{label}: {said}")
        if reached is not None:
            axes.plot(reached, smoothed[curve.seconds.index(reached)], "o", color=color)
    axes.axhline(result.target, color="0.6", linestyle=":", linewidth=1)
    axes.set(xscale="log", xlabel="seconds of training and validation", ylabel="validation accuracy, mean of 3 epochs")
    axes.legend(frameon=False)
    save(figure, path)


def plot_comparison(comparison: Comparison, path: Path) -> None:
    """What each arm cost and how good it was: training minutes, and accuracy (Dice for a segmenter).

    Args:
        comparison: Of the arms.
        path: The PNG file.
    """
    arms = comparison.arms
    figure = Figure(figsize=(8, 0.9 + 0.55 * len(arms)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = list(arms)[::-1]
    _bars(left, names, [arms[name].cost.train_seconds / 60 for name in names], "training (minutes)", "{:.2f}", TRAIN)
    tested = all(isinstance(arm, ClassifierArm) and arm.metrics.test for arm in arms.values())
    accuracy = f"{'test' if tested else 'validation'} accuracy"
    label = accuracy if isinstance(arms[names[0]], ClassifierArm) else "validation Dice"
    _bars(right, names, [_quality(arms[name]) for name in names], label, "{:.3f}", VALID)
    right.set_xlim(0, 1.15)
    right.set_xticks([0, 0.25, 0.5, 0.75, 1])
    save(figure, path)


def _quality(arm: Arm) -> float:
    return arm.metrics.headline.accuracy if isinstance(arm, ClassifierArm) else arm.metrics.dice.mean


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all. Letters that the usual font lacks are taken from the others of `_families`.

    Args:
        figure: matplotlib's.
        path: The PNG file.
    """
    families = _families()
    for text in figure.findobj(Text):
        text.set_fontfamily(families)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _bars(axes, names: list[str], values: list[float], label: str, form: str, color: str) -> None:
    bars = axes.barh(names, values, color=color, height=0.6)
    axes.bar_label(bars, [form.format(value) for value in values], padding=3)
    axes.margins(x=0.18)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)


def _figure(xlabel: str, ylabel: str):
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _marker(points: Sequence) -> str | None:
    return "o" if len(points) < 3 else None
