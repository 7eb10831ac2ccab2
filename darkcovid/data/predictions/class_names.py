"""Which class does a label, a number or a column's name mean? What a person said, else the manifest's own name in another
spelling, else a known word for it; a number, only what the rows themselves prove."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from darkcovid.core.errors import UsageError, one_line
from darkcovid.data.importers.labels import SYNONYMS, default_class, parse_classes
from darkcovid.data.table_cells import WHOLE_FLOAT


def read_class_names(text: str) -> dict[str, str]:
    """`--classes`: `0=covid,1=rest`, or a JSON or YAML file with a list of names, or names by number, perhaps under `names`.

    Raises:
        UsageError: Neither.
    """
    path = Path(text).expanduser()
    if path.suffix.lower() not in (".json", ".yaml", ".yml") or "=" in text:
        return {plain_number(name): meant for name, meant in parse_classes(text).items()}
    try:
        names = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"--classes {text}: not readable ({one_line(error)[:100]})") from None
    names = names.get("names", names) if isinstance(names, dict) else names
    names = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise UsageError(f"--classes {text}: a list of class names, or names by number, is expected")
    return {plain_number(str(number)): name for number, name in names.items()}


def plain_number(text: str) -> str:
    """A whole number as it is counted: `1` for `1.0` and `01`; other text as it is."""
    text = text.strip()
    match = WHOLE_FLOAT.fullmatch(text)
    digits = match[1] if match else text
    return str(int(digits)) if digits.isdecimal() and digits.isascii() else text


def is_number(text: str) -> bool:
    """Whether a label is a whole number."""
    return plain_number(text).isdecimal()


class ClassNames:
    """What labels mean.

    Args:
        classes: Of the manifest's images.
        said: Class by label or number, as a person said.
    """

    def __init__(self, classes: Iterable[str], said: Mapping[str, str]):
        self.said = dict(said)
        self.classes = tuple(dict.fromkeys([*sorted(set(classes)), *said.values()]))
        self.translated: dict[str, str] = {}

    def meaning(self, text: str) -> str | None:
        """The class that a label or a token means; None where it means none that is known."""
        text = plain_number(text)
        if text in self.said:
            return self.said[text]
        if text in self.classes:
            return text
        meant = self._alike(text, plain_word) or self._alike(text, _known_word)
        if meant is not None:
            self.translated[text] = meant
        return meant

    def add_class(self, name: str) -> None:
        """Take up a class that no image of the manifest has."""
        if name not in self.classes:
            self.classes = (*self.classes, name)

    def add_proven(self, numbers: Sequence[str], classes: Sequence[str]) -> None:
        """Take up the classes of numbers on which every row agrees.

        Args:
            numbers: (n) labels of one source.
            classes: (n) of another, '' where it says nothing.
        """
        self.said |= {number: name for number, name in proven_names(numbers, classes).items() if number not in self.said}

    def _alike(self, text: str, form) -> str | None:
        """The one class that has the same form."""
        own = form(text)
        alike = [name for name in self.classes if own and form(name) == own]
        return alike[0] if len(alike) == 1 else None


def proven_names(numbers: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """The class of each number, where every row agrees: no number has two classes, and no class two numbers.

    Args:
        numbers: (n) labels of one source.
        classes: (n) of another, '' where it says nothing.

    Returns:
        Class by number; empty where rows disagree, or there are fewer than two classes.
    """
    pairs = {(plain_number(number), name) for number, name in zip(numbers, classes, strict=True) if name and number.strip()}
    names = dict(pairs)
    one_to_one = len(names) == len(pairs) == len(set(names.values()))
    return names if one_to_one and len(names) > 1 else {}


def plain_word(text: str) -> str:
    """Without case and what separates words; signs that tell `covid+` from `covid-` stay."""
    return re.sub(r"(?<=\w)[\s_\-./]+(?=\w)", "", text.strip()).casefold()


def _known_word(text: str) -> str | None:
    name = default_class(text)
    return name if name in SYNONYMS else None
