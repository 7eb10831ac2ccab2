"""Every key of a recipe, written out from the models: JSON Schema for editors, Markdown for readers."""

import json
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from darkcovid.core.errors import one_line
from darkcovid.recipe.augmentation import AUGMENTATIONS
from darkcovid.recipe.recipe import Recipe
from darkcovid.recipe.strict_model import models_in
from darkcovid.recipe.swept_keys import is_sweepable

SCHEMA_TITLE = "darkcovid recipe"
EXTENDS = "Another recipe, relative to this one, whose keys are replaced by those given here; of several, later ones go before."
INTRODUCTION = """\
# Every key of a recipe

This page is written by `darkcovid recipe reference`; do not edit it.

A recipe is a YAML file. `extends: other.yaml` takes another recipe's keys, to be replaced here (of a list of recipes, the later
ones go before); `--set key.path=value` replaces one on the command line. A key that does not exist, a wrong type or a value out
of range is refused in one line. Keys of earlier versions still work, with a line that gives the new name. Editors check and
complete a recipe whose first line is `# yaml-language-server: $schema=recipe.schema.json` (`darkcovid recipe schema` prints the
schema).

"""
NAMED_SETS = "Named sets for `data.augment`: {}. The last four are the Keras generators of published systems."
FLATTERED = """\
Early stopping, plateaus and `checkpoint: best` look at the validation set, which flatters its metrics: hold out a test set
(`data.split.test`) and report that one.
"""


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a recipe file: one that extends another may leave out any key, and an arm takes dotted
    keys too."""
    schema = Recipe.model_json_schema()
    properties = schema["properties"]
    arm_keys = dict(_dotted_properties(schema, properties, ""))
    arm = {"type": "object", "properties": arm_keys, "additionalProperties": False}
    properties["arms"]["additionalProperties"] = {"anyOf": [arm, {"type": "null"}]}
    _let_lists_be_choices(schema, arm_keys)
    properties["extends"] = {"type": ["string", "array"], "items": {"type": "string"}, "description": EXTENDS}
    del schema["required"]
    _drop_titles(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": SCHEMA_TITLE}


def _let_lists_be_choices(schema: dict[str, Any], arm_keys: dict[str, Any]) -> None:
    """What is swept is a key of an arm; its values may be a plain list, and null drops it."""
    over = schema["$defs"]["Sweep"]["properties"]["over"]
    kinds = [over.pop("additionalProperties"), {"type": "array", "minItems": 1}, {"type": "null"}]
    schema["$defs"]["SweptValues"] = {"anyOf": kinds}
    swept = {key: {"$ref": "#/$defs/SweptValues"} for key in arm_keys if is_sweepable(key)}
    over |= {"properties": swept, "additionalProperties": False}


def schema_text() -> str:
    """`json_schema` as a file's text."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def markdown() -> str:
    """docs/recipes.md."""
    parts = [INTRODUCTION, _table(Recipe, "")]
    for path, section in _sections(Recipe, ""):
        parts.append(f"\n{'#' * (2 + path.count('.'))} `{path}`\n\n{_cell(section.__doc__)}\n\n{_table(section, path)}")
        if path == "data.augment":
            parts.append("\n" + NAMED_SETS.format(", ".join(f"`{name}`" for name in AUGMENTATIONS)) + "\n")
    return "".join(parts) + "\n" + FLATTERED


def _drop_titles(schema: Any) -> None:
    """pydantic repeats every key as its title."""
    for value in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        if isinstance(value, dict) and isinstance(value.get("title"), str):
            del value["title"]
        _drop_titles(value)


def _dotted_properties(schema: dict, properties: dict, prefix: str) -> Iterator[tuple[str, dict]]:
    for name, of_key in properties.items():
        if not prefix and name in ("name", "arms", "extends", "sweep"):
            continue
        yield prefix + name, of_key
        references = [option["$ref"] for option in [of_key, *of_key.get("anyOf", [])] if "$ref" in option]
        for reference in references:
            inner = schema["$defs"][reference.rpartition("/")[2]]
            yield from _dotted_properties(schema, inner.get("properties", {}), f"{prefix}{name}.")


def _sections(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section below `model`, in the order of the keys; the external sets' phantom is the cohort's."""
    for name, field in model.model_fields.items():
        for section in models_in(field.annotation):
            path = f"{prefix}{name}.<key>" if get_origin(field.annotation) is dict else prefix + name
            if path == "data.external.phantom":
                continue
            yield path, section
            yield from _sections(section, f"{path}.")


def _table(model: type[BaseModel], prefix: str) -> str:
    rows = ["| key | values | default | what it is |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        key = f"{prefix}.{name}" if prefix else name
        rows.append(f"| `{key}` | {_values(field)} | {_default(field)} | {_cell(field.description)} |")
    return "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel) or value in ((), {}):
        return ""
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


def _values(field: FieldInfo) -> str:
    text = _type(field.annotation)
    plain = text.removesuffix(OR_NULL)
    return f"{plain}{_limits(field.metadata)}{text.removeprefix(plain)}"


OR_NULL = " or null"
SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
TYPES = {int: "integer", float: "number", str: "text", bool: "`true`, `false`", NoneType: "null", Any: "any"}


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return f"{_type(parts[0])}{_limits([limit for part in parts[1:] for limit in getattr(part, 'metadata', [part])])}"
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in parts)
    if origin in (Union, UnionType):
        return " or ".join(_type(part) for part in parts)
    if origin is tuple:
        return "list of " + _type(parts[0]) if parts[-1] is Ellipsis else f"[{', '.join(_type(part) for part in parts)}]"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return TYPES[annotation]


def _limits(metadata: list[Any]) -> str:
    """How a number is limited: ` 0 to 1` with both ends, ` > 0, < 1` without."""
    known = {name: getattr(limit, name) for limit in metadata for name in SIGNS if hasattr(limit, name)}
    if known.keys() == {"ge", "le"}:
        return f" {known['ge']:g} to {known['le']:g}"
    return " " * bool(known) + ", ".join(f"{SIGNS[name]} {value:g}" for name, value in known.items())


def _cell(text: str | None) -> str:
    return one_line(text or "").replace("|", "\\|")
