"""What every section of a recipe has in common."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """Frozen; unknown keys, wrong types and numbers that are not finite are refused. The string under a field describes it, in
    the JSON Schema and in docs/recipes.md."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True, title=None
    )


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a type consists of: `Split` of `Split | None` and of `tuple[Split, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)
