"""Do faults of the images differ between the classes? A fault that one class has more often tells it apart without lungs."""

from dataclasses import dataclass, replace

import pandas as pd

from darkcovid.audits.confounders import permutation_p_value
from darkcovid.data.import_folder import GOOD
from darkcovid.data.splits import patient_groups
from darkcovid.metrics.p_values import holm

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class QualityRate:
    """How often a fault occurs.

    Attributes:
        flag: The fault, such as `rotated`, see `lungs.image_quality`.
        images: That have it, by class.
        of: All images, by class.
        p_holm: That such a difference between the classes comes by chance, each patient counted once, corrected for the number of
            faults; 1.0 of a single class.
    """

    flag: str
    images: dict[str, int]
    of: dict[str, int]
    p_holm: float

    @property
    def differs(self) -> bool:
        """Whether the classes differ by more than chance."""
        return self.p_holm < SIGNIFICANT


def quality_rates(rows: pd.DataFrame) -> list[QualityRate]:
    """The faults that occur.

    Args:
        rows: Of a manifest, with `quality`: faults joined by `|`, or `good`.

    Returns:
        One rate per fault that some image has, the most frequent first.
    """
    sizes = rows.label.value_counts().sort_index()
    of = {str(name): int(count) for name, count in sizes.items()}
    once = ~patient_groups(rows).duplicated()
    rates = []
    faults = rows.quality.str.split("|").explode()
    for flag in faults[~faults.isin(["", GOOD])].value_counts().index:
        has = rows.quality.str.split("|").map(lambda of_image, flag=flag: flag in of_image).to_numpy(bool)
        images = {name: int((has & (rows.label == name)).sum()) for name in of}
        table = pd.crosstab(has[once], rows.label[once].to_numpy()).to_numpy()
        p = permutation_p_value(table) if min(table.shape) > 1 else 1.0
        rates.append(QualityRate(flag, images, of, p))
    corrected = holm({rate.flag: rate.p_holm for rate in rates})
    return [replace(rate, p_holm=corrected[rate.flag]) for rate in rates]
