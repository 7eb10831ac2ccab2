"""What every section of a recipe has in common."""

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """Frozen; unknown keys, wrong types and numbers that are not finite are refused. The string under a field describes it, in
    the JSON Schema and in docs/recipes.md."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True, title=None
    )
