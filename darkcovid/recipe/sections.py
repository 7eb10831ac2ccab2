"""The sections of a recipe: every key, its type, its range and its default."""

from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from darkcovid.recipe.augmentation import AUGMENTATIONS, Augmentation
from darkcovid.recipe.strict_model import StrictModel

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
PHANTOM = "phantom"
SAME_PIXELS = "same_pixels_as "
REST = "rest"
SUSPECTS = "suspects"
MAX_FOLDS = 20
PROBES = ("linear-probe", "nearest-neighbors")

Side = Annotated[int, Field(ge=32, le=2048)]
Size = Side | tuple[Side, Side]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
AtLeastTwo = Annotated[int, Field(ge=2)]
Contrast = Literal["none", "clahe"]
Interpolation = Literal["bilinear", "bicubic"]


class Split(StrictModel):
    """How patients or images are divided into training, validation and test set."""

    method: Literal["stratified_group", "stratified_random", "random", "by_column", "leave_source_out"] = "stratified_group"
    """`stratified_group`: all images of a patient are in one set, classes in the same shares; `stratified_random`, `random`:
    images are divided, not patients, as most papers do; `by_column`: the manifest says where each image belongs;
    `leave_source_out`: the test set is one source (dataset, hospital) that the network has not seen, with `training.folds` each
    in turn, and the validation set is of patients of the other sources."""
    valid: float = Field(default=0.2, gt=0, lt=1)
    """Share of the images in the validation set; 0.2 is 80:20."""
    test: Share | Count | None = None
    """Share of the images, or number of images of each class, held out first as the test set and scored once, at the end."""
    folds: int | None = Field(default=None, ge=2, le=MAX_FOLDS)
    """Number of folds, of which fold number `fold` is the validation set."""
    fold: int = Field(default=1, ge=1)
    """Which fold is the validation set, from 1."""
    column: str | None = None
    """For `by_column`: the manifest's column that says train, valid or test, otherwise `split`. For `leave_source_out`: the
    column of the source, otherwise `dataset`."""
    held_out: str | None = None
    """For `leave_source_out` without `training.folds`: the source that is the test set."""
    seed: int = Field(default=41, ge=0)
    """Seed of the split."""

    @model_validator(mode="after")
    def _a_fold_that_exists(self) -> "Split":
        if self.folds is None and self.fold != 1:
            raise ValueError("fold needs folds, their number")
        if self.folds is not None and (self.fold > self.folds or self.method == "by_column"):
            raise ValueError(f"fold {self.fold} of {self.folds} needs a fold in 1..{self.folds} and a method that draws")
        return self

    @model_validator(mode="after")
    def _a_source_that_is_held_out(self) -> "Split":
        if self.method != "leave_source_out":
            if self.held_out is not None:
                raise ValueError("held_out needs method: leave_source_out")
            return self
        if self.test is not None:
            raise ValueError("test: the test set of leave_source_out is the source held out; leave it out")
        if self.folds is not None and self.held_out is not None:
            raise ValueError("held_out: folds hold each source out in turn; leave it out")
        return self


class Phantom(StrictModel):
    """The synthetic cohort of `manifest: phantom`: drawn radiographs with exact lung masks."""

    patients: int = Field(default=120, ge=6, le=100_000)
    """Number of patients."""
    image_size: int = Field(default=256, ge=64, le=2048)
    """Height and width, in pixels."""
    signal: float = Field(default=0.8, ge=0, le=1)
    """Strength of the sign in the lungs that tells the classes apart."""
    shortcut: float = Field(default=0.0, ge=0, le=1)
    """Share of covid images with a marker in a corner, outside the lungs."""
    seed: int = Field(default=7, ge=0)
    """Seed of the drawing."""


class External(StrictModel):
    """An external test set, scored once by every fitted classifier. Images of the cohort's patients, and copies of its images,
    are left out."""

    manifest: str
    """A manifest, or `phantom`, which then needs a seed of its own."""
    name: str | None = Field(default=None, pattern=NAME)
    """Its name in the report; otherwise its dataset, file or folder."""
    root: str | None = None
    """Folder of its images, if not the manifest's."""
    dataset: str | None = None
    """Only rows of this dataset."""
    label_column: Literal["label", "etiology"] = "label"
    """Column of the labels."""
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Column: the values kept."""
    classes: dict[str, str] | None = None
    """Its label: the class here, such as `{COVID-19: covid, Normal: no_finding}`. Labels that are not named are left out; without
    it, labels are those of `data.classes`."""
    shared_patient_ids: bool = True
    """`true`: an id is the same person as in the cohort, whose images are left out; `false`: its ids are of other people."""
    phantom: Phantom = Phantom()
    """The synthetic cohort, if `manifest` is `phantom`."""

    @property
    def called(self) -> str:
        """Its name: as given, or its dataset, or its manifest's file or folder."""
        path = PurePath(self.manifest)
        stem = path.parent.name if path.stem == "manifest" and path.parent.name else path.stem
        return self.name or self.dataset or stem


class Data(StrictModel):
    """Which images, labels, split and pixels."""

    manifest: str = "data_manifest.csv"
    """A manifest (CSV or Parquet, one row per image), or `phantom` for the synthetic cohort."""
    root: str | None = None
    """Folder of the images, if not the manifest's."""
    dataset: str | None = None
    """Only rows of this dataset."""
    datasets: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Only rows of these datasets, such as `[ozturk, ieee8023]`; goes before `dataset`."""
    label_column: Literal["label", "etiology"] = "label"
    """Column of the labels."""
    classes: tuple[str, ...] = ("covid", "no_finding", "pneumonia")
    """Names of the classes; `rest` stands for every other label, so `[covid, rest]` is one against the rest."""
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Column: the values kept, such as `{view: [PA, AP]}`."""
    max_per_class: AtLeastTwo | dict[str, AtLeastTwo] | None = None
    """Undersampling: at most this many images of each class, or of the classes named, such as `{covid: 305, no_finding: 500}`,
    drawn by the split's seed."""
    oversample: bool | Literal["sources"] = False
    """Oversampling: `true`: images of rarer classes come several times per epoch, until classes are equal; `sources`: an epoch of
    as many images as before is drawn so that every class is equally frequent, and within it every source that has it
    (`data.split.column`). A linear probe weighs images instead of drawing them."""
    split: Split = Split()
    """How patients or images are divided."""
    image_size: Size | str = 256
    """Pixels, `[height, width]`, or `same_pixels_as <arm>`: about as many pixels as that arm's input."""
    letterbox: bool = False
    """`true`: whole images keep their aspect ratio, with black bars."""
    contrast: Contrast = "none"
    """Contrast of the images of a classifier, enhanced before anything is cropped, erased or resized, in training and in use.
    `clahe`: contrast limited adaptive histogram equalization, in tiles of an eighth of the image's sides, clip limit 0.01. Lungs
    are found in the image as it is. What is erased afterwards has had its part in the contrast of what is left."""
    fill_bars: bool = False
    """`true`: black bars along the sides of an image of a classifier are filled with the mirrored image beside them, in training
    and in use, and so are those of `letterbox`; otherwise they may tell the source. Lungs are found in the image as it is."""
    interpolation: Literal["auto"] | Interpolation = "auto"
    """How images of a classifier are resized, antialiased; `auto`: bilinear, or with `normalize: pretrained` as the network's
    ImageNet images were."""
    augment: str | Augmentation = "fastai_default"
    """Augmentation of training images: `none`, a named set, or a mapping of ranges and probabilities."""
    normalize: Literal["training", "pretrained", "imagenet", "per_image", "first_batch", "zca", "none"] = "training"
    """Mean and standard deviation by which pixels are standardized: of the `training` set; those with which the network was
    `pretrained`, as torchvision or timm states them; of `imagenet`; of each image; or of the first augmented training batch
    (fastai v1's `batch_stats`); `zca`: whitening fitted to the training set; `none`: 0 to 1."""
    max_bad: float = Field(default=0.01, ge=0, le=1)
    """Share of images that cannot be read above which a run stops before it trains."""
    allow_leaks: bool = False
    """`true`: train although patients or copies of images are in more than one set, as with published random splits."""
    external: tuple[External | str, ...] = ()
    """External test sets, each a manifest or a mapping."""
    downsample_to: int | None = Field(default=None, ge=4, le=512)
    """Ablation: whole images are reduced to this many pixels per side and enlarged again."""
    border_only: bool = False
    """Ablation: only a strip along the image's sides is left."""
    leave_out: str | None = None
    """`suspects`: each fit leaves out the training images whose label the network doubts, looked for by four further fits within
    the training set; or a CSV file with a column `image`, such as a reader's list. They are scored all the same. A list that was
    made with the labels that are scored, such as a run's `label_errors.csv`, makes scores too good."""
    shuffle_labels: bool = False
    """Ablation: the training labels are permuted."""
    phantom: Phantom = Phantom()
    """The synthetic cohort, if `manifest` is `phantom`."""

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise ValueError("name at least two different classes")
        return classes

    @model_validator(mode="after")
    def _limits_of_classes_that_exist(self) -> "Data":
        named = self.max_per_class if isinstance(self.max_per_class, dict) else {}
        strange = sorted(set(named) - set(self.classes))
        if strange:
            raise ValueError(f"max_per_class: {strange[0]!r} is none of the classes {', '.join(self.classes)}")
        return self

    @field_validator("external")
    @classmethod
    def _manifests_alone(cls, external: tuple[External | str, ...]) -> tuple[External, ...]:
        return tuple(External(manifest=item) if isinstance(item, str) else item for item in external)

    @property
    def external_sets(self) -> tuple[External, ...]:
        """`external` as mappings."""
        return tuple(external_set for external_set in self.external if isinstance(external_set, External))

    @model_validator(mode="after")
    def _external_sets_that_can_be_told_apart(self) -> "Data":
        names = [external_set.called for external_set in self.external_sets]
        for external_set in self.external_sets:
            if names.count(external_set.called) > 1:
                raise ValueError(f"external: two sets are called {external_set.called!r}; give each a name")
            strange = sorted(set((external_set.classes or {}).values()) - set(self.classes))
            if strange:
                raise ValueError(
                    f"external: {external_set.called}: classes leads to {strange[0]!r}, which is none of data.classes"
                )
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
    def selected_datasets(self) -> tuple[str, ...]:
        """The datasets whose rows are used; none stands for all."""
        return self.datasets or ((self.dataset,) if self.dataset is not None else ())

    @property
    def augmentation(self) -> Augmentation | None:
        """What `augment` names or spells out; None for `none`."""
        return AUGMENTATIONS.get(self.augment) if isinstance(self.augment, str) else self.augment


class Lungs(StrictModel):
    """What lung masks are used for; null: nothing, the network sees whole images."""

    mode: Literal["crop", "mask", "crop_mask", "outside"] = "crop"
    """`crop`: the box around both lungs; `mask`: everything outside the lungs is erased; `crop_mask`: both; `outside`: the lungs
    are erased, an ablation."""
    margin: float = Field(default=0.05, ge=0, le=1)
    """The box is widened by this share of its sides."""
    keep_lung_scale: bool = True
    """The input shrinks by the area that was not lung, so that lungs keep about as many pixels as in the whole image."""
    crop_size: Size | None = None
    """Pixels, or `[height, width]`, of a crop's input, in place of `keep_lung_scale`."""
    resize: Literal["squash", "letterbox", "expand"] = "expand"
    """How a box is brought to the input's shape. `expand`: it takes in more of the image until it has that shape, the default by
    measurement; `squash`; `letterbox`: black bars."""
    context_channel: bool = False
    """`true`: a second channel shows the whole image, as small as the crop."""
    fill: int = Field(default=0, ge=0, le=255)
    """Gray level of what is erased."""
    weights: str | None = None
    """A lung U-Net of your own (.safetensors, from `recipes/lung_unet.yaml`) in place of the shipped one."""

    @model_validator(mode="after")
    def _a_crop_beside_its_context(self) -> "Lungs":
        if self.context_channel and self.mode not in ("crop", "crop_mask"):
            raise ValueError("context_channel accompanies a crop; use mode crop or crop_mask")
        return self


class Model(StrictModel):
    """Which network."""

    arch: str = "darkcovidnet"
    """A name that `darkcovid models list` shows, or `timm/<name>`."""
    head: str | None = None
    """DarkCovidNet: `flatten` (as published) or `gap`. Transfer learners: `concat-pool` (fastai's), `avgpool-dense`,
    `avgpool4-dense` or `flatten-dense`; or a probe of the frozen backbone's features, fitted at once without epochs and
    augmentation: `linear-probe` (logistic regression) or `nearest-neighbors` (20, by cosine similarity). null: the network's
    own."""
    hidden: int | None = Field(default=None, ge=0)
    """Units of the head's dense layer; null: the head's own."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout before the output; null: the head's own."""
    weights: str = "none"
    """Initial weights: `none`, `imagenet` (`darkcovid models weights` lists where they come from), or a .safetensors or .pth
    file."""
    grayscale: bool = False
    """`true`: the first convolution takes one channel, its weights summed over three; or two, beside a context channel."""
    activation: Literal["softmax", "sigmoid"] = "softmax"
    """`softmax`: one logit per class; `sigmoid`: one logit, for the first of two classes."""

    @model_validator(mode="after")
    def _neighbors_that_vote(self) -> "Model":
        if self.head == "nearest-neighbors" and self.activation == "sigmoid":
            raise ValueError("nearest-neighbors vote for classes; leave out activation sigmoid")
        return self

    @property
    def is_probe(self) -> bool:
        """Whether the head is fitted at once to a frozen backbone's features."""
        return self.head in PROBES


class Optimizer(StrictModel):
    """The optimizer's constants."""

    name: Literal["adam", "rmsprop", "sgd"] = "adam"
    """Weight decay is decoupled from the gradient in all of them (`adam` is AdamW)."""
    eps: float = Field(default=1e-5, gt=0)
    """Added to the denominator."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """fastai's `mom`, Adam's beta 1."""
    sqr_momentum: float = Field(default=0.99, ge=0, lt=1)
    """fastai's `sqr_mom`, Adam's beta 2."""
    decay_norm_and_bias: bool = False
    """`true`: weight decay reaches BatchNorm and biases too, fastai's `wd_bn_bias`."""


class Loss(StrictModel):
    """The loss: cross entropy and its variants."""

    class_weights: Literal["none", "balanced"] = "none"
    """`balanced`: classes weigh the same whatever their sizes."""
    focal_gamma: float = Field(default=0.0, ge=0)
    """Gamma of the focal loss (Lin et al. 2017); 0: cross entropy."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Label smoothing."""
    groups: Literal["none", "reweighted", "dro"] = "none"
    """Groups are the classes of each source (`data.split.column`). `reweighted`: all weigh the same; `dro`: the worst weighs most
    (group DRO, Sagawa et al. 2020)."""

    @model_validator(mode="after")
    def _one_of_them(self) -> "Loss":
        if self.focal_gamma and self.label_smoothing:
            raise ValueError("focal_gamma and label_smoothing exclude each other; give one of them")
        if self.groups != "none" and (self.focal_gamma or self.class_weights != "none"):
            raise ValueError("groups is a loss of its own; leave out focal_gamma and class_weights")
        return self


class Plateau(StrictModel):
    """The learning rate is reduced when the monitored metric has stopped improving."""

    patience: int = Field(default=5, ge=1)
    """Epochs without an improvement."""
    factor: float = Field(default=0.1, gt=0, lt=1)
    """The learning rate is multiplied by this."""


class Progressive(StrictModel):
    """Training images grow during training; for heads that pool, such as DarkCovidNet's `gap`."""

    start: Share = 0.5
    """Share of their sides in the first epochs."""
    until: float = Field(default=0.5, gt=0, le=1)
    """Share of the epochs after which they have their full size."""


Metric = Literal[
    "accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1", "roc_auc", "average_precision",
    "kappa", "mcc", "brier", "log_loss", "ece",
]  # fmt: skip
Monitor = Literal[Metric, "loss"]
LOWER_IS_BETTER = ("loss", "brier", "log_loss", "ece")


class Training(StrictModel):
    """How the network is fitted."""

    epochs: int = Field(default=100, ge=1)
    """Number of epochs."""
    folds: int | None = Field(default=None, ge=2, le=MAX_FOLDS)
    """Cross-validation: one fit per fold, metrics pooled over the images that each fit had not seen."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(default=None, min_length=1)
    """One fit per seed; metrics come with their spread."""
    batch_size: int = Field(default=32, ge=2)
    """Images per step, over all processes; an epoch leaves out its last, incomplete batch, as in fastai."""
    lr: float = Field(default=3.0e-3, gt=0)
    """Peak learning rate."""
    schedule: Literal["one_cycle", "flat_cos", "constant", "exponential", "fine_tune", "gradual_unfreezing"] = "one_cycle"
    """`one_cycle`, `flat_cos` and `fine_tune` are fastai's; `exponential`: the learning rate times `lr_gamma` after each
    epoch; `gradual_unfreezing`: the head, then a further quarter of the backbone every `freeze_epochs` epochs, the last layers
    first, then all of it for `epochs`, each part at a 2.6 times lower rate than the next (Howard and Ruder 2018, sections 3.2 and
    3.3)."""
    warmup_fraction: float = Field(default=0.25, gt=0, lt=1)
    """`one_cycle`: share of the steps until the peak, fastai's `pct_start`."""
    div_final: float = Field(default=1e5, gt=0)
    """`one_cycle`: the last learning rate is the peak divided by this."""
    lr_gamma: float = Field(default=0.6, gt=0, le=1)
    """`exponential`: factor of the learning rate per epoch."""
    freeze_epochs: int = Field(default=1, ge=1)
    """`fine_tune`: epochs of the head alone, before `epochs` of the whole network with lower rates for earlier layers;
    `gradual_unfreezing`: epochs until the next part of the backbone trains."""
    freeze_backbone: bool = False
    """`true`: only the head trains, BatchNorm of the backbone included; without augmentation, mixup and cutmix the backbone's
    features are computed once."""
    batch_norm: Literal["train", "frozen", "reestimated"] = "train"
    """BatchNorm of a transfer learner's backbone. `frozen`: it keeps the statistics, scales and shifts of the initial weights;
    `reestimated`: the same, after its statistics were measured on the training images."""
    unfreeze_epoch: int | None = Field(default=None, ge=1)
    """The backbone trains only after this many epochs, its earlier layers then at up to 100 times lower rates."""
    reduce_lr_on_plateau: Plateau | None = None
    """For `constant` and `exponential`: the learning rate is reduced when `monitor` has stopped improving."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Training stops after this many epochs without an improvement of `monitor`."""
    checkpoint: Literal["last", "best"] = "last"
    """Which epoch's weights are the result: the `last`, or the `best` by `monitor`."""
    monitor: Monitor | None = None
    """Validation metric by which `checkpoint: best`, early stopping and plateaus decide; null: accuracy, of lung segmenters Dice.
    Metrics of classes are their plain means. It becomes a column of `history.csv`."""
    optimizer: Optimizer = Optimizer()
    """The optimizer."""
    weight_decay: float = Field(default=1.0e-2, ge=0)
    """Decoupled weight decay."""
    loss: Loss = Loss()
    """The loss."""
    lung_consistency: float | None = Field(default=None, ge=0, le=100)
    """Each training batch is seen twice, the second time with what is outside the lungs taken from other images of the batch, and
    this times the divergence of the two predictions is added to the loss. An epoch takes twice as long."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, which is then validated and kept."""
    mixup_alpha: float | None = Field(default=None, gt=0)
    """Mixup (Zhang et al. 2018): alpha of its Beta distribution."""
    cutmix_alpha: float | None = Field(default=None, gt=0)
    """CutMix (Yun et al. 2019): alpha of its Beta distribution."""
    clip_grad_norm: float | None = Field(default=None, gt=0)
    """Greatest norm of the gradient."""
    progressive_resizing: Progressive | None = None
    """Smaller training images in the first epochs."""
    compile: bool = False
    """`true`: the network is compiled by torch.compile while it is fitted. It needs a C++ compiler and about half a minute."""
    cuda_graphs: bool = False
    """`true`: on a CUDA device, training steps are recorded once as CUDA graphs and replayed. Not measured yet."""
    tta_views: int = Field(default=0, ge=0, le=64)
    """Test-time augmentation: this many augmented views are averaged with the plain image. Its metrics stand under `tta` in
    `metrics.json`; all others are of the plain image, as `predict` and `serve` see it."""
    tta_below: Share | None = None
    """Test-time augmentation only of images whose highest probability is below this; null: of all."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 where the device has it, else fp32."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto`: CUDA, else Apple's MPS, else the CPU."""
    seed: int = Field(default=41, ge=0)
    """Seed of weights, batches and augmentation."""

    @model_validator(mode="after")
    def _no_contradiction(self) -> "Training":
        if self.seeds and len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: name each seed once")
        if self.reduce_lr_on_plateau and self.schedule not in ("constant", "exponential"):
            raise ValueError("reduce_lr_on_plateau needs a constant or exponential schedule; set schedule to one of them")
        if self.mixup_alpha and self.cutmix_alpha:
            raise ValueError("mixup_alpha and cutmix_alpha exclude each other; give one of them")
        if self.tta_below is not None and not self.tta_views:
            raise ValueError("tta_below says of which images tta_views are averaged; give tta_views too")
        unfreezes = self.schedule in ("fine_tune", "gradual_unfreezing")
        if self.freeze_backbone and (self.unfreeze_epoch or unfreezes):
            raise ValueError(f"freeze_backbone keeps the backbone as it is; leave out unfreeze_epoch and {self.schedule}")
        if self.unfreeze_epoch and (unfreezes or self.unfreeze_epoch >= self.epochs):
            raise ValueError("unfreeze_epoch must be below epochs; fine_tune and gradual_unfreezing have freeze_epochs instead")
        return self
