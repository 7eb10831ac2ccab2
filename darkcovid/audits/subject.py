"""What is audited where no recipe of ours made it: predictions or a model of any framework, and what then cannot be checked."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

_MODEL = "the model itself: darkcovid audit --model FILE"
NEEDED_BESIDE_PREDICTIONS = {19: _MODEL, 20: _MODEL, 21: _MODEL, 22: _MODEL, 25: _MODEL}
NEEDED_BESIDE_A_MODEL = {
    13: "the training code: which images normalization, vocabulary and feature selection were fitted to",
    15: "predictions of every fold and seed, of which this is one",
    16: "the training code: which epoch was kept, and by which images it was chosen",
    17: "the training code: which augmentations there were",
    18: "the training code: whether every model had the same budget",
    24: "training again, on shuffled labels",
    37: "the trainer's versions, hardware, time and memory",
    38: "the command that trains it again; the report says how to repeat this audit",
}
DECLARATIONS = {
    14: "say how often the images scored were looked at before this model was chosen",
    29: "predictive values at 1, 5 and 20 % prevalence are given; say which prevalence the intended use has",
    33: "look at the most confident mistakes; predictions.csv lists every answer",
    36: "of whoever trained the model",
}


@dataclass(frozen=True, slots=True)
class AuditSubject:
    """What was made elsewhere.

    Attributes:
        name: For a person.
        kind: predictions, or a model, which can be asked about altered images.
        files: It came from, by arm.
        notes: How each was read, by arm.
        left_out: Images that are not scored, by arm and reason.
    """

    name: str
    kind: Literal["predictions", "model"]
    files: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)

    def needed(self, number: int) -> str:
        """What a check needs that is not there; '' where nothing is missing."""
        beside = NEEDED_BESIDE_PREDICTIONS if self.kind == "predictions" else {}
        return (NEEDED_BESIDE_A_MODEL | beside).get(number, "")

    def as_dict(self) -> dict[str, Any]:
        """As in `subject.json`."""
        return asdict(self)


def parse_subject(json: Mapping[str, Any]) -> AuditSubject:
    """Of a `subject.json`.

    Raises:
        ValueError: It is damaged.
    """
    return _SUBJECT.validate_python(json)


_SUBJECT = TypeAdapter(AuditSubject)
