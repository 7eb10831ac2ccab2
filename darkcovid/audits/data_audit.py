"""Can these images be trusted as evidence? Leaks across the split, and what gives the class away without lungs."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from darkcovid.audits.baselines import Baseline, cross_validated_forest_accuracy, image_statistics, source_predictability
from darkcovid.audits.confounders import class_sizes, confounders, missing_rate
from darkcovid.audits.leakage import LeakageReport, cohort_facts, find_cohort_leaks, find_leaks
from darkcovid.audits.metadata import MetadataCounts, PandasMetadata, metadata_table, varying
from darkcovid.core.array_cache import StoredArray, cached_json, content_key
from darkcovid.core.errors import UsageError
from darkcovid.data.cohort import Cohort
from darkcovid.data.resize import cached_whole_images
from darkcovid.data.splits import evenly_spaced
from darkcovid.evaluation.results import NormalizerFacts
from darkcovid.metrics.metrics_with_intervals import Names

SMALL_SIZE = (128, 128)
MAX_AUDIT_IMAGES = 5000  # images whose pixels are asked, and of whose metadata a forest is grown
ADULT = 18
RULES = 4  # counts changes of the audit, so that no older finding is recalled


def audit_cohort(
    cohort: Cohort,
    cache_dir: Path,
    leaks: LeakageReport | None = None,
    counted: Callable[[pd.DataFrame], MetadataCounts] = PandasMetadata,
) -> dict[str, Any]:
    """Everything about a recipe's cohort, remembered in the cache.

    Args:
        cohort: The images.
        cache_dir: The cache.
        leaks: As found before; None: looked for now.
        counted: Who counts the metadata.

    Returns:
        `LeakageReport.as_dict`, `confounding`, how well the class is told by metadata alone and by simple statistics of the
        pixels
        alone, and how well the source is told by the pixels (of 5,000 images where there are more).
    """
    report = find_cohort_leaks(cohort, cache_dir) if leaks is None else leaks
    key = content_key(
        kind="audit",
        rows=cohort.rows.to_csv(index=False),
        images=list(cohort.sha256),
        labels=[cohort.classes[label] for label in cohort.labels],
        rules=RULES,
    )
    return report.as_dict() | cached_json(cache_dir / "findings", key, lambda: _contents(cohort, cache_dir, counted))


def _contents(cohort: Cohort, cache_dir: Path, counted: Callable[[pd.DataFrame], MetadataCounts]) -> dict[str, Any]:
    labels, patients = np.array(cohort.classes)[cohort.labels], cohort.patients.to_numpy()
    rows = evenly_spaced(np.arange(len(cohort)), MAX_AUDIT_IMAGES)
    seen = cohort.take(rows)
    recorded = int((cohort.rows.sha256 != "").sum())
    return (
        _confounding(counted(cohort_facts(cohort)))
        | audit_pixels(seen.rows, seen.files, seen.sha256, labels[rows], patients[rows], cache_dir)
        | {"checksums": {"verified": recorded, "unrecorded": len(cohort) - recorded}}
    )


def audit_pixels(
    rows: pd.DataFrame, files: Sequence[Path], sha256: Sequence[str], labels: Names, patients: Names, cache_dir: Path
) -> dict[str, Any]:
    """How well plain statistics of the pixels tell the class, and the pixels the source.

    Args:
        rows: (n) rows of a manifest.
        files: (n) paths.
        sha256: (n) their checksums.
        labels: (n,) classes.
        patients: (n,) names.
        cache_dir: Where reduced images are kept.

    Returns:
        `image_statistics_alone` and `source_from_pixels`.
    """
    pixels = np.array(cached_whole_images(files, sha256, SMALL_SIZE, cache_dir).array)
    return {
        "image_statistics_alone": _baseline(cross_validated_forest_accuracy(image_statistics(pixels), labels, patients)),
        "source_from_pixels": source_predictability(rows, pixels, patients),
    }


def audit_rows(rows: pd.DataFrame) -> dict[str, Any]:
    """The audit of a manifest's labeled rows, without any image: no split, no near copies, no pixels.

    Raises:
        UsageError: Fewer than two labels.
    """
    labeled = rows[rows.label != ""]
    return audit_facts(PandasMetadata(metadata_table(labeled, labeled.label.tolist(), "all")))


def audit_facts(facts: MetadataCounts, leaks: LeakageReport | None = None) -> dict[str, Any]:
    """`audit_rows` of facts that are somewhere already.

    Args:
        facts: Of the labeled images.
        leaks: Of those and other images; None: of those alone.

    Returns:
        The keys of `data audit`.
    """
    return (leaks or find_leaks(facts)).as_dict() | _confounding(facts)


def _confounding(facts: MetadataCounts) -> dict[str, Any]:
    counts = facts.counts()
    sizes = class_sizes(counts)
    if len(sizes) < 2:
        raise UsageError("the manifest has fewer than two labels, so there is nothing to tell apart")
    images = sum(sizes.values())
    chance = max(sizes.values()) / images
    some = facts.some(MAX_AUDIT_IMAGES)
    table = varying(some)
    nothing = Baseline(chance, 1 / len(sizes), (chance, chance))
    together = cross_validated_forest_accuracy(table, some.label, some.patient) if len(table.columns) else nothing
    return {
        "images": images,
        "chance": chance,
        "confounding": [asdict(confounder) for confounder in confounders(counts)],
        "metadata_alone": _baseline(together),
        "ages": _ages(counts),
        "missing": {column: missing_rate(counts, column) for column in ("view", "sex", "age")},
    }


def normalizer_facts(kind: str, normalizer: nn.Module, pixels: StoredArray, train: np.ndarray) -> NormalizerFacts:
    """Whether a normalizer fits the training images.

    Args:
        kind: As `data.normalize` says.
        normalizer: Of the network's inputs.
        pixels: (n, ...) uint8.
        train: (n,) bool, which of them are of the training set.

    Returns:
        Mean grays, where the kind goes by one.
    """
    if kind not in ("training", "zca"):
        return NormalizerFacts(kind)
    scale: Any = getattr(normalizer, "scale", normalizer)
    own = float(scale.mean.mean())
    theirs = float(np.mean([pixels[row].mean(dtype=np.float64) for row in np.flatnonzero(train)]) / 255)
    return NormalizerFacts(kind, mean=own, training_mean=theirs)


def _ages(counts: pd.DataFrame) -> dict[str, dict[str, float | int | None]]:
    """Of each class: images whose age is known, their mean age, and how many are children."""
    ages = counts[counts.variable == "age"].assign(age=lambda table: pd.to_numeric(table.value, errors="coerce"))
    ages_of = {}
    for name, group in ages.groupby("label"):
        known = group.dropna(subset="age")
        images = int(known.images.sum())
        ages_of[name] = {
            "known": images,
            "mean": float((known.age * known.images).sum() / images) if images else None,
            "children": int(known.images[known.age < ADULT].sum()),
        }
    return ages_of


def _baseline(scores: Baseline) -> dict[str, Any]:
    return {"accuracy": scores.accuracy, "balanced_accuracy": scores.balanced_accuracy, "interval": list(scores.interval)}
