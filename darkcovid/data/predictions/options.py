"""What a person says of a table of predictions, where it is not plain."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from darkcovid.data.predictions.columns import ColumnChoice
from darkcovid.data.predictions.join import JoinRule
from darkcovid.data.predictions.scores import Scores


@dataclass(frozen=True)
class PredictionOptions:
    """What a person says of a table of predictions.

    Attributes:
        columns: Which is what.
        rule: How images are named.
        class_names: Class by label, number or column's name, on both sides.
        scores: What the numbers are.
        positive: The class of a single column of scores.
        truth: Whose labels count where the table's and the manifest's differ; '': refused.
        first_row: The number of the manifest's first row, for `columns.row`.
        in_order: Whether row i is of the manifest's row i.
        mean_of_duplicates: Whether several predictions of an image are averaged.
        skip_unusable: Whether rows without an image, a label or a number are left out, and counted.
        leave_out: Labels of the manifest whose images are not scored.
    """

    columns: ColumnChoice = field(default_factory=ColumnChoice)
    rule: JoinRule = field(default_factory=JoinRule)
    class_names: Mapping[str, str] = field(default_factory=dict)
    scores: Scores = "auto"
    positive: str = ""
    truth: Literal["", "manifest", "predictions"] = ""
    first_row: int | None = None
    in_order: bool = False
    mean_of_duplicates: bool = False
    skip_unusable: bool = False
    leave_out: tuple[str, ...] = ()
