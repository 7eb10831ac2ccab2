"""The comparison as a person reads it: arms as columns, in the terminal and as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from rich.markup import escape
from rich.table import Table

from darkcovid.evaluation.results import (
    Arm,
    ArmCost,
    ArmMetrics,
    ClassifierArm,
    Comparison,
    MaskMetrics,
    SegmenterArm,
    SetMetrics,
)
from darkcovid.metrics.classification import ClassMetrics
from darkcovid.metrics.confidence_intervals import Interval
from darkcovid.metrics.conformal import NOT_SURE

Rows = list[tuple[str, list[str]]]
RANDOM, IMAGENET = "random", "ImageNet"
GAP = 2  # spaces between columns of a terminal's table


def comparison_rows(comparison: Comparison) -> Rows:
    """(figure's name, one text an arm) for every figure that the arms have."""
    arms = list(comparison.arms.values())
    costs, summaries = [arm.cost for arm in arms], [arm.summary for arm in arms]
    rows = _cost_rows(comparison.arms) if any(cost.epochs for cost in costs) else []  # of an audit alone no cost is known
    rows += _classifier_rows([arm.metrics if isinstance(arm, ClassifierArm) else None for arm in arms])
    rows += _segmenter_rows([arm.metrics if isinstance(arm, SegmenterArm) else None for arm in arms])
    if not any(cost.epochs for cost in costs) and not any(summary.bad_images for summary in summaries):
        return rows
    return [*rows, ("unreadable images", [str(summary.bad_images) for summary in summaries])]


def _cost_rows(by_name: Mapping[str, Arm]) -> Rows:
    """What arms were and what they cost."""
    arms = list(by_name.values())
    costs, summaries = [arm.cost for arm in arms], [arm.summary for arm in arms]
    rows: Rows = [
        ("image size", _of_arms(by_name, lambda arm: f"{arm.cost.image_size[0]}x{arm.cost.image_size[1]}")),
        ("parameters", [f"{summary.parameters:,}" for summary in summaries]),
        *_initial_weights(by_name),
        ("train / valid images", [f"{summary.images['train']} / {summary.images['valid']}" for summary in summaries]),
        ("epochs", [str(cost.epochs) for cost in costs]),
    ]
    if any(cost.segment_seconds is not None for cost in costs):
        rows += [
            ("preparing (min)", [_minutes(cost.prepare_seconds) for cost in costs]),
            ("segmentation (min)", [_minutes(cost.segment_seconds) for cost in costs]),
        ]
    rows += [
        ("training (min)", [_minutes(cost.train_seconds) for cost in costs]),
        ("s / epoch", [f"{cost.epoch_seconds:.1f}" for cost in costs]),
        ("images / s", [f"{cost.train_images_per_second:.0f}" for cost in costs]),
        ("speed-up per epoch", [_ratio(arm.speedup) for arm in arms]),
        ("peak memory (GB)", [_gigabytes(cost.peak_host_bytes) for cost in costs]),
    ]
    if any(cost.peak_device_bytes for cost in costs):
        rows.append(("peak GPU memory (GB)", [_gigabytes(cost.peak_device_bytes) for cost in costs]))
    energies = [_energy(cost) for cost in costs]
    if any(energy is not None for energy in energies):
        rows.append(("energy (Wh)", ["-" if energy is None else f"{energy:.2f}" for energy in energies]))
    return rows


def _initial_weights(arms: Mapping[str, Arm]) -> Rows:
    """Which arms began with which weights; nothing where all began with random ones."""
    texts = _of_arms(arms, lambda arm: _short(began.source) if (began := arm.summary.initial_weights) else RANDOM)
    return [("initial weights", texts)] if set(texts) != {RANDOM} else []


def _short(source: str) -> str:
    """`ImageNet`, or a file without its folder."""
    return IMAGENET if source.startswith(IMAGENET) else PurePath(source).name


def _of_arms(arms: Mapping[str, Arm], text: Callable[[Arm], str]) -> list[str]:
    """A text per arm; of an ensemble, that which all its arms share."""
    texts = []
    for arm in arms.values():
        own = {text(arms[name]) if name in arms else "" for name in arm.summary.members} or {text(arm)}
        texts.append(own.pop() if len(own) == 1 and "" not in own else "of its arms")
    return texts


def comparison_tables(comparison: Comparison, width: int) -> list[Table]:
    """A comparison for a terminal: one table, or several of a few arms each where all do not fit side by side.

    Args:
        comparison: Of the arms.
        width: Columns of the terminal.

    Returns:
        rich's tables.
    """
    rows, names = comparison_rows(comparison), list(comparison.arms)
    label_width = max(len(label) for label, _ in rows)
    widths = [max(len(name), *(len(texts[arm]) for _, texts in rows)) + GAP for arm, name in enumerate(names)]
    tables, start = [], 0
    while start < len(names):
        end, used = start + 1, label_width + widths[start]
        while end < len(names) and used + widths[end] <= width:
            used += widths[end]
            end += 1
        tables.append(_table(rows, names, slice(start, end)))
        start = end
    return tables


def _table(rows: Rows, names: list[str], arms: slice) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    table.add_column("", no_wrap=True)
    for name in names[arms]:
        table.add_column(name, justify="right", no_wrap=True)
    for label, texts in rows:
        table.add_row(label, *texts[arms])
    return table


def comparison_markdown(comparison: Comparison) -> str:
    """The same table in Markdown, with the notice that every report carries."""
    names = list(comparison.arms)
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    lines += [f"| {label} | " + " | ".join(texts) + " |" for label, texts in comparison_rows(comparison)]
    notes = [f"{number}: {run}\n" for number, run in comparison.runs.items()]
    notes += [f"{sentence}\n" for sentence in comparison_notes(comparison)]
    notes += [f"{pair.sentence}\n" for pair in comparison.pairs]
    return "\n".join([*lines, "", *notes, notice(comparison), ""])


def comparison_notes(comparison: Comparison) -> list[str]:
    """Why figures of arms should not be compared, why a speed-up or a paired test is missing: a sentence each."""
    base = comparison.arms.get(comparison.reference_arm)
    sentences = [f"Not comparable: {reason}." for reason in comparison.not_comparable]
    if base is not None and base.speedup is not None:
        own = base.summary.images["train"]
        counts = {name: arm.summary.images["train"] for name, arm in comparison.arms.items() if arm.speedup is None}
        others = [f"{name} ({count} training images)" for name, count in counts.items() if count != own]
        if others:
            names = f"{', '.join(others)} and of {comparison.reference_arm} ({own})"
            sentences.append(f"Epochs of {names} are different amounts of work: no speed-up is given.")
    return sentences + [f"{reason}." for reason in comparison.not_paired]


def prediction_table(answers: Sequence[dict[str, Any]]) -> Table:
    """What a fitted model said of images, a row each: answer, probabilities, and numbers of `numbered_warnings`."""
    classes = next((list(answer["probabilities"]) for answer in answers if answer["probabilities"]), [])
    numbers = numbered_warnings(answers)
    positives = any("positive" in answer for answer in answers)
    table = Table(box=None, pad_edge=False)
    table.add_column("image")
    table.add_column("answer")
    for name in classes:
        table.add_column(name, justify="right")
    if positives:
        table.add_column("positive")
    if numbers:
        table.add_column("warnings")
    for answer in answers:
        cells = [answer["image"], _answer(answer)]
        cells += [f"{answer['probabilities'][name]:.3f}" if answer["probabilities"] else "-" for name in classes]
        cells += [(", ".join(answer["positive"]) or "none") if "positive" in answer else "-"] if positives else []
        cells += [", ".join(str(numbers[warning]) for warning in answer["warnings"])] if numbers else []
        table.add_row(*map(escape, cells))
    return table


def numbered_warnings(answers: Sequence[dict[str, Any]]) -> dict[str, int]:
    """The number, from 1, of each warning: many images share one."""
    every = dict.fromkeys(warning for answer in answers for warning in answer["warnings"])
    return {warning: number for number, warning in enumerate(every, 1)}


def _answer(answer: dict[str, Any]) -> str:
    """`covid`, `not sure (covid or pneumonia)`, `not like the training images`, or `-`."""
    could = " or ".join(answer["class_set"]) if answer["answer"] == NOT_SURE else ""
    return f"{answer['answer'] or '-'}{f' ({could})' if could else ''}"


VIEW_NAMES = {
    "lungs_erased": "lungs erased",
    "lungs_only": "lungs only",
    "border_only": "border only",
    "thumbnail": "16 px per side",
}
RESEARCH_ONLY = "Research software, never a diagnosis."


def notice(comparison: Comparison) -> str:
    """Which images the metrics are of, once where all arms agree, else by arm; and that this is research."""
    said: dict[str, list[str]] = {}
    for name, arm in comparison.arms.items():
        said.setdefault(scored_set(arm), []).append(name)
    texts = [f"{', '.join(names)}: {texts}" for texts, names in said.items()] if len(said) > 1 else list(said)
    return f"{'; '.join(texts)}. {RESEARCH_ONLY}"


def scored_set(arm: Arm) -> str:
    """`Sources held out`, `Held-out test set`, `Out-of-fold`, `The images that were predicted` or `One validation split`, with
    the count of fits where there are several."""
    fits = f", {arm.cost.fits} fits pooled" if arm.cost.fits > 1 else ""
    if isinstance(arm, SegmenterArm):
        return f"{'Validation sets' if fits else 'One validation split'}{fits} of images with lung masks"
    if arm.metrics.sources:
        return f"Sources held out ({', '.join(arm.metrics.sources)}){fits}"
    if arm.metrics.test:
        return f"Held-out test set{fits}"
    if arm.metrics.scored_on == "predictions":
        return "The images that were predicted"
    return f"{'Out-of-fold' if arm.metrics.scored_on == 'out-of-fold' else 'One validation split'}{fits}"


def _classifier_rows(arms: Sequence[ArmMetrics | None]) -> Rows:
    """Of all arms' metrics, None where an arm is no classifier; no rows where none is one."""
    known = [metrics for metrics in arms if metrics is not None]
    if not known:
        return []
    classes = list(dict.fromkeys(name for metrics in known for name in metrics.valid.per_class))
    rows = _set_rows("", [metrics and metrics.valid for metrics in arms], classes)
    if any(metrics.tta for metrics in known):
        averaged = [metrics.tta.get("valid") if metrics else None for metrics in arms]
        rows.append(("  accuracy, mean of augmented views", [_fraction(views and views.accuracy) for views in averaged]))
    audits = [metrics and metrics.shortcuts for metrics in arms]
    if any(audits):
        for name in VIEW_NAMES:
            views = [audit.views.get(name) if audit else None for audit in audits]
            rows.append((f"  accuracy, {VIEW_NAMES[name]}", [_fraction(view and view.accuracy) for view in views]))
    if any(metrics.test for metrics in known):
        rows += _set_rows("test ", [metrics and metrics.test for metrics in arms], classes)
    for place in dict.fromkeys(place for metrics in known for place in metrics.elsewhere):
        sets = [metrics.elsewhere.get(place) if metrics else None for metrics in arms]
        drops = [metrics.fall.metrics.get("balanced_accuracy") if metrics else None for metrics in sets]
        rows.append((f"{place}, balanced", [_fraction(drop and drop.outside) for drop in drops]))
        rows.append(("  inside, same classes", [_fraction(drop and drop.inside) for drop in drops]))
    if any(metrics.source_separability for metrics in known):
        told = [metrics.source_separability if metrics else None for metrics in arms]
        texts = [f"{found.balanced_accuracy:.3f} ({found.chance:.3f})" if found else "-" for found in told]
        rows.append(("source told by features (chance)", texts))
    if not any(metrics.audited or metrics.scored_on != "predictions" for metrics in known):
        return rows
    return [*rows, ("rejected lung masks", [str(metrics.untrusted_lungs) if metrics else "-" for metrics in arms])]


def _set_rows(prefix: str, sets: Sequence[SetMetrics | None], classes: Sequence[str]) -> Rows:
    """Of every arm's metrics on one set of images, None where an arm has none."""
    intervals = [metrics.intervals.get("accuracy") if metrics else None for metrics in sets]
    return [
        (f"{prefix}accuracy", [_fraction(metrics and metrics.accuracy) for metrics in sets]),
        (f"  {prefix}95 % interval", [_ci(interval) for interval in intervals]),
        (f"{prefix}balanced accuracy", [_fraction(metrics and metrics.balanced_accuracy) for metrics in sets]),
        *(
            (f"{prefix}{name} P/R/F1", [_prf(metrics.per_class.get(name) if metrics else None) for metrics in sets])
            for name in classes
        ),
        (f"{prefix}AUROC, mean of classes", [_fraction(metrics and metrics.macro["roc_auc"]) for metrics in sets]),
    ]


def _segmenter_rows(arms: Sequence[MaskMetrics | None]) -> Rows:
    """Of all arms' metrics, None where an arm is no lung segmenter; no rows where none is one."""
    if not any(arms):
        return []
    return [
        ("Dice, mean", [_fraction(metrics and metrics.dice.mean) for metrics in arms]),
        ("Dice, p5", [_fraction(metrics and metrics.dice.p5) for metrics in arms]),
        ("Dice, min", [_fraction(metrics and metrics.dice.min) for metrics in arms]),
        ("box IoU", [_fraction(metrics and metrics.box_iou_mean) for metrics in arms]),
        ("lung kept by the crop", [_fraction(metrics and metrics.lung_kept.mean) for metrics in arms]),
        ("crop area", [_fraction(metrics and metrics.crop_area_mean) for metrics in arms]),
        ("rejected lung masks", [str(metrics.untrusted) if metrics else "-" for metrics in arms]),
    ]


def _minutes(seconds: float | None) -> str:
    return "-" if not seconds else f"{seconds / 60:.2f}"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f}"


def _energy(cost: ArmCost) -> float | None:
    counted = [joules for joules in (cost.host_joules, cost.device_joules) if joules is not None]
    return sum(counted) / 3600 if counted else None


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _ci(interval: Interval | None) -> str:
    return "-" if interval is None else "-".join(f"{bound:.3f}".removeprefix("0") for bound in interval)


def _prf(scores: ClassMetrics | None) -> str:
    if scores is None:
        return "-"
    return "/".join(f"{value:.2f}".removeprefix("0") for value in (scores.precision, scores.recall, scores.f1))
