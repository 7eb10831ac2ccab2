"""How is a mistake in a recipe told? In one line: the key's path, what is wrong, and the nearest valid name."""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from darkcovid.core.errors import UsageError
from darkcovid.recipe.strict_model import StrictModel, models_in

YAML_WORDS = {"a valid array": "a list", "an object": "a mapping", "a valid string": "text"}

Section = TypeVar("Section", bound=StrictModel)


def validate_section(kind: type[Section], values: dict[str, Any], where: str) -> Section:
    """A section of a recipe from the arguments of a function.

    Args:
        kind: The section.
        values: Its keys.
        where: The function, put before the message.

    Returns:
        The section.

    Raises:
        UsageError: The first value that is wrong.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"{where}: {format_first_error(error, kind)}") from None


def format_first_error(error: ValidationError, model: type[BaseModel]) -> str:
    """The first of a validation's errors, `key.path: what is wrong`; of a key with several forms, of the form that got furthest.

    Args:
        error: pydantic's.
        model: What was validated.

    Returns:
        One line.
    """
    names = _field_names(model)
    faults = [([str(key) for key in fault["loc"] if not _is_union_tag(key) or key in names], fault) for fault in error.errors()]
    first = faults[0][0]
    keys, fault = max((other for other in faults if other[0][: len(first)] == first), key=lambda other: len(other[0]))
    path = ".".join(keys)
    if fault["type"] == "extra_forbidden":
        elsewhere = [place for place in dotted_names(model) if place.rpartition(".")[2] == keys[-1]]
        if elsewhere:
            return f"{path}: unknown key; did you mean {' or '.join(map(repr, elsewhere))}?"
        return f"{path}: unknown key{suggest_name(keys[-1], _fields_at(keys[:-1], model))}"
    if fault["type"] == "missing":
        return f"{path}: this key is required"
    message = fault["msg"].removeprefix("Value error, ")
    for json_word, word in YAML_WORDS.items():
        message = message.replace(json_word, word)
    if not path:
        return message
    given = "" if isinstance(fault["input"], dict) else f", not {fault['input']!r}"
    return f"{path}: {message[0].lower()}{message[1:]}{given}"


def suggest_name(name: str, valid: Iterable[str]) -> str:
    """The end of a message about an unknown name.

    Args:
        name: As it was written.
        valid: Names that would be right.

    Returns:
        The valid name most like `name`, or all of them.
    """
    valid = list(valid)
    close = close_name(name, valid)
    return f"; did you mean {close!r}?" if close else f"; valid here: {', '.join(valid) or 'none'}"


def close_name(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that is most like another.

    Args:
        name: As it was written.
        valid: Names that would be right.

    Returns:
        None where none is like it.
    """
    return next(iter(difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)), None)


def _is_union_tag(key: object) -> bool:
    """pydantic adds the member of a union that it tried to the path; a person does not write it."""
    return isinstance(key, str) and (
        key in {"int", "str", "Augmentation", "External"} or key.startswith(("tuple[", "dict[", "constrained-"))
    )


def _fields_at(keys: list[str], model: type[BaseModel]) -> list[str]:
    here: Any = model
    for key in keys:
        if key in here.model_fields:  # else a place in a list, or a name in a mapping
            here = next(iter(models_in(here.model_fields[key].annotation)), None)
    names = list(here.model_fields)
    return [*names, "extends"] if here is model else names


def dotted_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of a recipe with its path.

    Args:
        model: The recipe's, or a section's.
        prefix: Put before each.

    Yields:
        Dotted keys.
    """
    for name, field in model.model_fields.items():
        yield prefix + name
        for kind in models_in(field.annotation):
            yield from dotted_names(kind, f"{prefix}{name}.")


def _field_names(model: type[BaseModel]) -> set[str]:
    names = set(model.model_fields)
    for field in model.model_fields.values():
        for kind in models_in(field.annotation):
            names |= _field_names(kind)
    return names
