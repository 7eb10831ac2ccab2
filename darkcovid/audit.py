"""Can these images be trusted as evidence? Leaks across the split, and what gives the class away without lungs."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from darkcovid.data.cohort import Cohort
from darkcovid.data.leaks import Leaks, find_leaks, leaks_of
from darkcovid.data.manifest import Manifest
from darkcovid.data.pixels import whole_pixels
from darkcovid.data.sides import patient_groups
from darkcovid.data.split import spread
from darkcovid.data.store import content_key, stored_finding
from darkcovid.errors import RequestError
from darkcovid.evaluation.confounding import (
    chance,
    confounders,
    forest_accuracy,
    image_statistics,
    metadata,
    source_from_pixels,
)

SMALL = (128, 128)
MOST = 5000  # images whose pixels are asked
ADULT = 18
RULES = 1  # counts changes of the audit, so that no older finding is recalled


def audit_cohort(cohort: Cohort, cache_dir: Path, leaks: Leaks | None = None) -> dict[str, Any]:
    """Everything about a recipe's cohort: `Leaks.as_dict`, `confounding`, how well the class is told by metadata alone and by
    plain statistics of the pixels alone, and how well the source is told by the pixels (of 5,000 images where there are
    more); remembered in the cache."""
    found = leaks_of(cohort, cache_dir) if leaks is None else leaks
    key = content_key(
        kind="audit",
        rows=cohort.rows.to_csv(index=False),
        images=list(cohort.sha256),
        labels=[cohort.classes[label] for label in cohort.labels],
        rules=RULES,
    )
    return found.as_dict() | stored_finding(cache_dir / "findings", key, lambda: _contents(cohort, cache_dir))


def _contents(cohort: Cohort, cache_dir: Path) -> dict[str, Any]:
    labels, patients = np.array(cohort.classes)[cohort.labels], cohort.patients.to_numpy()
    rows = spread(np.arange(len(cohort)), MOST)
    seen = cohort.take(rows)
    pixels = np.array(whole_pixels(seen.files, seen.sha256, SMALL, cache_dir).array)
    statistics = forest_accuracy(image_statistics(pixels), labels[rows], patients[rows])
    recorded = int((cohort.rows.sha256 != "").sum())
    return _giveaways(cohort.rows, labels, patients) | {
        "image_statistics_alone": _both(statistics),
        "source_from_pixels": source_from_pixels(seen.rows, pixels, patients[rows]),
        "checksums": {"verified": recorded, "unrecorded": len(cohort) - recorded},
    }


def audit_manifest(manifest: Manifest) -> dict[str, Any]:
    """The same of a manifest's labelled rows, without any image: no split, no near copies, no pixels.

    Raises RequestError: fewer than two labels.
    """
    labelled = manifest.select(manifest.rows.label != "")
    labels, patients = labelled.rows.label.tolist(), patient_groups(labelled.rows).to_numpy()
    if len(set(labels)) < 2:
        raise RequestError("the manifest has fewer than two labels, so there is nothing to tell apart")
    found = find_leaks(labelled.rows, labels, ["all"] * len(labels), labelled.rows.sha256.tolist())
    return found.as_dict() | _giveaways(labelled.rows, labels, patients)


def _giveaways(rows: pd.DataFrame, labels: Sequence[str], patients: np.ndarray) -> dict[str, Any]:
    table = metadata(rows)
    alone = [asdict(one) for one in confounders(table, labels, patients)]
    together = forest_accuracy(table, labels, patients) if len(table.columns) else (chance(labels), 1 / len(set(labels)))
    return {
        "images": len(labels),
        "chance": chance(labels),
        "confounding": alone,
        "metadata_alone": _both(together),
        "ages": _ages(rows, labels),
        "missing": {column: _missing(rows[column], labels) for column in ("view", "sex", "age")},
    }


def _ages(rows: pd.DataFrame, labels: Sequence[str]) -> dict[str, dict[str, float | int | None]]:
    ages = pd.to_numeric(rows.age, errors="coerce").groupby(np.asarray(labels))
    return {
        name: {
            "known": int(group.notna().sum()),
            "mean": float(group.mean()) if group.notna().any() else None,
            "children": int((group < ADULT).sum()),
        }
        for name, group in ages
    }


def _missing(values: pd.Series, labels: Sequence[str]) -> dict[str, float]:
    """Share of each class's images that lack a value."""
    return {name: float(share) for name, share in (values == "").groupby(np.asarray(labels)).mean().items()}


def _both(accuracies: tuple[float, float]) -> dict[str, float]:
    return {"accuracy": accuracies[0], "balanced_accuracy": accuracies[1]}
