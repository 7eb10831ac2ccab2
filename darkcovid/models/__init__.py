"""Which network? One registry, one file an architecture."""

from darkcovid.models import darkcovidnet  # noqa: F401 (importing registers it)
from darkcovid.models.registry import Architecture, build, get, names

__all__ = ["Architecture", "build", "get", "names"]
