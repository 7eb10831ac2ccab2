"""Which network? One registry, one file an architecture."""

from darkcovid.models import darkcovidnet, plain, transfer  # noqa: F401 (importing registers them)
from darkcovid.models.registry import Architecture, build, checked, get, names, parameter_counts

__all__ = ["Architecture", "build", "checked", "get", "names", "parameter_counts"]
