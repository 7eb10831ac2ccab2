"""What a manifest holds, whether its files are sound, and how well its lungs were found, as lines for a person."""

from typing import Any

from darkcovid.data.verify import Verification

SHOWN = 20


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
    lines.append(f"lung masks: {counts['lung_masks']}; images without a recorded checksum: {counts['without_checksum']}")
    for column in ("view", "sex"):
        values = ", ".join(f"{value or 'unknown'} {count}" for value, count in counts["values"][column].items())
        lines.append(f"{column}: {values}")
    return lines


def verification_lines(found: Verification) -> list[str]:
    """Of `darkcovid data verify`."""
    sound = found.images - len(found.faults)
    lines = [f"{found.images} images: {sound} sound ({found.verified} by checksum), {len(found.faults)} not"]
    lines += [f"unverified: {path} (no checksum recorded)" for path in found.unverified[:SHOWN]]
    lines += [f"fault: {path}: {fault}" for path, fault in found.faults[:SHOWN]]
    if len(found.faults) > SHOWN:
        lines.append(f"and {len(found.faults) - SHOWN} more; --json lists all")
    return lines


def lung_lines(summary: dict[str, Any]) -> list[str]:
    """Of `darkcovid lungs evaluate`, and of all folds of a segmenter's cross-validation together."""
    lines = [f"{summary['images']} images with a lung mask, {summary['untrusted']} not trusted"]
    for name in ("dice", "iou"):
        spread = summary[name]
        figures = f"mean {spread['mean']:.3f}  median {spread['median']:.3f}  5th percentile {spread['p5']:.3f}"
        lines.append(f"{name:<9} {figures}  lowest {spread['min']:.3f}")
    kept = summary["lung_kept"]
    lines += [
        f"lung kept by the crop: mean {kept['mean']:.3f}; at least 95 % kept on {kept['share_at_95']:.1%} of the images",
        f"box IoU {summary['box_iou_mean']:.3f}; crop area {summary['crop_area_mean']:.1%} of the image",
    ]
    return [*lines, *(f"worst: {name}" for name in summary.get("worst", []))]
