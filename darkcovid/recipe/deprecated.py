"""Which keys and values had other names? Recipes of earlier versions, and those in old run folders, still load."""

import warnings
from collections.abc import Callable
from typing import Any

from darkcovid.core.errors import UsageError

KEYS: dict[str, str] = {
    "published": "reported_results",
    "audit_share": "audit_epochs_fraction",
    "data.per_class": "data.max_per_class",
    "data.normalise": "data.normalize",
    "data.detail": "data.downsample_to",
    "data.external.patients": "data.external.shared_patient_ids",
    "data.augment.warp": "data.augment.perspective",
    "data.augment.warp_by": "data.augment.perspective_by",
    "data.augment.light": "data.augment.lighting",
    "data.augment.p_light": "data.augment.p_lighting",
    "data.augment.span": "data.augment.zoom_range",
    "data.augment.shade": "data.augment.illumination",
    "data.augment.white_lungs": "data.augment.consolidation",
    "data.augment.text": "data.augment.burned_in_text",
    "data.augment.erase": "data.augment.random_erasing",
    "data.augment.trivial": "data.augment.trivial_augment",
    "lungs.thumbnail": "lungs.context_channel",
    "lungs.aspect": "lungs.resize",
    "model.outputs": "model.activation",
    "training.warm_up": "training.warmup_fraction",
    "training.final_div": "training.div_final",
    "training.decay": "training.lr_gamma",
    "training.frozen": "training.freeze_backbone",
    "training.unfreeze_after": "training.unfreeze_epoch",
    "training.plateau": "training.reduce_lr_on_plateau",
    "training.stop_after": "training.early_stopping_patience",
    "training.keep": "training.checkpoint",
    "training.optimiser": "training.optimizer",
    "training.optimizer.decay_all": "training.optimizer.decay_norm_and_bias",
    "training.loss.focal": "training.loss.focal_gamma",
    "training.loss.smoothing": "training.loss.label_smoothing",
    "training.ema": "training.ema_decay",
    "training.mixup": "training.mixup_alpha",
    "training.cutmix": "training.cutmix_alpha",
    "training.clip": "training.clip_grad_norm",
    "training.progressive": "training.progressive_resizing",
    "training.tta": "training.tta_views",
}
VALUES: dict[str, dict[str, Any]] = {
    "data.normalize": {"image": "per_image", "augmented_batch": "first_batch"},
    "data.external.shared_patient_ids": {"same": True, "other": False},
    "lungs.resize": {"pad": "letterbox"},
    "model.head": {"faithful": "flatten"},
}


def deprecated(message: str) -> None:
    """Shown on the command line in one line."""
    warnings.warn(message, FutureWarning, stacklevel=2)


def modernize(plain: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """A recipe's mapping with today's keys and values, arms included.

    Args:
        plain: As YAML gives it.
        say: Called with one line that lists what was renamed.

    Returns:
        A new mapping.

    Raises:
        UsageError: An old key and its new name are both given.
    """
    renamed: dict[str, None] = {}
    modern = _modernize({key: value for key, value in plain.items() if key != "arms"}, "", renamed)
    if "arms" in plain:
        arms = plain["arms"]
        modern["arms"] = {name: _modern_arm(arm, renamed) for name, arm in arms.items()} if isinstance(arms, dict) else arms
    if renamed:
        say(f"old names of recipe keys: {', '.join(renamed)}")
    return modern


def modern_path(path: str) -> str:
    """A dotted key under today's name."""
    modern = ""
    for part in path.split("."):
        modern = f"{modern}.{part}" if modern else part
        modern = KEYS.get(modern, modern)
    return modern


def _modernize(value: Any, path: str, renamed: dict[str, None]) -> Any:
    if isinstance(value, list):
        return [_modernize(item, path, renamed) for item in value]
    if not isinstance(value, dict):
        return _modern_value(value, path, renamed)
    modern: dict[str, Any] = {}
    for key, inner in value.items():
        old = f"{path}.{key}" if path else str(key)
        new = KEYS.get(old, old)
        name = key
        if new != old:
            name = new.rpartition(".")[2]
            renamed[f"{old} is now {new}"] = None
            if name in value:
                raise UsageError(f"{old}: this is the old name of {new}, which is given too; leave one of them out")
        modern[name] = _modernize(inner, new, renamed)
    return modern


def _modern_value(value: Any, path: str, renamed: dict[str, None]) -> Any:
    if not isinstance(value, str) or value not in VALUES.get(path, {}):
        return value
    modern = VALUES[path][value]
    renamed[f"{path}: {value} is now {str(modern).lower()}"] = None
    return modern


def _modern_arm(arm: Any, renamed: dict[str, None]) -> Any:
    if not isinstance(arm, dict):
        return arm
    modern = {}
    for path, value in arm.items():
        new = modern_path(str(path))
        if new != str(path):  # YAML's keys may be numbers
            renamed[f"{path} is now {new}"] = None
            if new in arm:
                raise UsageError(f"{path}: this is the old name of {new}, which is given too; leave one of them out")
        modern[new] = _modernize(value, new, renamed)
    return modern
