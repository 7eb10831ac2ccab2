"""The sections of a recipe: every key, its type, its range and its default."""

from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from darkcovid.recipe.augmentation import AUGMENTATIONS, Augmentation
from darkcovid.recipe.base import StrictModel

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
PHANTOM = "phantom"
SAME_PIXELS = "same_pixels_as "
REST = "rest"

Side = Annotated[int, Field(ge=32, le=2048)]
Size = Side | tuple[Side, Side]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Split(StrictModel):
    """How patients or images are divided. `valid`: share on the validation side; `test`: share, or number of images of
    each class, held out before anything else and used for nothing but the last score; with `folds`, fold number `fold`
    (from 1) is the validation side; `by_column` takes the side of each image (train, valid, test) from the column
    `column` of the manifest."""

    method: Literal["stratified_group", "stratified_random", "random", "by_column"] = "stratified_group"
    valid: float = Field(0.2, gt=0, lt=1)
    test: Share | Count | None = None
    folds: int | None = Field(None, ge=2, le=20)
    fold: int = Field(1, ge=1)
    column: str = "split"
    seed: int = Field(41, ge=0)

    @model_validator(mode="after")
    def _a_fold_that_exists(self) -> "Split":
        if self.folds is None and self.fold != 1:
            raise ValueError("fold needs folds, their number")
        if self.folds is not None and (self.fold > self.folds or self.method == "by_column"):
            raise ValueError(f"fold {self.fold} of {self.folds} needs a fold in 1..{self.folds} and a method that draws")
        return self


class Phantom(StrictModel):
    """The synthetic cohort of `manifest: phantom`; see `darkcovid.data.phantom`."""

    patients: int = Field(120, ge=6, le=100_000)
    image_size: int = Field(256, ge=64, le=2048)
    signal: float = Field(0.8, ge=0, le=1)
    shortcut: float = Field(0.0, ge=0, le=1)
    seed: int = Field(7, ge=0)


class External(StrictModel):
    """A test set from elsewhere, scored once by every fitted classifier. `classes`: what its labels are called here; labels
    that it does not name are left out, and without it they are called as the recipe's classes are. Images of the cohort's
    patients, and copies of its images, are left out; `patients: other` says that its ids number other people. `manifest`,
    `root`, `dataset`, `label_column`, `where` and `phantom` are as in `data`."""

    manifest: str
    name: str | None = Field(None, pattern=NAME)
    root: str | None = None
    dataset: str | None = None
    label_column: Literal["label", "etiology"] = "label"
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    classes: dict[str, str] | None = None
    patients: Literal["same", "other"] = "same"
    phantom: Phantom = Phantom()

    @property
    def called(self) -> str:
        """Its name: as given, or its dataset, or its manifest's file or folder."""
        path = PurePath(self.manifest)
        stem = path.parent.name if path.stem == "manifest" and path.parent.name else path.stem
        return self.name or self.dataset or stem


class Data(StrictModel):
    """Which images, which labels, which side, which pixels. `where`: column to the values kept; `per_class`: at most so
    many images of each class, drawn by the split's seed; the class `rest` is every other label; `oversample`: images of
    rare classes are repeated in training until classes are equal. `normalise`: by the training side's mean and standard
    deviation, ImageNet's, each image's own, those of one augmented training batch, ZCA whitening fitted to the training
    side, or not at all (0..1). `external`: test sets from elsewhere. For audits: `detail` shrinks whole images to so many
    pixels a side and enlarges them again, `border_only` leaves nothing but a strip along their sides, `shuffle_labels` gives
    training images one another's labels."""

    manifest: str = "data_manifest.csv"
    root: str | None = None
    dataset: str | None = None
    label_column: Literal["label", "etiology"] = "label"
    classes: tuple[str, ...] = ("covid", "no_finding", "pneumonia")
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    per_class: int | None = Field(None, ge=2)
    oversample: bool = False
    split: Split = Split()
    image_size: Size | str = 256
    letterbox: bool = False
    detail: int | None = Field(None, ge=4, le=512)
    border_only: bool = False
    shuffle_labels: bool = False
    augment: str | Augmentation = "fastai_default"
    normalise: Literal["training", "imagenet", "image", "augmented_batch", "zca", "none"] = "training"
    max_bad: float = Field(0.01, ge=0, le=1)
    allow_leaks: bool = False
    external: tuple[External | str, ...] = ()
    phantom: Phantom = Phantom()

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise ValueError("name at least two different classes")
        return classes

    @field_validator("external")
    @classmethod
    def _manifests_alone(cls, external: tuple[External | str, ...]) -> tuple[External, ...]:
        return tuple(External(manifest=one) if isinstance(one, str) else one for one in external)

    @model_validator(mode="after")
    def _external_sets_that_can_be_told_apart(self) -> "Data":
        names = [one.called for one in self.external]
        for one in self.external:
            if names.count(one.called) > 1:
                raise ValueError(f"external: two sets are called {one.called!r}; give each a name")
            strange = sorted(set((one.classes or {}).values()) - set(self.classes))
            if strange:
                raise ValueError(f"external: {one.called}: classes leads to {strange[0]!r}, which is none of data.classes")
        return self

    @field_validator("image_size")
    @classmethod
    def _size_or_reference(cls, size: Any) -> Any:
        if isinstance(size, str) and not size.startswith(SAME_PIXELS):
            raise ValueError(f"use pixels (256), [height, width], or '{SAME_PIXELS}<arm>'")
        return size

    @field_validator("augment")
    @classmethod
    def _known_augmentation(cls, augment: Any) -> Any:
        if isinstance(augment, str) and augment not in ("none", *AUGMENTATIONS):
            raise ValueError(f"use a mapping of its ranges, or one of: none, {', '.join(AUGMENTATIONS)}")
        return augment

    @property
    def augmentation(self) -> Augmentation | None:
        """What `augment` names or spells out; None for `none`."""
        return AUGMENTATIONS.get(self.augment) if isinstance(self.augment, str) else self.augment


class Lungs(StrictModel):
    """What the lung mask is used for. `crop`: the box around both lungs, widened by `margin` of its sides.
    `mask`: everything outside the lungs becomes `fill`. `crop_mask`: both. `outside`: the lungs become `fill`.
    A crop is brought to the input's shape by `aspect`: `expand`: the box takes in more of the image until it has that
    shape, and only what the image lacks is black; `squash`; `pad`: letterboxed in black. `thumbnail`: the whole image, as small
    as the crop, is a second channel."""

    mode: Literal["crop", "mask", "crop_mask", "outside"] = "crop"
    margin: float = Field(0.05, ge=0, le=1)
    keep_lung_scale: bool = True
    crop_size: Size | None = None
    aspect: Literal["squash", "pad", "expand"] = "expand"
    thumbnail: bool = False
    fill: int = Field(0, ge=0, le=255)
    weights: str | None = None

    @model_validator(mode="after")
    def _a_crop_beside_the_thumbnail(self) -> "Lungs":
        if self.thumbnail and self.mode not in ("crop", "crop_mask"):
            raise ValueError("thumbnail stands beside a crop; use mode crop or crop_mask")
        return self


class Model(StrictModel):
    """Which network. `arch`: a name of `darkcovid models`, or `timm/<name>`; `head`: the ending, where the network lets it
    be chosen; `hidden`: units of the head's dense layer, `dropout` before its output, both None for the network's own.
    `weights`: `imagenet`, `none`, or a .safetensors or .pth file; `grayscale`: the first convolution takes one channel,
    its weights summed over three. `outputs`: one logit a class, or `sigmoid`, one logit for the first of two classes."""

    arch: str = "darkcovidnet"
    head: str | None = None
    hidden: int | None = Field(None, ge=0)
    dropout: float | None = Field(None, ge=0, lt=1)
    weights: str = "none"
    grayscale: bool = False
    outputs: Literal["softmax", "sigmoid"] = "softmax"


class Optimizer(StrictModel):
    """`decay_all`: weight decay reaches BatchNorm and biases too."""

    name: Literal["adam", "rmsprop", "sgd"] = "adam"
    eps: float = Field(1e-5, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    sqr_momentum: float = Field(0.99, ge=0, lt=1)
    decay_all: bool = False


class Loss(StrictModel):
    """`class_weights`: `balanced` gives each class the same say; `focal`: gamma of the focal loss (Lin et al. 2017), 0 for
    plain cross entropy; `smoothing`: label smoothing."""

    class_weights: Literal["none", "balanced"] = "none"
    focal: float = Field(0.0, ge=0)
    smoothing: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _one_of_them(self) -> "Loss":
        if self.focal and self.smoothing:
            raise ValueError("focal and smoothing exclude each other; give one of them")
        return self


class Plateau(StrictModel):
    """The rate is multiplied by `factor` when the validation `metric` has not improved for `patience` epochs."""

    patience: int = Field(5, ge=1)
    factor: float = Field(0.1, gt=0, lt=1)


class Progressive(StrictModel):
    """Training pictures grow from `start` of their sides to all of them, which they have from `until` of the epochs on."""

    start: Share = 0.5
    until: float = Field(0.5, gt=0, le=1)


Monitor = Literal[
    "accuracy", "loss", "balanced_accuracy", "precision", "recall", "specificity", "f1", "roc_auc", "average_precision",
    "kappa", "mcc", "brier", "log_loss", "ece",
]  # fmt: skip


class Training(StrictModel):
    """How the network is fitted. `folds`: cross-validation, every fold in turn; `seeds`: a fit for each. `schedule`:
    `one_cycle`, `flat_cos`, `constant`, `exponential` (the rate times `decay` each epoch) or `fine_tune` (`freeze_epochs`
    with the backbone frozen, then all of it with lower rates for the earlier layers). `frozen`: the backbone never trains;
    `unfreeze_after`: not before so many epochs. `stop_after`: early stopping once validation has not improved for so
    many epochs; `keep`: the weights of the last epoch, or of the best one; `monitor`: the figure of the validation side by which
    these two and `plateau` judge, None being the task's own (accuracy; of lungs, Dice).
    `ema`: decay of an average of the weights, which then is the result; `mixup`, `cutmix`: their Beta distribution's alpha;
    `clip`: greatest norm of the gradient; `progressive`: smaller pictures in the first epochs; `compile`: by torch.compile;
    `tta`: so many augmented views are averaged with the plain one, scored beside it."""

    epochs: int = Field(100, ge=1)
    folds: int | None = Field(None, ge=2, le=20)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(None, min_length=1)
    batch_size: int = Field(32, ge=2)
    lr: float = Field(3.0e-3, gt=0)
    schedule: Literal["one_cycle", "flat_cos", "constant", "exponential", "fine_tune"] = "one_cycle"
    warm_up: float = Field(0.25, gt=0, lt=1)
    final_div: float = Field(1e5, gt=0)
    decay: float = Field(0.6, gt=0, le=1)
    freeze_epochs: int = Field(1, ge=1)
    frozen: bool = False
    unfreeze_after: int | None = Field(None, ge=1)
    plateau: Plateau | None = None
    stop_after: int | None = Field(None, ge=1)
    keep: Literal["last", "best"] = "last"
    monitor: Monitor | None = None
    optimiser: Optimizer = Optimizer()
    weight_decay: float = Field(1.0e-2, ge=0)
    loss: Loss = Loss()
    ema: float | None = Field(None, gt=0, lt=1)
    mixup: float | None = Field(None, gt=0)
    cutmix: float | None = Field(None, gt=0)
    clip: float | None = Field(None, gt=0)
    progressive: Progressive | None = None
    compile: bool = False
    tta: int = Field(0, ge=0, le=64)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    seed: int = Field(41, ge=0)

    @model_validator(mode="after")
    def _no_contradiction(self) -> "Training":
        if self.seeds and len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: name each seed once")
        if self.plateau and self.schedule not in ("constant", "exponential"):
            raise ValueError("plateau lowers a constant or exponential rate; set schedule to one of them")
        if self.mixup and self.cutmix:
            raise ValueError("mixup and cutmix exclude each other; give one of them")
        if self.frozen and (self.unfreeze_after or self.schedule == "fine_tune"):
            raise ValueError("frozen keeps the backbone as it is; leave out unfreeze_after and fine_tune")
        if self.unfreeze_after and (self.schedule == "fine_tune" or self.unfreeze_after >= self.epochs):
            raise ValueError("unfreeze_after must be below epochs, and fine_tune has freeze_epochs instead")
        return self
