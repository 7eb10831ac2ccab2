"""The page of a sweep: its headline, then how it came to the winner; one file, with a link to the final run's page beside it."""

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from darkcovid.core.io import write_text
from darkcovid.evaluation.sweep_result import SweepResult, TrialRecord
from darkcovid.recipe import LOWER_IS_BETTER
from darkcovid.report.plots import TRAIN, VALID

COMPLETE, PRUNED = "complete", "pruned"
PLAIN_CIRCLE = {"s": 160, "facecolors": "none", "edgecolors": "#228833", "zorder": 4}
LOG_RATIO = 30  # an axis of numbers above 0 whose greatest is more than this many times the least is logarithmic
MAX_TICKS = 12
EQUAL_ROOM = 0.05
UNBOUNDED = ("loss", "log_loss")


def write_sweep_report(folder: Path, result: SweepResult, trials: Sequence[TrialRecord]) -> None:
    """Write `report.html` into a sweep's folder.

    Args:
        folder: The sweep's.
        result: What it found.
        trials: All of them, in the order in which they began.
    """
    environment = Environment(loader=PackageLoader("darkcovid.report"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("sweep.html.j2").render(**_context(result, trials))
    write_text(folder / "report.html", page)


def _context(result: SweepResult, trials: Sequence[TrialRecord]) -> dict[str, Any]:
    metric = result.metric.replace("_", " ")
    plots = [
        (
            plot_sweep_history(result, trials),
            f"The {metric} of each trial on inner folds of the training set, and the best so far.",
        ),
        (plot_importance(result), "Share of the differences among trials that each key explains (functional ANOVA)."),
        (plot_parallel_coordinates(result, trials), f"One line per trial, colored by its {metric}; pruned trials are dotted."),
    ]
    order = sorted(trials, key=lambda trial: (trial.state != COMPLETE, _rank(result, trial), trial.number))
    final = [
        (name, arm.arm, _figure(arm.metric), _interval(arm.interval), _spread(arm.mean, arm.sd))
        for name, arm in result.final.items()
    ]
    return {
        "result": result,
        "metric": metric,
        "final": final,
        "confirmed": "winner" in result.final,
        "difference": result.difference and {key: f"{value:+.3f}" for key, value in result.difference.items()},
        "plots": [{"data": _png(figure), "caption": caption} for figure, caption in plots if figure is not None],
        "keys": list(result.best.values),
        "rows": [_row(trial, list(result.best.values), result) for trial in order],
        "final_report": f"../{quote(Path(result.final_run).name)}/report.html",
        "winner": [(key, _value(value)) for key, value in result.best.values.items()],
        "plain": "" if result.plain is None else _figure(result.plain.metric),
        "best": _figure(result.best.metric),
    }


def plot_sweep_history(result: SweepResult, trials: Sequence[TrialRecord]) -> Figure:
    """The metric of each trial, and the best so far.

    Args:
        result: Of the sweep.
        trials: All of them.

    Returns:
        matplotlib's figure.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.add_subplot()
    known = [trial for trial in trials if trial.metric is not None]
    complete = [trial for trial in known if trial.state == COMPLETE]
    kinds: list[tuple[list[TrialRecord], str, dict[str, Any]]] = [
        ([trial for trial in known if trial.state == PRUNED], "pruned (metric so far)", {"marker": "x", "color": "#BBBBBB"}),
        (complete, "complete", {"color": TRAIN, "zorder": 3}),
        ([trial for trial in complete if trial.plain][:1], "plain recipe", PLAIN_CIRCLE),
    ]
    for these, label, style in kinds:
        if these:
            axes.scatter([trial.number for trial in these], [trial.metric or 0.0 for trial in these], label=label, **style)
    better = np.minimum if result.metric in LOWER_IS_BETTER else np.maximum
    best = better.accumulate([trial.metric or 0.0 for trial in complete])
    axes.step([trial.number for trial in complete], best, where="post", color=VALID, label="best so far")
    axes.set(xlabel="trial", ylabel=result.metric.replace("_", " "))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="best", framealpha=0.9, fontsize="small")
    return figure


def plot_importance(result: SweepResult) -> Figure | None:
    """The share of the metric's variance that each key explains.

    Args:
        result: Of the sweep.

    Returns:
        matplotlib's figure; None where that is not known.
    """
    if not result.importance:
        return None
    names = list(result.importance)[::-1]
    figure = Figure(figsize=(9, 0.8 + 0.4 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(names, [result.importance[name] for name in names], color=TRAIN, height=0.6)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlim=(0, 1.08), xlabel="importance")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_parallel_coordinates(result: SweepResult, trials: Sequence[TrialRecord]) -> Figure | None:
    """One line per trial through its values, colored by its metric.

    Args:
        result: Of the sweep.
        trials: All of them.

    Returns:
        matplotlib's figure; None where no trial is complete or pruned.
    """
    shown = [trial for trial in trials if trial.state in (COMPLETE, PRUNED) and trial.metric is not None]
    if not shown:
        return None
    keys = list(result.best.values)
    columns = {key: _axis([trial.values[key] for trial in shown]) for key in keys}
    columns[result.metric] = _axis([trial.metric for trial in shown])
    figure = Figure(figsize=(max(9, 1.7 * len(columns)), 4.4), layout="constrained")
    axes = figure.add_subplot()
    metrics = [trial.metric or 0.0 for trial in shown]
    colors = _shading(metrics, result.metric)
    shades = colormaps["viridis"](np.linspace(0, 0.85, 256))  # its yellow is hard to see on white
    palette = ListedColormap(shades[::-1] if result.metric in LOWER_IS_BETTER else shades)
    order = sorted(range(len(shown)), key=lambda row: (shown[row].state == COMPLETE, -_rank(result, shown[row])))
    for row in order:
        trial = shown[row]
        heights = [places[row] for places, _ in columns.values()]
        style = {"linestyle": "-", "alpha": 0.9} if trial.state == COMPLETE else {"linestyle": ":", "alpha": 0.5}
        width = 3.0 if trial.number == result.best.number else 1.3
        axes.plot(range(len(columns)), heights, color=palette(colors(metrics[row])), linewidth=width, **style)
    for place, (_, ticks) in enumerate(columns.values()):
        axes.axvline(place, color="#57606a", linewidth=0.8)
        for height, label in ticks:
            axes.annotate(
                label, (place, height), (3, 0), textcoords="offset points", fontsize=8, va="center",
                bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
            )  # fmt: skip
    axes.set_xticks(range(len(columns)), [name.replace(".", ".\n", name.count(".") - 1) for name in columns], fontsize=8)
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(columns) - 0.6)
    axes.spines[:].set_visible(False)
    figure.colorbar(ScalarMappable(colors, palette), ax=axes, label=result.metric.replace("_", " "), pad=0.01)
    return figure


def _shading(metrics: Sequence[float], name: str) -> Normalize:
    """From the least to the greatest; of metrics that are all equal a little around them, of what the metric can be."""
    low, high = min(metrics), max(metrics)
    if low == high:
        low, high = max(0.0, low - EQUAL_ROOM), high + EQUAL_ROOM
        high = min(1.0, high) if name not in UNBOUNDED else high
    return Normalize(low, high)


def _axis(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """(n) heights in 0..1 on a coordinate, and the (height, text) of its ticks."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(values):
        log = min(numbers) > 0 and max(numbers) > LOG_RATIO * min(numbers)
        scaled = [math.log10(number) if log else float(number) for number in numbers]
        low, high = min(scaled), max(scaled)
        heights = [(number - low) / (high - low) if high > low else 0.5 for number in scaled]
        distinct = dict(sorted(zip(heights, map(_value, numbers), strict=True)))
        if len(distinct) > MAX_TICKS // 2:
            distinct = {tick: _value(_unscaled(low + tick * (high - low), log)) for tick in (0.0, 0.25, 0.5, 0.75, 1.0)}
        return heights, list(distinct.items())
    names = sorted({_value(value) for value in values})
    places = {name: index / max(len(names) - 1, 1) for index, name in enumerate(names)}
    ticks = [(height, name[:24]) for name, height in places.items()] if len(names) <= MAX_TICKS else []
    return [places[_value(value)] for value in values], ticks


def _unscaled(number: float, log: bool) -> float:
    return 10**number if log else number


def _rank(result: SweepResult, trial: TrialRecord) -> float:
    """Least for the best."""
    if trial.metric is None:
        return math.inf
    return trial.metric if result.metric in LOWER_IS_BETTER else -trial.metric


def _row(trial: TrialRecord, keys: Sequence[str], result: SweepResult) -> dict[str, Any]:
    tied = trial.state == COMPLETE and trial.metric == result.best.metric and result.trials["tied"] > 1
    best = ("tied, taken" if tied else "the best") if trial.number == result.best.number else "tied" if tied else ""
    return {
        "number": trial.number,
        "state": trial.state,
        "values": [_value(trial.values.get(key)) for key in keys],
        "metric": _figure(trial.metric),
        "folds": ", ".join(_figure(metric) for metric in trial.folds) or "-",
        "seconds": "-" if trial.seconds is None else f"{trial.seconds:.1f}",
        "remark": "; ".join(filter(None, [best, "the plain recipe" if trial.plain else "", trial.reason])),
    }


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "null" if value is None else str(value)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _spread(mean: float | None, sd: float | None) -> str:
    return "-" if mean is None else f"{mean:.3f}" + (f" ± {sd:.3f}" if sd is not None else "")


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
