"""Which network? One registry, one file an architecture."""

from darkcovid.models import cnn as plain  # noqa: F401 (importing registers them)
from darkcovid.models import darkcovidnet, transfer  # noqa: F401 (importing registers them)
from darkcovid.models.registry import (
    Architecture,
    create_model,
    get_architecture,
    list_models,
    parameter_counts,
    validate_model_config,
)

__all__ = ["Architecture", "create_model", "get_architecture", "list_models", "parameter_counts", "validate_model_config"]
