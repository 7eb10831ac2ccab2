"""What was asked? A YAML recipe becomes a validated, frozen `Recipe`; every mistake is named by its key path.

Unknown keys, duplicate keys and wrong types are refused. `extends` and `arms` are merged here, so the
rest of the package never sees YAML.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from darkcovid.errors import RequestError, one_line
from darkcovid.recipe_faults import first_fault, nearest

PHANTOM = "phantom"
SAME_PIXELS = "same_pixels_as "

Side = Annotated[int, Field(ge=32, le=2048)]
Size = Side | tuple[Side, Side]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Split(Strict):
    """How patients or images are divided into training and validation sides: a share `valid` of them, or, with `folds`,
    the patients of fold number `fold` (from 1) of a cross-validation."""

    method: Literal["stratified_group", "stratified_random", "random"] = "stratified_group"
    valid: float = Field(0.2, gt=0, lt=1)
    folds: int | None = Field(None, ge=2, le=20)
    fold: int = Field(1, ge=1)
    seed: int = Field(41, ge=0)

    @model_validator(mode="after")
    def _a_fold_that_exists(self) -> "Split":
        if self.folds is None and self.fold != 1:
            raise ValueError("fold needs folds, their number")
        if self.folds is not None and (self.fold > self.folds or self.method != "stratified_group"):
            raise ValueError(f"fold {self.fold} of {self.folds} needs a fold in 1..{self.folds} and method stratified_group")
        return self


class Phantom(Strict):
    """The synthetic cohort of `manifest: phantom`; see `darkcovid.data.phantom`."""

    patients: int = Field(120, ge=6, le=100_000)
    image_size: int = Field(256, ge=64, le=2048)
    signal: float = Field(0.8, ge=0, le=1)
    shortcut: float = Field(0.0, ge=0, le=1)
    seed: int = Field(7, ge=0)


class Data(Strict):
    manifest: str = "data_manifest.csv"
    root: str | None = None
    dataset: str | None = None
    label_column: Literal["label", "etiology"] = "label"
    classes: tuple[str, ...] = ("covid", "no_finding", "pneumonia")
    split: Split = Split()
    image_size: Size | str = 256
    letterbox: bool = False
    augment: Literal["fastai_default", "strong", "none"] = "fastai_default"
    max_bad: float = Field(0.01, ge=0, le=1)
    phantom: Phantom = Phantom()

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise ValueError("name at least two different classes")
        return classes

    @field_validator("image_size")
    @classmethod
    def _size_or_reference(cls, size: Any) -> Any:
        if isinstance(size, str) and not size.startswith(SAME_PIXELS):
            raise ValueError(f"use pixels (256), [height, width], or '{SAME_PIXELS}<arm>'")
        return size


class Lungs(Strict):
    """What the lung mask is used for. `crop`: the box around both lungs, widened by `margin` of its sides.
    `mask`: everything outside the lungs becomes `fill`. `crop_mask`: both. `outside`: the lungs become `fill`.
    A crop is brought to the input's shape by `aspect`: `squash`; `pad`: letterboxed in black; `expand`: the box takes in
    more of the image until it has that shape, and only what the image lacks is black."""

    mode: Literal["crop", "mask", "crop_mask", "outside"] = "crop"
    margin: float = Field(0.05, ge=0, le=1)
    keep_lung_scale: bool = True
    crop_size: Size | None = None
    aspect: Literal["squash", "pad", "expand"] = "squash"
    fill: int = Field(0, ge=0, le=255)
    weights: str | None = None


class Model(Strict):
    arch: str = "darkcovidnet"
    head: Literal["faithful", "gap"] = "faithful"


class Training(Strict):
    epochs: int = Field(100, ge=1)
    batch_size: int = Field(32, ge=2)
    lr: float = Field(3.0e-3, gt=0)
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    weight_decay: float = Field(1.0e-2, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    seed: int = Field(41, ge=0)


class Recipe(Strict):
    """One validated recipe. `arms` maps an arm's name to the keys it replaces; `arm_recipes` applies them."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    task: Literal["classification", "lung_segmentation"] = "classification"
    data: Data = Data()
    lungs: Lungs | None = None
    model: Model = Model()
    training: Training = Training()
    arms: dict[str, dict[str, Any]] = {}

    def arm_recipe(self, arm: str) -> "Recipe":
        """The whole recipe of one arm, itself without arms. Raises `RequestError` with the key path when it is invalid."""
        plain = self.model_dump(mode="json", exclude={"arms"})
        for path, value in self.arms[arm].items():
            plain = merge(plain, _nested(path, value))
        return _validate(plain, where=f"arms.{arm}.")

    def arm_recipes(self) -> dict[str, "Recipe"]:
        """Each arm's recipe, in the order written; a recipe without arms is one arm of its own name."""
        if not self.arms:
            return {self.name: self}
        return {arm: self.arm_recipe(arm) for arm in self.arms}

    def digest(self) -> str:
        """Eight hexadecimal digits that name what this recipe asks for."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe file, apply `extends`, then each override `key.path=value` (its value is YAML).

    Raises RequestError: no such file, not YAML, an unknown or duplicate key, a wrong type, a circular `extends`.
    A relative `data.manifest` is looked for from the current folder, then beside the recipe and one folder above it.
    """
    path = Path(path)
    plain = _read(path, seen=())
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise RequestError(f"--set {override}: write it as key.path=value, for example --set training.epochs=5")
        try:
            plain = merge(plain, _nested(key.strip(), yaml.load(text, Loader=_Loader)))  # noqa: S506 (a SafeLoader)
        except yaml.YAMLError as error:
            raise RequestError(f"--set {override}: the value is not valid YAML ({one_line(error)})") from None
    recipe = _validate(plain, where="")
    _check_arms(recipe)
    return recipe.model_copy(update={"data": _with_found_paths(recipe.data, path.parent)})


def merge(base: Any, change: Any) -> Any:
    """`base` with `change` laid over it: mappings are merged key by key, anything else is replaced."""
    if not (isinstance(base, dict) and isinstance(change, dict)):
        return change
    return {**base, **{key: merge(base.get(key), value) for key, value in change.items()}}


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error, and, as in YAML 1.2, 3e-3 is a number and `off` is a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for index, key in enumerate(keys) if key in keys[:index]]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice[0]!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(_FLOAT, re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))


def _read(path: Path, seen: tuple[Path, ...]) -> dict:
    if path.resolve() in seen:
        raise RequestError(f"{path}: `extends` goes round in a circle; remove one of the links")
    try:
        plain = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError:
        raise RequestError(f"{path}: no such recipe; the ones that ship are in recipes/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: cannot be read as a text file ({one_line(error)})") from None
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        raise RequestError(f"{path}: not a valid recipe ({one_line(error)})") from None
    if not isinstance(plain, dict):
        raise RequestError(f"{path}: a recipe is a mapping of keys, such as `name: segmented`")
    parent = plain.pop("extends", None)
    if parent is None:
        return plain
    if not isinstance(parent, str):
        raise RequestError(f"{path}: extends: name one recipe file")
    return merge(_read(path.parent / parent, (*seen, path.resolve())), plain)


def _validate(plain: dict, where: str) -> Recipe:
    try:
        return Recipe.model_validate_json(json.dumps(plain, default=str))
    except ValidationError as error:
        raise RequestError(where + first_fault(error, Recipe)) from None


def _check_arms(recipe: Recipe) -> None:
    arms = recipe.arm_recipes()
    for name, arm in arms.items():
        for key in sorted(set(Data.model_fields) - {"image_size", "letterbox", "augment"}):
            if getattr(arm.data, key) != getattr(recipe.data, key) and not _another_fold(key, arm, recipe):
                raise RequestError(
                    f"arms.{name}.data.{key}: arms of one recipe share it, or their figures could not be compared; "
                    "write a second recipe and use `darkcovid compare --force`"
                )
        if arm.task != recipe.task:
            raise RequestError(f"arms.{name}.task: arms of one recipe share it; write a second recipe")
        if isinstance(arm.data.image_size, str):
            _check_borrowed_size(f"arms.{name}.data.image_size" if recipe.arms else "data.image_size", name, arms)


def _another_fold(key: str, arm: Recipe, recipe: Recipe) -> bool:
    """Arms that train segmenters may be the folds of one cross-validation."""
    mine, theirs = arm.data.split, recipe.data.split
    segmenters = recipe.task == "lung_segmentation" and key == "split"
    return segmenters and mine.folds is not None and mine.model_copy(update={"fold": theirs.fold}) == theirs


def _check_borrowed_size(key: str, name: str, arms: dict[str, Recipe]) -> None:
    lender = arms[name].data.image_size.removeprefix(SAME_PIXELS)
    others = [other for other in arms if other != name]
    if lender not in others:
        raise RequestError(f"{key}: no other arm is called {lender!r}{nearest(lender, others)}")
    if isinstance(arms[lender].data.image_size, str):
        raise RequestError(f"{key}: {lender!r} takes its own size from another arm; name one with a size of its own")


def _nested(path: str, value: Any) -> dict:
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def _with_found_paths(data: Data, folder: Path) -> Data:
    if data.manifest == PHANTOM or Path(data.manifest).is_absolute():
        return data
    places = [Path.cwd(), folder, folder.parent]
    found = next((place / data.manifest for place in places if (place / data.manifest).is_file()), None)
    return data if found is None else data.model_copy(update={"manifest": str(found.resolve())})
