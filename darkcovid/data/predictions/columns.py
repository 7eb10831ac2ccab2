"""Which column of a table of predictions is the image, which the label, which a class's score? By its name, as Keras,
scikit-learn, Ultralytics, torchxrayvision and darkcovid write it; what a name leaves open is asked for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from darkcovid.core.errors import UsageError

IMAGE = ("image", "path", "file", "filename", "file_name", "filepath", "file_path", "filenames", "images", "image_path",
         "img_path", "image_file", "image_name", "img_name", "img", "image_id", "img_id", "image_index", "imageid",
         "dicom_id", "paths", "id", "name", "uid", "sop_instance_uid", "index")  # fmt: skip
TRUTH = ("y_true", "true", "truth", "target", "targets", "label", "labels", "true_label", "true_class", "gt", "ground_truth",
         "actual", "y", "y_test", "class", "category", "diagnosis", "finding")  # fmt: skip
ANSWER = ("predicted", "prediction", "y_pred", "pred", "preds", "pred_label", "predicted_label", "predicted_class", "pred_class",
          "top1", "top_1", "y_hat", "answer", "output", "predictions", "label", "class")  # fmt: skip
CONFIDENCE = ("top1conf", "top1_conf", "top1_confidence", "confidence", "conf", "max_prob", "max_probability", "top5conf")
MAY_BE_AN_ANSWER = ("label", "labels", "class", "category", "diagnosis", "finding")  # as well as the truth
BINARY = ("probability", "prob", "proba", "score", "y_score", "y_prob", "y_proba", "y_pred", "pred", "prediction", "predictions",
          "output", "sigmoid", "logit", "confidence", "conf", "p", "y_hat")  # fmt: skip
SIDE = ("side", "split", "subset")
SIDES = {"train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid", "dev": "valid",
         "test": "test", "testing": "test", "left_out": "left_out"}  # fmt: skip
_WORDS = (
    r"(?:probability|probabilities|probs?|proba|predictions?|preds?|scores?|conf|confidence|logits?|softmax|sigmoid|outputs?|p)"
)
BEFORE = re.compile(rf"(?:y_)?(?:{_WORDS}|class|cls)(?:[\s_.:\-/\[(]+|(?=\d))", re.IGNORECASE)
AFTER = re.compile(rf"[\s_.:\-/]+{_WORDS}$", re.IGNORECASE)
INDEX = re.compile(r"unnamed:? ?\d*|index|")


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    """Columns as a person names them; '' or empty: found by their names.

    Attributes:
        image: Of the images' names.
        row: Of row numbers of the manifest.
        truth: Of the true labels.
        answer: Of the predicted labels.
        scores: The column of each class.
    """

    image: str = ""
    row: str = ""
    truth: str = ""
    answer: str = ""
    scores: Mapping[str, str] = field(default_factory=dict)


def plain_name(name: str) -> str:
    """A column's name in lower case, with `_` for blanks and hyphens."""
    return re.sub(r"[\s\-]+", "_", name.strip()).casefold()


def named_column(columns: Sequence[str], asked: str, option: str, where: str) -> str:
    """The column that an option names.

    Args:
        columns: Of the table.
        asked: The column's name, perhaps in other capitals.
        option: For the message.
        where: The table, for the message.

    Returns:
        Its name in the table.

    Raises:
        UsageError: There is none, or several.
    """
    if asked in columns:
        return asked
    alike = [column for column in columns if plain_name(column) == plain_name(asked)]
    if len(alike) != 1:
        raise UsageError(f"{option} {asked}: {where} has no such column; it has {', '.join(filter(None, columns))}")
    return alike[0]


def known_columns(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Columns by what they are called.

    Args:
        columns: Of the table.
        names: In lower case, with `_` for blanks.

    Returns:
        The columns that are called as one of the names, in the order of the names.
    """
    by_name = {plain_name(column): column for column in reversed(columns)}
    return [by_name[name] for name in names if name in by_name]


def is_index(column: str) -> bool:
    """Whether a column has the name of an index that pandas wrote: none, or `Unnamed: 0`."""
    return INDEX.fullmatch(plain_name(column).replace("_", " ")) is not None


def class_tokens(columns: Sequence[str]) -> dict[str, str]:
    """What may be a class's name or number in the name of a column of scores: `covid` of `prob_covid`, `1` of `class_1`.

    Args:
        columns: Of scores, perhaps.

    Returns:
        The token of each column; the column's own name where nothing stands before or after it.
    """
    tokens = {}
    for column in columns:
        name = column.strip()
        token = name
        while before := BEFORE.match(token):
            token = token[before.end() :]
        token = AFTER.sub("", token).rstrip("])").strip(" _-.:")
        tokens[column] = token or name
    return tokens
