"""A whole recipe, its arms, and whether they may stand side by side."""

import hashlib
import json
import re
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from darkcovid.core.errors import UsageError
from darkcovid.recipe.deprecated import deprecated, modernize
from darkcovid.recipe.errors import format_first_error, suggest_name
from darkcovid.recipe.fit_id import FitId
from darkcovid.recipe.sections import NAME, SAME_PIXELS, Data, Lungs, Model, Training
from darkcovid.recipe.strict_model import StrictModel
from darkcovid.recipe.sweep import Sweep

TrackerName = Literal["tensorboard", "mlflow", "wandb"]
MAY_DIFFER = {
    *("image_size", "letterbox", "contrast", "fill_bars", "interpolation", "augment", "normalize", "oversample"),
    *("downsample_to", "border_only", "shuffle_labels", "leave_out"),
}
AUDIT = "audit_"
ENSEMBLE = "ensemble"
NOT_OF_ARMS = {"arms", "ensemble", "sweep"}
RETRAINED: dict[str, dict[str, Any]] = {
    "no_lungs": {"lungs": {"mode": "outside"}},
    "lungs_only": {"lungs": {"mode": "mask"}},
    "border_only": {"lungs": None, "data": {"border_only": True}},
    "thumbnail": {"lungs": None, "data": {"downsample_to": 16}},
    "shuffled": {"data": {"shuffle_labels": True}},
}


class Recipe(StrictModel):
    """One validated recipe."""

    name: str = Field(pattern=NAME)
    """Names the run folder."""
    task: Literal["classification", "lung_segmentation"] = "classification"
    """What is trained: a classifier, or a lung segmenter on the manifest's lung masks."""
    audit: Literal["none", "data", "shortcuts", "retrain"] = "shortcuts"
    """`data`: leakage and confounders in the data; `shortcuts`: also each fitted classifier's metrics with the lungs erased, on
    the lungs alone and on the border alone; `retrain`: also the first arm's network trained again, as arms of their own, without
    lungs, on the lungs, on the border, on 16 pixels per side, and on permuted labels; `none`."""
    audit_epochs_fraction: float = Field(default=0.25, gt=0, le=1)
    """`audit: retrain`: share of the epochs that those arms train."""
    reported_results: str | None = None
    """What the authors of the system reported, in words."""
    tracker: TrackerName | None = None
    """Also write the run there while it trains, as `--tracker` does. It is not part of what is trained."""
    data: Data = Data()
    """Which images, labels, split and pixels."""
    lungs: Lungs | None = None
    """What lung masks are used for; null: nothing."""
    model: Model = Model()
    """Which network."""
    training: Training = Training()
    """How the network is fitted."""
    arms: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Arm: the keys of this recipe that it replaces, such as `{lungs: null}` or, with dots, `{training.lr: 1.0e-3}`. All arms
    share patients and split; without arms the recipe is one arm of its own name. Arms of an extended recipe stay; `small: null`
    drops one."""

    ensemble: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Ensemble: the arms whose probabilities are averaged, such as `{both: [whole, segmented]}`, or one arm of several folds or
    seeds. It is compared, reported, served and exported as an arm. A list of arms is an ensemble called `ensemble`."""

    sweep: Sweep | None = None
    """What `darkcovid sweep` tries."""

    @field_validator("ensemble", mode="before")
    @classmethod
    def _one_ensemble(cls, ensemble: Any) -> Any:
        named = {ENSEMBLE: ensemble} if isinstance(ensemble, (list, tuple)) else ensemble
        if named is None:
            return {}
        if not isinstance(named, dict):
            return named
        return {name: tuple(members) if isinstance(members, list) else members for name, members in named.items()}

    @model_validator(mode="after")
    def _ensembles_of_arms(self) -> "Recipe":
        arms = list(self.arms) or [self.name]
        for name, members in self.ensemble.items():
            strange = [member for member in members if member not in arms]
            if strange:
                raise ValueError(f"ensemble.{name}: no arm is called {strange[0]!r}{suggest_name(strange[0], arms)}")
            if name in arms or not re.fullmatch(NAME, name):
                raise ValueError(f"ensemble.{name}: give it a name that no arm has, of letters, digits, dots and dashes")
            if len(set(members)) < max(len(members), 1):
                raise ValueError(f"ensemble.{name}: name one arm or several, each once")
            if len(members) == 1 and not (self.training.folds or self.training.seeds):
                raise ValueError(f"ensemble.{name}: one arm of one fit has nothing to average; name several arms")
        if self.ensemble and self.task != "classification":
            raise ValueError("ensemble: of classifiers; leave it out of a segmenter's recipe")
        return self

    @model_validator(mode="after")
    def _outputs_that_fit(self) -> "Recipe":
        if self.model.activation == "sigmoid" and len(self.data.classes) != 2:
            raise ValueError(f"model.activation: sigmoid tells two classes apart, and data.classes has {len(self.data.classes)}")
        if self.model.activation == "sigmoid" and (self.training.loss.focal_gamma or self.training.loss.label_smoothing):
            raise ValueError("training.loss: focal_gamma and label_smoothing need model.activation softmax")
        if self.training.folds and (self.data.split.folds or self.data.split.method == "by_column"):
            raise ValueError("training.folds draws the folds itself; leave out data.split.folds, and use a method that draws")
        split = self.data.split
        if split.method == "leave_source_out" and self.task != "classification":
            raise ValueError(
                "data.split: leave_source_out is for classifiers; a lung segmenter is scored by data.external or folds"
            )
        if split.method == "leave_source_out" and bool(self.training.folds or split.folds) == (split.held_out is not None):
            raise ValueError(
                "data.split: leave_source_out needs either held_out, a source, or training.folds, the number of sources"
            )
        if self.task == "lung_segmentation" and self.training.monitor not in (None, "loss"):
            raise ValueError("training.monitor: lungs are judged by Dice, which needs no monitor, or by loss")
        if self.task == "lung_segmentation" and (self.data.contrast != "none" or self.data.fill_bars):
            key = "fill_bars" if self.data.fill_bars else "contrast"
            raise ValueError(f"data.{key}: lungs are found in images as they are; leave it out of a segmenter's recipe")
        if self.model.head == "nearest-neighbors" and (self.data.oversample or self.training.loss.class_weights != "none"):
            raise ValueError("model.head: nearest-neighbors vote by their number; leave out data.oversample and class_weights")
        if self.task != "classification" and (self.data.oversample == "sources" or self.training.loss.groups != "none"):
            raise ValueError("data.oversample: sources and training.loss.groups are for classifiers")
        if self.training.loss.groups != "none" and self.model.is_probe:
            raise ValueError(
                "training.loss.groups is for classifiers trained by epochs; data.oversample: sources also for linear probes"
            )
        if self.training.loss.groups != "none" and (
            self.model.activation == "sigmoid" or self.training.mixup_alpha or self.training.cutmix_alpha
        ):
            raise ValueError("training.loss.groups needs model.activation softmax, and no mixup or CutMix")
        if self.training.lung_consistency is not None:
            _check_lung_consistency(self)
        if self.channels > 1 and self.data.normalize == "zca":
            raise ValueError("data.normalize: zca is not for a crop with a context channel; use training, per_image or none")
        return self

    @property
    def channels(self) -> int:
        """Channels of the pixels that an arm feeds its network: 2 with a context channel."""
        return 2 if self.lungs is not None and self.lungs.context_channel else 1

    @property
    def judges_shortcuts(self) -> bool:
        """Whether each fitted classifier is asked how it does without lungs, which must then be found."""
        return self.audit in ("shortcuts", "retrain")

    @property
    def locates_lungs(self) -> bool:
        """Whether it must be known where the lungs are in what a network sees."""
        return self.judges_shortcuts or self.training.lung_consistency is not None

    def arm_recipe(self, arm: str) -> "Recipe":
        """The whole recipe of one arm, itself without arms. Raises `UsageError` with the key path when it is invalid."""
        plain = self.model_dump(mode="json", exclude=NOT_OF_ARMS)
        for path, value in self.arms[arm].items():
            plain = deep_merge(plain, from_dotted_key(path, value))
        return validate(plain, where=f"arms.{arm}.")

    def arm_recipes(self) -> dict[str, "Recipe"]:
        """Each arm's recipe, in the order written; a recipe without arms is one arm of its own name."""
        arms: dict[str, Recipe] = {arm: self.arm_recipe(arm) for arm in self.arms} if self.arms else {self.name: self}
        return arms | self._audit_arms(next(iter(arms.values()))) if self.audit == "retrain" else arms

    def _audit_arms(self, first: "Recipe") -> dict[str, "Recipe"]:
        """Arms of their own that train the first arm's network on what should not suffice."""
        plain = first.model_dump(mode="json", exclude=NOT_OF_ARMS)
        short = {"training": {"epochs": max(1, round(self.audit_epochs_fraction * first.training.epochs))}, "audit": "data"}
        return {
            f"{AUDIT}{name}": validate(deep_merge(deep_merge(plain, change), short), where=f"audit.{name}.")
            for name, change in RETRAINED.items()
        }

    def fits(self) -> dict[FitId, "Recipe"]:
        """The recipe of each fit of an arm: one for each of `training.folds` and `training.seeds`, or one alone."""
        folds = range(1, self.training.folds + 1) if self.training.folds else [None]
        seeds = self.training.seeds or [None]
        return {FitId(fold, seed): self._fit(fold, seed) for seed in seeds for fold in folds}

    def _fit(self, fold: int | None, seed: int | None) -> "Recipe":
        split = self.data.split.model_copy(update={"folds": self.training.folds, "fold": fold}) if fold else self.data.split
        training = {"folds": None, "seeds": None} | ({"seed": seed} if seed is not None else {})
        return self.model_copy(
            update={
                "data": self.data.model_copy(update={"split": split}),
                "training": self.training.model_copy(update=training),
            }
        )

    def digest(self) -> str:
        """Eight hexadecimal digits that name what this recipe asks for."""
        text = json.dumps(self.model_dump(mode="json", exclude={"tracker"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def to_yaml(self) -> str:
        """The recipe as YAML, in the order of its keys."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def deep_merge(base: Any, change: Any) -> Any:
    """One mapping laid over another: mappings are merged key by key, anything else is replaced.

    Args:
        base: The lower one.
        change: The upper one.

    Returns:
        A new mapping.
    """
    if not (isinstance(base, dict) and isinstance(change, dict)):
        return change
    return {**base, **{key: deep_merge(base.get(key), value) for key, value in change.items()}}


def from_dotted_key(path: str, value: Any) -> dict:
    """A value under a path of keys as nested mappings.

    Args:
        path: Keys, with dots between them.
        value: The innermost value.

    Returns:
        A mapping of the first key.
    """
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def validate(plain: dict, where: str) -> Recipe:
    """A mapping as a Recipe, old keys under their new names.

    Args:
        plain: As YAML gives it.
        where: Put before the path of a key in messages.

    Returns:
        The validated recipe.

    Raises:
        UsageError: The first key that is wrong.
    """
    modern = modernize(plain, deprecated)
    try:
        return Recipe.model_validate_json(json.dumps(modern, default=str))
    except ValidationError as error:
        raise UsageError(where + format_first_error(error, Recipe)) from None


def check_arms_comparable(recipe: Recipe) -> None:
    """Raises UsageError when arms differ in what they must share, or borrow a size that is not there."""
    arms = recipe.arm_recipes()
    for name, arm in arms.items():
        for key in sorted(set(Data.model_fields) - MAY_DIFFER):
            if getattr(arm.data, key) != getattr(recipe.data, key):
                raise UsageError(
                    f"arms.{name}.data.{key}: arms of one recipe share it, or their figures could not be compared; "
                    "write a second recipe and use `darkcovid compare --force`"
                )
        for key in ("folds", "seeds"):
            if getattr(arm.training, key) != getattr(recipe.training, key):
                raise UsageError(f"arms.{name}.training.{key}: arms of one recipe share it; write a second recipe")
        for key in ("task", "tracker"):
            if getattr(arm, key) != getattr(recipe, key):
                raise UsageError(f"arms.{name}.{key}: arms of one recipe share it; write a second recipe")
        if isinstance(arm.data.image_size, str):
            _check_borrowed_size(f"arms.{name}.data.image_size" if recipe.arms else "data.image_size", name, arms)


def _check_lung_consistency(recipe: Recipe) -> None:
    """Raises ValueError where there is no outside to be replaced, or no batch to do it in."""
    if recipe.task != "classification" or recipe.model.is_probe:
        raise ValueError("training.lung_consistency is for classifiers trained by epochs")
    if recipe.lungs is not None and recipe.lungs.mode != "crop":
        raise ValueError(
            f"training.lung_consistency replaces what lungs.mode {recipe.lungs.mode} erases; use crop or whole images"
        )
    if recipe.training.mixup_alpha or recipe.training.cutmix_alpha:
        raise ValueError("training.lung_consistency compares images as they are; leave out mixup_alpha and cutmix_alpha")


def _check_borrowed_size(key: str, name: str, arms: dict[str, Recipe]) -> None:
    lender = str(arms[name].data.image_size).removeprefix(SAME_PIXELS)
    others = [other for other in arms if other != name]
    if lender not in others:
        raise UsageError(f"{key}: no other arm is called {lender!r}{suggest_name(lender, others)}")
    if isinstance(arms[lender].data.image_size, str):
        raise UsageError(f"{key}: {lender!r} takes its own size from another arm; name one with a size of its own")
