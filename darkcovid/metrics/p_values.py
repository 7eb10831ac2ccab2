"""p values: corrected for how many there are, and as text."""

from collections.abc import Mapping
from typing import TypeVar

Key = TypeVar("Key")


def holm(ps: Mapping[Key, float | None]) -> dict[Key, float | None]:
    """Holm's step-down correction (Holm 1979) of those that are not None."""
    ordered = sorted((p, name) for name, p in ps.items() if p is not None)
    corrected: dict[Key, float | None] = dict.fromkeys(ps)
    least = 0.0
    for place, (p, name) in enumerate(ordered):
        least = max(least, min(1.0, p * (len(ordered) - place)))
        corrected[name] = least
    return corrected


def p_text(p: float) -> str:
    """A p value as papers write it: `p < 0.001`, `p = 0.0123`, `p = 0.30`, `p = 1`."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.2f}" if 0.1 <= p < 1 else f"p = {p:.2g}"
