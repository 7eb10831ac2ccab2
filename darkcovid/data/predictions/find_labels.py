"""What is the class of each row of predictions? The manifest's label, with which the table's own labels must agree."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from darkcovid.core.errors import UsageError
from darkcovid.core.words import counted
from darkcovid.data.predictions.class_names import ClassNames, is_number, proven_names
from darkcovid.data.predictions.columns import MAY_BE_AN_ANSWER, TRUTH, known_columns, named_column, plain_name
from darkcovid.data.predictions.options import PredictionOptions
from darkcovid.data.predictions.table import TextTable

SEVERAL_FINDINGS = "|"


def find_labels(
    table: TextTable, manifest: pd.DataFrame, rows: np.ndarray, options: PredictionOptions, image: str, notes: list[str]
) -> tuple[ClassNames, list[str], str]:
    """The class of each row: the manifest's label, where it has none the table's; both must agree.

    Args:
        table: n rows.
        manifest: (m) rows with label.
        rows: (n,) int of the manifest.
        options: What a person says.
        image: The column that names images.
        notes: To which is added what labels mean.

    Returns:
        What labels mean, (n) classes, '' where neither has one, and the column of true labels, '' for none.

    Raises:
        UsageError: Labels differ, or what they mean is not plain.
    """
    listed = [options.class_names.get(label, label) for label in manifest.label.to_numpy()[rows]]
    present = {label for label in listed if label and label not in options.leave_out}
    if any(SEVERAL_FINDINGS in label for label in present):
        present |= {part for label in present for part in label.split(SEVERAL_FINDINGS)}
    names = ClassNames(present, options.class_names)
    asked = options.columns.truth
    if asked:
        columns = [named_column(table.columns, asked, "--label-column", table.where)]
    else:
        known = known_columns(table.columns, TRUTH)
        columns = [name for name in known if name != image and not _are_scores(table, name)]
    for column in columns:
        texts = table.texts(column)
        if not names.classes and not any(is_number(text) for text in texts):
            names = ClassNames(
                filter(None, texts), options.class_names
            )  # the manifest has no label, so the table's are the classes
        proven = proven_names(texts, listed)
        certain = asked or plain_name(column) not in MAY_BE_AN_ANSWER
        said = [names.meaning(text) if text else "" for text in texts]
        if None in said and proven:
            names.add_proven(texts, listed)
            said = [names.meaning(text) if text else "" for text in texts]
        differ = [row for row, (own, other) in enumerate(zip(said, listed, strict=True)) if other and own != "" and own != other]
        if not differ:
            notes.append(f"the labels of column {column} are the manifest's{_said_as(texts, said)}")
            return names, _merged(listed, said), column
        if options.truth == "manifest":
            notes.append(f"column {column} differs from the manifest in {counted(len(differ), 'label')}; the manifest's count")
            return names, _merged(listed, said), column
        if options.truth == "predictions" and None not in said:
            notes.append(f"column {column} differs from the manifest in {counted(len(differ), 'label')}; the table's count")
            return names, [own or other for own, other in zip(said, listed, strict=True)], column
        if certain:
            _refuse_labels(table, column, texts, said, listed, differ)
    return names, listed, ""


def _are_scores(table: TextTable, column: str) -> bool:
    numbers = table.numbers(column)
    return numbers is not None and bool((numbers != np.round(numbers))[np.isfinite(numbers)].any())


def _said_as(texts: Sequence[str], said: Sequence[str | None]) -> str:
    """The labels that are spelled otherwise, `0 is covid`."""
    other = sorted({(text, name) for text, name in zip(texts, said, strict=True) if name and text != name})
    return f" ({', '.join(f'{text} is {name}' for text, name in other)})" if other else ""


def _merged(listed: Sequence[str], said: Sequence[str | None]) -> list[str]:
    return [other or own or "" for own, other in zip(said, listed, strict=True)]


def _refuse_labels(table: TextTable, column: str, texts, said, listed, differ: Sequence[int]) -> None:
    unknown = sorted({text for text, name in zip(texts, said, strict=True) if name is None})
    first = differ[0]
    if unknown:
        example = ",".join(f"{text}=CLASS" for text in unknown[:4])
        raise UsageError(
            f"{table.where}: what {', '.join(unknown[:6])} of column {column!r} mean is not plain from the manifest's labels "
            f"({', '.join(sorted(set(filter(None, listed))))}), with which they do not go one to one: say it with --classes "
            f"{example}"
        )
    raise UsageError(
        f"{table.where}: row {table.lines[first]}: column {column!r} says {texts[first]}, the manifest {listed[first]}, as in "
        f"{counted(len(differ), 'row')} of {len(texts)}: check that rows belong to their images, then say whose labels count "
        "with --truth manifest or --truth predictions"
    )
