"""What a manifest holds, whether its files are sound, and how well its lungs were found, as lines for a person."""

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from darkcovid.audits.findings import ONE_ID, DataAudit
from darkcovid.data.download.fetch import DownloadResult
from darkcovid.data.import_folder import ImportSummary
from darkcovid.data.importers import Importer
from darkcovid.data.verify import VerificationResult
from darkcovid.metrics.p_values import p_text
from darkcovid.recipe.sections import Data

if TYPE_CHECKING:
    from darkcovid.audits.image_quality import QualityRate
    from darkcovid.data.merge import MergeSummary

SHOWN = 20


def fetch_lines(fetched: Sequence[DownloadResult]) -> list[str]:
    """Of `darkcovid data fetch`: how many files came, and why others did not, the commonest reason first."""
    came = [file for file in fetched if not file.fault]
    lines = [f"{len(came)} of {len(fetched)} missing files fetched, {sum(file.length for file in came):,} bytes"]
    for fault, count in Counter(file.fault for file in fetched if file.fault).most_common():
        first = next(file.path for file in fetched if file.fault == fault)
        lines.append(f"{count} not: {fault} (the first: {first})")
    return lines


def description_lines(counts: dict[str, Any]) -> list[str]:
    """Of `darkcovid data describe`."""
    lines = [f"{counts['images']} images listed, {counts['present']} of them found"]
    for dataset, classes in counts["datasets"].items():
        lines.append(f"{dataset or '(no dataset)'}:")
        lines += [
            f"  {label or '(no label)':20} {count['images']:6} images of {count['patients']} patients"
            for label, count in classes.items()
        ]
    patients = counts["patients"]
    lines.append(
        f"patients: {patients['known']} known, {patients['with_several_images']} with several images, "
        f"{patients['with_several_labels']} with several labels; {patients['images_without_patient']} images without one"
    )
    lines += [f"taken as one patient: {', '.join(spellings)}" for spellings in patients["merged_ids"][:SHOWN]]
    lines.append(f"lung masks: {counts['lung_masks']}; images without a recorded checksum: {counts['without_checksum']}")
    for column in ("view", "sex"):
        values = ", ".join(f"{value or 'unknown'} {count}" for value, count in counts["values"][column].items())
        lines.append(f"{column}: {values}")
    return lines


def verification_lines(result: VerificationResult) -> list[str]:
    """Of `darkcovid data verify`."""
    sound = result.images - len(result.faults)
    lines = [f"{result.images} images: {sound} sound ({result.verified} by checksum), {len(result.faults)} not"]
    lines += [f"unverified: {path} (no checksum recorded)" for path in result.unverified[:SHOWN]]
    lines += [f"fault: {path}: {fault}" for path, fault in result.faults[:SHOWN]]
    if len(result.faults) > SHOWN:
        lines.append(f"and {len(result.faults) - SHOWN} more; --json lists all")
    return lines


def audit_lines(audit: DataAudit) -> list[str]:
    """Of `darkcovid data audit`."""
    patients, copies = audit.patients, audit.duplicates
    lines = [
        f"{audit.images} images of {patients.total} patients; {patients.repeated} patients have several images, "
        f"{patients.with_several_labels} images of several classes",
        *[f"{audit.unknown_patients} images have no patient id; each counts as a patient"] * bool(audit.unknown_patients),
        *_sets_lines(audit),
        f"copies: {copies.exact} identical pairs, {_near_words(audit)}, {copies.with_other_labels} with other labels",
        *filter(None, [copies.looked_for]),
        "",
        f"accuracy of the class without lungs, cross-validated (majority class of all images {audit.chance:.3f}):",
        _baseline_line("all metadata together, no pixels", audit.metadata_alone.accuracy),
    ]
    if audit.image_statistics_alone is not None:
        lines.append(_baseline_line("pixels' mean, spread, border and corners", audit.image_statistics_alone.accuracy))
    for confounder in audit.most_telling:
        guess = f"majority class of these images {confounder.chance:.3f}"
        strength = f"{guess}  Cramer's V {confounder.cramers_v:.2f}  {p_text(confounder.p)}"
        lines.append(
            f"{_baseline_line(confounder.variable + ': ' + ' / '.join(confounder.classes), confounder.accuracy)}  {strength}"
        )
    return lines


def _sets_lines(audit: DataAudit) -> list[str]:
    if audit.leaks:
        pairs = [f"{first} and {other}" for first, other in audit.leaked_pairs]
        return [
            f"LEAKS: {_leaks_line(audit)}",
            *(f"  patient {name}" for name in audit.leaked_patients[:SHOWN]),
            *(f"  {pair}" for pair in pairs[:SHOWN]),
            *["  and more; --json lists all"] * (max(len(pairs), len(audit.leaked_patients)) > SHOWN),
            *[f"  {ONE_ID}: darkcovid data import FOLDER --merge-copies --update"] * bool(pairs),
            *["    between collections: darkcovid data merge A.csv B.csv --merge-copies"] * bool(pairs),
        ]
    if not audit.duplicates.looked_for:
        return ["no split here: for patients and copies in two sets use `darkcovid data audit RECIPE --manifest PATH`"]
    return ["no patient and no copy in two sets"]


def _near_words(audit: DataAudit) -> str:
    if not audit.duplicates.looked_for:
        return "near copies not looked for (that needs the images)"
    return f"{audit.duplicates.near} almost identical"


def _baseline_line(what: str, accuracy: float) -> str:
    return f"  {what:52}{accuracy:.3f}"


def _leaks_line(audit: DataAudit) -> str:
    return (
        f"{audit.patients.on_both_sides} patients, {audit.duplicates.exact_across_sides} identical and "
        f"{audit.duplicates.near_across_sides} almost identical pairs of images are in two sets"
    )


def lung_lines(summary: dict[str, Any]) -> list[str]:
    """Of `darkcovid lungs evaluate`, and of all folds of a segmenter's cross-validation together."""
    lines = [f"{summary['images']} images with a lung mask, {summary['untrusted']} rejected"]
    for name in ("dice", "iou"):
        spread = summary[name]
        figures = f"mean {spread['mean']:.3f}  median {spread['median']:.3f}  5th percentile {spread['p5']:.3f}"
        lines.append(f"{name:<9} {figures}  lowest {spread['min']:.3f}")
    kept = summary["lung_kept"]
    lines += [
        f"lung kept by the crop: mean {kept['mean']:.3f}; at least 95 % kept on {kept['share_at_95']:.1%} of the images",
        f"box IoU {summary['box_iou_mean']:.3f}; crop area {summary['crop_area_mean']:.1%} of the image",
    ]
    lines += [f"worst: {name}" for name in summary.get("worst", [])]
    bad = summary.get("bad", [])
    lines += [f"excluded: {image['image']} ({image['reason']})" for image in bad[:SHOWN]]
    return [*lines, f"excluded: {len(bad) - SHOWN} more; all are in summary.json"] if len(bad) > SHOWN else lines


def label_lines(importer: Importer, rows: pd.DataFrame) -> list[str]:
    """What an import is about to write.

    Args:
        importer: The form of the folder.
        rows: As `list_images` gives them.

    Returns:
        A line on the form, and one on the class of each of the dataset's labels.
    """
    counts = rows.groupby(["finding", "label"], sort=True).size()
    widest = max(len(finding) for finding, _ in counts.index)
    lines = [f"  {finding:{widest}} -> {label or 'left out'}: {count} images" for (finding, label), count in counts.items()]
    return [f"read as {importer.name}: {importer.source}", *lines]


def merge_lines(summary: "MergeSummary") -> list[str]:
    """What a merge wrote, and the copies between its datasets."""
    lines = [f"{summary.manifest}: {sum(summary.images.values())} images"]
    lines += [f"  {name}: {count}" for name, count in summary.images.items()]
    lines.append("classes: " + ", ".join(f"{count} {name or 'without a label'}" for name, count in summary.classes.items()))
    kind = "identical or nearly identical" if summary.merged_patients else "identical"
    lines.append(f"copies between datasets: {summary.copies} pairs of {kind} images")
    lines += [f"  {first} and {other}" for first, other in summary.examples]
    if summary.merged_patients:
        return [*lines, "images that are copies have one patient id"]
    return [*lines, "near copies were not looked for; --merge-copies looks for them and gives copies one patient id"]


def import_lines(summary: ImportSummary, quality: "Sequence[QualityRate] | None" = None) -> list[str]:
    """What an import wrote, what is not known, and the next command.

    Args:
        summary: Of the import.
        quality: Faults of the images; None where they were not looked for.

    Returns:
        Lines of text.
    """
    lines = [f"{summary.manifest}: {summary.images} images"]
    if summary.splits:
        lines.append("split: " + ", ".join(f"{count} {name}" for name, count in summary.splits.items()))
    if summary.masks:
        lines.append(f"lung masks: {summary.masks}")
    lines.append(f"patients: {summary.patients} known; the patient of {summary.unknown_patients} images is not known")
    if summary.unknown_patients:
        lines.append("  such an image counts as a patient of its own; fill in patient_id if you know better")
    for reason, paths in summary.left_out.items():
        lines.append(f"left out, {reason}: {len(paths)}, the first is {paths[0]}")
    if summary.copies is not None:
        lines.append(f"copies: {summary.copies} pairs of identical or nearly identical images; copies have one patient id now")
    else:
        lines.append("near copies: not looked for; --merge-copies looks for them and gives copies one patient id")
    lines += _quality_lines(quality)
    lines += [f"note: {summary.note}"] * bool(summary.note)
    return [
        *lines,
        f"next: darkcovid run recipes/segmented.yaml --manifest {shlex.quote(summary.manifest)}{_classes_option(summary)}",
    ]


def _quality_lines(rates: "Sequence[QualityRate] | None") -> list[str]:
    if rates is None:
        return ["image quality: not looked at; --quality finds rotated, inverted, blurred and lateral images"]
    if not rates:
        return ["image quality: no fault found"]
    lines = []
    for rate in rates:
        counts = ", ".join(f"{rate.images[name]} of {rate.of[name]} {name}" for name in rate.of)
        warning = f"; the classes differ ({p_text(rate.p_holm)}), so it gives the class away" if rate.differs else ""
        lines.append(f"image quality, {rate.flag.replace('_', ' ')}: {counts}{warning}")
    return lines


def _classes_option(summary: ImportSummary) -> str:
    """What to add to a command where the classes are not those of the shipped recipes."""
    classes = sorted({str(counts["class"]) for counts in summary.classes.values()})
    if classes == sorted(Data().classes):
        return ""
    return " --set " + shlex.quote(f"data.classes={json.dumps(classes)}")
