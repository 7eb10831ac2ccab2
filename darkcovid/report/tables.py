"""The comparison as a person reads it: arms as columns, in the terminal and as Markdown."""

from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

Rows = list[tuple[str, list[str]]]
GAP = 2  # spaces between columns of a terminal's table


def comparison_rows(comparison: dict[str, Any]) -> Rows:
    """(figure's name, one text an arm) for every figure that the arms have."""
    arms = list(comparison["arms"].values())
    rows: Rows = [
        ("image size", [f"{arm['image_size'][0]}x{arm['image_size'][1]}" for arm in arms]),
        ("parameters", [f"{arm['parameters']:,}" for arm in arms]),
        ("train / valid images", [f"{arm['images']['train']} / {arm['images']['valid']}" for arm in arms]),
        ("epochs", [str(arm["epochs"]) for arm in arms]),
    ]
    if any("segment_seconds" in arm for arm in arms):
        rows += [
            ("preparing (min)", [_minutes(arm.get("prepare_seconds")) for arm in arms]),
            ("segmentation (min)", [_minutes(arm.get("segment_seconds")) for arm in arms]),
        ]
    rows += [
        ("training (min)", [_minutes(arm["train_seconds"]) for arm in arms]),
        ("s / epoch", [f"{arm['epoch_seconds']:.1f}" for arm in arms]),
        ("images / s", [f"{arm['train_images_per_second']:.0f}" for arm in arms]),
        ("speed-up per epoch", [_ratio(arm.get("speedup")) for arm in arms]),
        ("peak memory (GB)", [_gigabytes(arm["peak_host_bytes"]) for arm in arms]),
    ]
    if any(arm["peak_device_bytes"] for arm in arms):
        rows.append(("peak GPU memory (GB)", [_gigabytes(arm["peak_device_bytes"]) for arm in arms]))
    energies = [_energy(arm) for arm in arms]
    if any(energy is not None for energy in energies):
        rows.append(("energy (Wh)", ["-" if energy is None else f"{energy:.2f}" for energy in energies]))
    return rows + _score_rows(arms)


def comparison_tables(comparison: dict[str, Any], width: int) -> list[Table]:
    """For a terminal of `width` columns: one table, or several of a few arms each where all do not fit side by side."""
    rows, names = comparison_rows(comparison), list(comparison["arms"])
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


def comparison_markdown(comparison: dict[str, Any]) -> str:
    """The same table in Markdown, with the notice that every report carries."""
    names = list(comparison["arms"])
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    lines += [f"| {label} | " + " | ".join(texts) + " |" for label, texts in comparison_rows(comparison)]
    notes = [f"Not comparable: {reason}." for reason in comparison.get("not_comparable", [])]
    notes += [f"{pair['sentence']}\n" for pair in comparison.get("pairs", [])]
    return "\n".join([*lines, "", *notes, notice(comparison), ""])


def prediction_table(answers: Sequence[dict[str, Any]]) -> Table:
    """What a fitted model said of images, a row each: the class, every class's probability, and what to doubt."""
    classes = next((list(one["probabilities"]) for one in answers if one["probabilities"]), [])
    table = Table(box=None, pad_edge=False)
    for name, side in [("image", "left"), ("label", "left"), *[(name, "right") for name in classes], ("doubts", "left")]:
        table.add_column(name, justify=side)
    for one in answers:
        shares = [f"{one['probabilities'][name]:.3f}" if one["probabilities"] else "-" for name in classes]
        table.add_row(*map(escape, [one["image"], one["label"] or "-", *shares, "; ".join(one["warnings"])]))
    return table


RESEARCH_ONLY = "Research software, never a diagnosis."


def notice(comparison: dict[str, Any]) -> str:
    """Which images the metrics are of, once where all arms agree, else by arm; and that this is research."""
    said: dict[str, list[str]] = {}
    for name, arm in comparison["arms"].items():
        said.setdefault(scored_set(arm), []).append(name)
    words = [f"{', '.join(names)}: {words}" for words, names in said.items()] if len(said) > 1 else list(said)
    return f"{'; '.join(words)}. {RESEARCH_ONLY}"


def scored_set(arm: dict[str, Any]) -> str:
    """`Held-out test set`, `Out-of-fold, 5 folds` or `One validation split`, with the seeds where there are several."""
    parts = {word for fit in arm.get("fits", {}) for word in fit.split("-")} if isinstance(arm.get("fits"), dict) else set()
    folds, seeds = (sum(word.startswith(kind) for word in parts) for kind in ("fold", "seed"))
    test = "test" in arm
    words = "Held-out test set" if test else f"Out-of-fold, {folds} folds" if folds else "One validation split"
    words += f", {folds} folds" if test and folds else ""
    words += f", {seeds} seeds" if seeds > 1 else ""
    return words + (" of images with lung masks" if "dice" in arm else "")


def _score_rows(arms: list[dict[str, Any]]) -> Rows:
    rows: Rows = []
    if any("accuracy" in arm for arm in arms):
        rows += [
            ("accuracy", [_fraction(arm.get("accuracy")) for arm in arms]),
            ("  95 % interval", [_ci(arm.get("intervals", {}).get("accuracy")) for arm in arms]),
            ("balanced accuracy", [_fraction(arm.get("balanced_accuracy")) for arm in arms]),
        ]
        classes = dict.fromkeys(name for arm in arms for name in arm.get("per_class", {}))
        for name in classes:
            scores = [arm.get("per_class", {}).get(name) for arm in arms]
            rows.append((f"{name} P/R/F1", [_prf(score) for score in scores]))
        if any("macro" in arm for arm in arms):
            rows.append(("AUROC, mean of classes", [_fraction(arm.get("macro", {}).get("roc_auc")) for arm in arms]))
        if any("tta" in arm for arm in arms):
            averaged = [arm.get("tta", {}).get("valid", {}).get("accuracy") for arm in arms]
            rows.append(("  accuracy, mean of augmented views", [_fraction(value) for value in averaged]))
        audits = [arm.get("shortcuts", {}) for arm in arms]
        if any("plain" in audit for audit in audits):
            for view in ("lungs_erased", "lungs_only", "border_only", "thumbnail"):
                rows.append((f"  {view.replace('_', ' ')}", [_fraction(audit.get(view, {}).get("accuracy")) for audit in audits]))
        if any("test" in arm for arm in arms):
            tests = [arm.get("test", {}) for arm in arms]
            rows += [
                ("test accuracy", [_fraction(test.get("accuracy")) for test in tests]),
                ("  test 95 % interval", [_ci(test.get("intervals", {}).get("accuracy")) for test in tests]),
                ("test balanced accuracy", [_fraction(test.get("balanced_accuracy")) for test in tests]),
                ("test AUROC, mean of classes", [_fraction(test.get("macro", {}).get("roc_auc")) for test in tests]),
            ]
            rows += [(f"test {name} P/R/F1", [_prf(test.get("per_class", {}).get(name)) for test in tests]) for name in classes]
        for place in dict.fromkeys(place for arm in arms for place in arm.get("external", {})):
            falls = [arm.get("external", {}).get(place, {}).get("fall", {}).get("balanced_accuracy", {}) for arm in arms]
            rows.append((f"{place}, balanced", [_fraction(fall.get("outside")) for fall in falls]))
            rows.append(("  inside, same classes", [_fraction(fall.get("inside")) for fall in falls]))
        rows.append(("untrusted lungs", [str(arm.get("untrusted_lungs", "-")) for arm in arms]))
    if any("dice" in arm for arm in arms):
        rows += [(f"Dice, {key}", [_fraction(arm.get("dice", {}).get(key)) for arm in arms]) for key in ("mean", "p5", "min")]
        rows += [
            ("box IoU", [_fraction(arm.get("box_iou_mean")) for arm in arms]),
            ("lung kept by the crop", [_fraction(arm.get("lung_kept", {}).get("mean")) for arm in arms]),
            ("crop area", [_fraction(arm.get("crop_area_mean")) for arm in arms]),
            ("untrusted lungs", [str(arm.get("untrusted", "-")) for arm in arms]),
        ]
    return [*rows, ("bad images", [str(arm["bad_images"]) for arm in arms])]


def _minutes(seconds: float | None) -> str:
    return "-" if not seconds else f"{seconds / 60:.2f}"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f}"


def _energy(arm: dict[str, Any]) -> float | None:
    counted = [arm[key] for key in ("host_joules", "device_joules") if arm.get(key) is not None]
    return sum(counted) / 3600 if counted else None


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _ci(interval: list[float] | None) -> str:
    return "-" if interval is None else "-".join(f"{bound:.3f}".removeprefix("0") for bound in interval)


def _prf(score: dict[str, float] | None) -> str:
    return "-" if score is None else "/".join(f"{score[key]:.2f}".removeprefix("0") for key in ("precision", "recall", "f1"))
