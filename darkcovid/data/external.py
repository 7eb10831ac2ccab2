"""Test sets from elsewhere: their labels translated, and whatever the cohort has seen already left out."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from darkcovid.core.errors import DarkCovidError, UsageError
from darkcovid.data.cohort import Cohort, build_cohort, check_spelling, filter_rows, select_dataset
from darkcovid.data.near_duplicates.search import cached_copies_elsewhere
from darkcovid.data.splits import patient_groups
from darkcovid.data.table_cells import patient_key
from darkcovid.recipe import Data, External

OTHER_LABEL = "a label that is no class here"
FILTERED = "filtered out by `where`"
KNOWN_PATIENT = "a patient of the cohort"
COPY = "a copy of an image of the cohort"


@dataclass(frozen=True)
class ExternalSet:
    """Images of another source, on which an arm is tested.

    Attributes:
        name: As the recipe calls it.
        cohort: Its usable images, all in the test set, with the classes of the recipe.
        translated: Its label to the class here.
        left_out: How many images are not scored, by reason.
    """

    name: str
    cohort: Cohort
    translated: dict[str, str]
    left_out: dict[str, int]


def external_sets(data: Data, cohort: Cohort, cache_dir: Path) -> list[ExternalSet]:
    """The sets of `data.external`.

    Args:
        data: The recipe's section.
        cohort: The recipe's own images, of which no copy and no patient may be in a set.
        cache_dir: Where what is known of images is kept.

    Returns:
        One set per entry, in the recipe's order.

    Raises:
        UsageError: Nothing in a set is left to score.
        DataError: Too many unusable files.
    """
    sets = []
    for external in data.external_sets:
        try:
            sets.append(_external_set(external, data, cohort, cache_dir))
        except DarkCovidError as error:
            raise type(error)(f"data.external: {external.called}: {error}") from None
    return sets


def _external_set(external: External, data: Data, cohort: Cohort, cache_dir: Path) -> ExternalSet:
    name, external_data = external.called, _as_data(external, data)
    manifest = select_dataset(external_data, cache_dir)
    translated = external.classes or {label: label for label in data.classes}
    check_spelling(manifest.rows[external.label_column], list(translated), "labels", "class")
    labels = manifest.rows[external.label_column].map(translated)
    known = np.zeros(len(labels), bool)
    if external.shared_patient_ids:
        known = patient_groups(manifest.rows).map(patient_key).isin(set(cohort.patients.map(patient_key))).to_numpy()
    reasons = np.select(
        [labels.isna(), ~filter_rows(manifest, external_data), known], [OTHER_LABEL, FILTERED, KNOWN_PATIENT], default=""
    )
    keep = reasons == ""
    if not keep.any():
        raise _nothing_left(Counter(reasons.tolist()))
    codes = labels[keep].map({label: code for code, label in enumerate(data.classes)}).to_numpy(np.int64)
    sides = np.zeros(len(codes), bool), np.ones(len(codes), bool)
    candidates = build_cohort(manifest.select(keep), external_data, codes, sides, (), cache_dir)
    copied = _copies(cohort, candidates, cache_dir)
    left_out = Counter(reasons[~keep].tolist()) | Counter({COPY: int(copied.sum())})
    if copied.all():
        raise _nothing_left(left_out)
    usable = candidates.take(np.flatnonzero(~copied))
    return ExternalSet(name, replace(usable, classes=data.classes), translated, dict(+left_out))


def _as_data(external: External, data: Data) -> Data:
    """The recipe's `data` with an external set's images in place of the cohort's."""
    own = ("manifest", "dataset", "label_column", "where", "phantom")
    update = {key: getattr(external, key) for key in own} | {"root": external.root or data.root, "datasets": None}
    return data.model_copy(update=update)


def _copies(cohort: Cohort, candidates: Cohort, cache_dir: Path) -> np.ndarray:
    """(m,) bool: which of the candidates are an image of the cohort, or a near copy of one."""
    copied = np.zeros(len(candidates), bool)
    pairs = cached_copies_elsewhere((cohort.files, candidates.files), (cohort.sha256, candidates.sha256), cache_dir)
    copied[[there for _, there in pairs]] = True
    return copied


def _nothing_left(reasons: dict[str, int]) -> UsageError:
    text = ", ".join(f"{count} images: {reason}" for reason, count in reasons.items() if count)
    return UsageError(
        f"no image is left to score ({text}); "
        "map its labels with `classes`, or say `shared_patient_ids: false` if its ids are of other people"
    )
