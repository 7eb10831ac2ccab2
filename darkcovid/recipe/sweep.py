"""What a sweep tries: the values of some keys of one arm, and how it chooses among them."""

import math
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from darkcovid.recipe.sections import NAME, Metric
from darkcovid.recipe.strict_model import StrictModel

MAX_CHOICES = 1000


class SearchSpace(StrictModel):
    """The values that are tried of one key: exactly one of `choices`, `range` and `log_range`. A plain list is its choices."""

    choices: tuple[Any, ...] | None = Field(default=None, min_length=1, max_length=MAX_CHOICES)
    """The values, of any kind that the key takes, such as `[none, fastai_default]`."""
    range: tuple[float, float] | None = None
    """The least and the greatest number, `[0.0, 0.5]`."""
    log_range: tuple[float, float] | None = None
    """The same, on a logarithmic scale, `[1.0e-4, 1.0e-2]`."""
    step: float | None = Field(default=None, gt=0)
    """`range`: only every so many, from the least on."""
    points: int | None = Field(default=None, ge=2, le=MAX_CHOICES)
    """A grid takes this many values of a range, both ends and evenly between them."""

    @model_validator(mode="after")
    def _one_of_them(self) -> "SearchSpace":
        given = [name for name in ("choices", "range", "log_range") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of choices, range and log_range, or a plain list of choices")
        if self.step is not None and self.range is None:
            raise ValueError("step divides a range; leave it out")
        if self.points is not None and (self.choices is not None or self.step is not None):
            raise ValueError("points are of a range or log_range without a step; leave them out")
        if self.ends is not None and self.ends[0] >= self.ends[1]:
            raise ValueError("a range goes from the least to the greatest number")
        if self.log_range is not None and self.log_range[0] <= 0:
            raise ValueError("a log_range begins above 0")
        if self.step is not None and self.ends is not None and (self.ends[1] - self.ends[0]) / self.step > MAX_CHOICES:
            raise ValueError(f"the step divides the range into more than {MAX_CHOICES} values")
        if self.choices is not None and len({repr(value) for value in self.choices}) < len(self.choices):
            raise ValueError("name each choice once")
        return self

    @property
    def ends(self) -> tuple[float, float] | None:
        """The least and the greatest number; None of choices."""
        return self.range if self.range is not None else self.log_range

    def grid(self, whole: bool) -> list[Any] | None:
        """The values that a grid takes.

        Args:
            whole: Whether numbers are whole ones.

        Returns:
            The values in order; None of a range that has neither step nor points.
        """
        if self.choices is not None:
            return list(self.choices)
        low, high = self.ends or (0.0, 0.0)
        if self.step is not None:
            values = [low + index * self.step for index in np.arange(math.floor((high - low) / self.step + 1e-9) + 1)]
        elif self.points is None:
            return None
        elif self.log_range is not None:
            values = np.geomspace(low, high, self.points).tolist()
        else:
            values = np.linspace(low, high, self.points).tolist()
        tidy = [float(f"{value:.12g}") for value in values]
        return list(dict.fromkeys(round(value) for value in tidy)) if whole else tidy


class Sweep(StrictModel):
    """What `darkcovid sweep` tries; `darkcovid run` does not look at it. Trials see the training set alone, in inner folds of
    whole patients; the validation and the test set are locked until the winner is fitted again."""

    over: dict[str, SearchSpace] = Field(min_length=1)
    """Dotted key of the recipe: its values, such as `training.lr: {log_range: [1.0e-4, 1.0e-2]}`. Keys by which arms may differ,
    but for seeds; null drops a key of an extended recipe."""
    arm: str | None = Field(default=None, pattern=NAME)
    """The arm whose keys are swept; null: the first."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """How trials are drawn. `tpe`: by a tree-structured Parzen estimator (Bergstra et al. 2011), which learns from earlier
    trials; `random`; `grid`: every combination, in random order."""
    pruner: Literal["median", "successive_halving", "hyperband", "none"] = "median"
    """When a trial ends early. `median`: its metric is below the median of finished trials at the same share of their epochs;
    `successive_halving` (Li et al. 2020, ASHA) and `hyperband` (Li et al. 2018): it is not among the best third at set shares."""
    trials: int | None = Field(default=None, ge=1, le=10_000)
    """Number of trials; null: 20, of a grid all."""
    metric: Metric = "balanced_accuracy"
    """By which a trial is judged, on the inner folds' predictions together."""
    folds: int = Field(default=3, ge=2, le=20)
    """Inner folds of the training set's patients; a trial is a fit for each."""
    final_seeds: int = Field(default=3, ge=1, le=20)
    """Fresh seeds with which the winner and the plain recipe are fitted at the end."""
    seed: int = Field(default=41, ge=0)
    """Seed of the inner folds and of the sampler."""

    @field_validator("over", mode="before")
    @classmethod
    def _lists_are_choices(cls, over: Any) -> Any:
        if not isinstance(over, dict):
            return over
        kept = {key: space for key, space in over.items() if space is not None}  # null drops a key of an extended recipe
        spaces = {key: {"choices": space} if isinstance(space, list) else space for key, space in kept.items()}
        return {key: _with_tuples(space) if isinstance(space, dict) else space for key, space in spaces.items()}

    @model_validator(mode="after")
    def _no_key_within_another(self) -> "Sweep":
        keys = sorted(self.over)
        for key in keys:
            inside = [other for other in keys if other.startswith(f"{key}.")]
            if inside:
                raise ValueError(f"over: {inside[0]} is a part of {key}; sweep one of them")
        return self


def _with_tuples(space: dict[str, Any]) -> dict[str, Any]:
    """After a validator of one's own, pydantic takes JSON's lists for tuples no longer."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in space.items()}
