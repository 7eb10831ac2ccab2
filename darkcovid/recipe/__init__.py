"""What was asked? A YAML recipe becomes a validated, frozen `Recipe`; every mistake is named by its key path.

Unknown keys, duplicate keys and wrong types are refused. `extends` and `arms` are merged here, so the rest of the
package never sees YAML.
"""

from darkcovid.recipe.augmentation import AUGMENTATIONS, Augmentation
from darkcovid.recipe.fit_id import FitId, FitSelector
from darkcovid.recipe.loader import load_recipe
from darkcovid.recipe.recipe import AUDIT, Recipe, TrackerName, deep_merge
from darkcovid.recipe.sections import (
    LOWER_IS_BETTER,
    MAX_FOLDS,
    PHANTOM,
    REST,
    SAME_PIXELS,
    SUSPECTS,
    Contrast,
    Data,
    External,
    Interpolation,
    Loss,
    Lungs,
    Model,
    Optimizer,
    Phantom,
    Plateau,
    Progressive,
    Split,
    Training,
)
from darkcovid.recipe.sweep import SearchSpace, Sweep
from darkcovid.recipe.swept_keys import require_sweep, swept_arm, takes_whole_numbers, with_swept_keys

__all__ = [
    "AUDIT",
    "AUGMENTATIONS",
    "LOWER_IS_BETTER",
    "MAX_FOLDS",
    "PHANTOM",
    "REST",
    "SAME_PIXELS",
    "SUSPECTS",
    "Augmentation",
    "Contrast",
    "Data",
    "External",
    "FitId",
    "FitSelector",
    "Interpolation",
    "Loss",
    "Lungs",
    "Model",
    "Optimizer",
    "Phantom",
    "Plateau",
    "Progressive",
    "Recipe",
    "SearchSpace",
    "Split",
    "Sweep",
    "TrackerName",
    "Training",
    "deep_merge",
    "load_recipe",
    "require_sweep",
    "swept_arm",
    "takes_whole_numbers",
    "with_swept_keys",
]
