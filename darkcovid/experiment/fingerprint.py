"""Are these the images that the run began with? A resumed run, and fits made on several machines, stand on one cohort.

Each fit's `split.csv` has its images, patients, labels, sets and checksums; the run's `inputs.json` has the checksums of
whatever else was given as files: external sets and weights.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from darkcovid.core.array_cache import content_key
from darkcovid.core.errors import DataError, UsageError
from darkcovid.core.io import sha256_file, write_json
from darkcovid.data.cohort import LEFT_OUT, Cohort
from darkcovid.data.external import ExternalSet
from darkcovid.recipe import Recipe

FILE = "inputs.json"
CHANGES = {
    "patient": "belong to another patient",
    "label": "have another label",
    "side": "are in another set of the split",
    "sha256": "have another file content",
}
COLUMNS = ["image", *CHANGES]
ADVICE = "restore them, or start a new run without --resume"


def cohort_table(cohort: Cohort) -> pd.DataFrame:
    """One row per image, the COLUMNS of `split.csv` that must not change."""
    labels = [cohort.classes[label] for label in cohort.labels]
    values = cohort.rows.path, cohort.patients, labels, cohort.side_names, cohort.sha256
    return pd.DataFrame({name: [str(item) for item in column] for name, column in zip(COLUMNS, values, strict=True)})


def read_split(path: Path) -> pd.DataFrame:
    """The COLUMNS of a fit's `split.csv`, an image that training left out in the set that the split gave it: train.

    Raises:
        DataError: It cannot be read.
        UsageError: It was written by a version that kept no checksums.
    """
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)[COLUMNS].replace({"side": {LEFT_OUT: "train"}})
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); {ADVICE}") from None
    except KeyError:
        raise UsageError(f"{path}: written by an earlier version of darkcovid; start a new run without --resume") from None


def describe_changes(before: pd.DataFrame, after: pd.DataFrame) -> str | None:
    """What differs between two tables of COLUMNS.

    Args:
        before: Of the fit as it began.
        after: Of the cohort now.

    Returns:
        The changes, counted, with an example of each; None when both hold the same rows in any order.
    """
    before, after = _by_image(before), _by_image(after)
    common = before.index.intersection(after.index)
    changes = {
        "are gone": before.index.difference(after.index),
        "are new": after.index.difference(before.index),
        **{text: common[before[name][common] != after[name][common]] for name, text in CHANGES.items()},
    }
    texts = [f"{len(images)} images {text} ({images[0][0]})" for text, images in changes.items() if len(images)]
    return ", ".join(texts) or None


def _by_image(table: pd.DataFrame) -> pd.DataFrame:
    """Indexed by image, and by a count where one name is listed for several datasets."""
    return table.set_index([table.image, table.groupby("image").cumcount()]).drop(columns="image")


def check_cohort_unchanged(run: Path, recipe: Recipe, cohorts: Mapping[Any, Cohort]) -> None:
    """Compare every fit that began in a run folder with the cohort of its split.

    Args:
        run: The run folder.
        recipe: Of the whole run.
        cohorts: The cohort of each split.

    Raises:
        UsageError: Images, patients, labels or sets changed; counted.
    """
    tables = {split: cohort_table(cohort) for split, cohort in cohorts.items()}
    for arm, arm_recipe in recipe.arm_recipes().items():
        for fit, fit_recipe in arm_recipe.fits().items():
            file = fit.folder(run / arm) / "split.csv"
            if fit_recipe.data.split not in tables or not file.is_file():
                continue
            changes = describe_changes(read_split(file), tables[fit_recipe.data.split])
            if changes:
                raise UsageError(f"{run}: the cohort is not the one that {fit.name(arm)} was fitted on: {changes}; {ADVICE}")


def check_one_cohort(run: Path, recipe: Recipe, arms: list[str]) -> None:
    """Compare the finished fits of a run with one another: all on the same images, those of one split in the same sets.

    Args:
        run: The run folder.
        recipe: Of the whole run.
        arms: Names of those to compare.

    Raises:
        UsageError: Two fits were fitted on different cohorts; what differs is counted.
    """
    first, by_split = None, {}
    for arm in arms:
        for fit, fit_recipe in recipe.arm_recipes()[arm].fits().items():
            table = read_split(fit.folder(run / arm) / "split.csv")
            name, split = fit.name(arm), fit_recipe.data.split
            first = first or (name, table)
            by_split.setdefault(split, (name, table))
            for (other, reference), columns in ((first, [*COLUMNS[:3], "sha256"]), (by_split[split], COLUMNS)):
                changes = describe_changes(reference.assign(**_without_values(columns)), table.assign(**_without_values(columns)))
                if changes:
                    raise UsageError(
                        f"{run}: {other} and {name} were fitted on different cohorts: {changes}; run them again in a new folder"
                    )


def _without_values(columns: list[str]) -> dict[str, str]:
    return {name: "" for name in COLUMNS if name not in columns}


def given_files(recipe: Recipe, external: list[ExternalSet]) -> dict[str, str]:
    """Checksums of what a recipe's fits depend on besides its cohort.

    Args:
        recipe: Of the whole run.
        external: Its external sets.

    Returns:
        Digests of external sets, and of weights that are files, by what they are.
    """
    checksums = {f"external set {each.name}": content_key(rows=cohort_table(each.cohort).values.tolist()) for each in external}
    for arm in recipe.arm_recipes().values():
        named = {
            "model.weights": arm.model.weights,
            "lungs.weights": arm.lungs and arm.lungs.weights,
            "data.leave_out": arm.data.leave_out,
        }
        for key, file in named.items():
            if file and Path(file).is_file():
                checksums[f"{key} {file}"] = sha256_file(Path(file))
    return checksums


def check_files_unchanged(run: Path, checksums: dict[str, str]) -> None:
    """Compare with the run's `inputs.json`, or write it where there is none.

    Args:
        run: The run folder.
        checksums: As `given_files` gives them.

    Raises:
        DataError: `inputs.json` cannot be read.
        UsageError: Something changed since the run began; it is named.
    """
    file = run / FILE
    if not file.is_file():
        write_json(file, checksums)
        return
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error}); {ADVICE}") from None
    changed = [name for name in {**before, **checksums} if before.get(name) != checksums.get(name)]
    if changed:
        raise UsageError(f"{run}: {', '.join(changed)} changed since the run began; {ADVICE}")
