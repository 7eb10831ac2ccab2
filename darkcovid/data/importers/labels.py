"""What do datasets call the classes? Names of labels that mean covid, no finding or pneumonia."""

import re
from collections.abc import Mapping

from darkcovid.core.errors import UsageError

SYNONYMS = {
    "covid": ("covid", "covid19", "covid19pneumonia", "sarscov2", "coronavirus", "pneumoniaviralcovid19", "covid19positive"),
    "no_finding": ("normal", "nofinding", "nofindings", "healthy", "noncovidnormal", "normalcases"),
    "pneumonia": ("pneumonia", "viralpneumonia", "bacterialpneumonia", "pneumoniaviral", "pneumoniabacterial", "viral", "virus",
                  "bacteria", "bacterial", "pneumonias"),
}  # fmt: skip
WORDS = re.compile(r"[a-z0-9]+(?:[\s_./(),:-]+[a-z0-9]+)*\)?")  # of Latin letters and digits, with separators between them
ETIOLOGIES = {"viral": "pneumonia_viral", "virus": "pneumonia_viral", "bacteria": "pneumonia_bacterial"}


def default_class(label: str) -> str:
    """The class that a dataset's label means, such as `covid` for `COVID-19`; the label itself where none is known.

    Only what separates words is passed over: `COVID+`, `COVID-` and `non-COVID` in any script are not `covid`.
    """
    text = label.casefold().strip()
    plain = re.sub(r"[^a-z0-9]", "", text) if WORDS.fullmatch(text) else text
    return next((name for name, labels in SYNONYMS.items() if plain in labels), label)


def known_class(label: str, classes: Mapping[str, str]) -> str | None:
    """The class that a label is known to mean.

    Args:
        label: The dataset's, several findings joined by `|`.
        classes: Label or finding to class, before `default_class`.

    Returns:
        The class of the whole label where it is in `classes`, else the one class that its findings mean, covid before pneumonia;
        None where they mean none, or several.
    """
    if label in classes:
        return classes[label]
    meant = {classes.get(finding) or default_class(finding) for finding in label.split("|")}
    known = {name for name in meant if name in SYNONYMS or name in classes.values()}
    if known == {"covid", "pneumonia"}:
        return "covid"
    return known.pop() if len(known) == 1 else None


def etiology_of(finding: str, label: str = "pneumonia") -> str:
    """The cause of what an image shows.

    Args:
        finding: As the dataset calls it.
        label: Its class.

    Returns:
        `covid` and `no_finding` as the class; `pneumonia_viral` or `pneumonia_bacterial` where the finding says which; else ''.
    """
    if label in ("covid", "no_finding"):
        return label
    if default_class(finding) != "pneumonia":
        return ""
    return next((name for word, name in ETIOLOGIES.items() if word in finding.casefold()), "")


def parse_classes(text: str) -> dict[str, str]:
    """`COVID=covid,Normal=no_finding` as a mapping.

    Raises:
        UsageError: Not of this form, or a label twice.
    """
    mapping: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        label, equals, name = (piece.strip() for piece in part.partition("="))
        if not (label and equals and name) or label in mapping:
            raise UsageError(f"--classes {part}: write LABEL=CLASS for each label once, such as COVID=covid,Normal=no_finding")
        mapping[label] = name
    return mapping
