"""fastai DataLoaders of chest radiographs: patients kept apart, decoded once, augmented in batches on the device."""

import hashlib
import os
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from fastai.data.core import DataLoaders, Datasets
from fastcore.basics import noop
from fastcore.meta import delegates
from torch import nn

from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device, get_device
from darkcovid.core.errors import UsageError
from darkcovid.core.io import user_cache_dir, write_text
from darkcovid.data.cohort import Cohort, load_classification_cohort
from darkcovid.data.describe import usable_classes
from darkcovid.data.dicom_tags import PatientIds
from darkcovid.data.file_info import Journal
from darkcovid.data.import_folder import add_file_facts, list_images
from darkcovid.data.importers import choose_importer, dataset_folder
from darkcovid.data.loaders import array_loaders, restart_loaders
from darkcovid.data.manifest import normalize_rows, read_manifest
from darkcovid.data.normalize import Normalize, fit_normalizer
from darkcovid.data.resize import Size, resize
from darkcovid.data.splits import source_codes
from darkcovid.inference.predictor import network_inputs
from darkcovid.lungs.crop import LungRegions
from darkcovid.lungs.segment import segment_lungs
from darkcovid.lungs.unet import INPUT_SIZE, load_segmenter
from darkcovid.models.registry import input_scale
from darkcovid.recipe import PHANTOM, SUSPECTS, Recipe, load_recipe
from darkcovid.recipe.recipe import validate
from darkcovid.training.fit import seed_everything
from darkcovid.vision.arguments import LOADERS, keys_as_arguments
from darkcovid.vision.arm_inputs import InputBuilder
from darkcovid.vision.images import open_gray
from darkcovid.vision.lung_crop import LungCrop

COLUMNS_SHOWN = 3
OF_DATABLOCK = ("item_tfms", "batch_tfms", "splitter", "get_x", "get_y", "get_items", "blocks", "valid_col", "num_workers")
MANIFESTS = ("manifest.csv", "data_manifest.csv")
FITTED_TO_ALL = ("training", "zca")  # ways of normalizing that draw nothing at random, and look at every training image


class CXRDataLoaders(DataLoaders):
    """fastai's DataLoaders of a cohort's training and validation set; a recipe's arms are made of the same pieces.

    Batches are (b, 1, h, w) float32, normalized, or (b, 2, h, w) with a context channel, and (b,) int64. Made by `from_manifest`,
    `from_folder`, `from_df` or `from_recipe`.

    Attributes:
        cohort: The images, their patients, labels and sets.
        pixels: (n, h, w) or (n, 2, h, w) uint8, the cohort's images as the network gets them, before augmentation.
        recipe: What they were made by, as an arm of a recipe.
        compute: Device and precision.
        cache_dir: Where decoded images and masks are kept.
    """

    cohort: Cohort
    pixels: StoredArray
    recipe: Recipe
    compute: Device
    cache_dir: Path

    @classmethod
    def from_recipe(
        cls,
        recipe: Recipe | str | Path,
        arm: str | None = None,
        overrides: Sequence[str] = (),
        cache_dir: str | Path | None = None,
    ) -> "CXRDataLoaders":
        """The inputs of a recipe's arm.

        Args:
            recipe: A recipe, or its file.
            arm: Its name; None: the first.
            overrides: `key.path=value` each, as `--set` takes them.
            cache_dir: Where decoded images and masks are kept; None: the user's cache.

        Returns:
            The loaders, of the recipe's first fold and seed.

        Raises:
            UsageError: No such file or arm, or a mistake in the recipe; and as `load_classification_cohort` does.
            DataError: Too many unusable files.
        """
        whole = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
        arms = whole.arm_recipes()
        chosen = next(iter(arms)) if arm is None else arm
        if chosen not in arms:
            raise UsageError(f"arm {chosen!r}: the recipe has no such arm; it has: {', '.join(arms)}")
        if whole.task != "classification":
            raise UsageError(f"{whole.name}: a recipe of lung segmenters; CXRDataLoaders are for classifiers")
        cache = Path(cache_dir).absolute() if cache_dir is not None else user_cache_dir().absolute()
        first = next(iter(arms[chosen].fits().values()))
        compute = get_device(first.training.device, first.training.precision)
        if first.data.leave_out == SUSPECTS:
            raise UsageError("data.leave_out: darkcovid run looks for suspects; here name the suspects.csv of one of its fits")
        cohort = load_classification_cohort(first.data, cache).leaving_out(first.data)
        _warn_of_unknown_patients(cohort)
        builder = InputBuilder(whole, cohort, get_device(first.training.device), cache)
        inputs = builder.make(chosen)
        dls = cls.from_pixels(first, cohort, inputs.pixels, compute, inputs.areas)
        dls.cache_dir = cache
        return dls

    @classmethod
    def from_manifest(
        cls,
        manifest: str | Path,
        classes: Sequence[str] | None = None,
        valid_pct: float = 0.2,
        seed: int = 41,
        size: int | tuple[int, int] = 256,
        bs: int = 32,
        lungs: LungCrop | None = None,
        augment: str | dict = "fastai_default",
        arch: str = "darkcovidnet",
        device: str = "auto",
        precision: str = "auto",
        cache_dir: str | Path | None = None,
        **data: Any,
    ) -> "CXRDataLoaders":
        """The images of a manifest.

        Args:
            manifest: A CSV or Parquet file, or `phantom` for the synthetic cohort.
            classes: Those to tell apart; None: all of two patients or more.
            valid_pct: Share of the images in the validation set; all images of a patient are in one set.
            seed: Of the split, and of what is drawn in training.
            size: Pixels, or (height, width), of whole images.
            bs: Batch size.
            lungs: Crops to the lungs; None: whole images.
            augment: A named augmentation, `none`, or ranges and probabilities as in a recipe.
            arch: The network whose ImageNet input `normalize="pretrained"` follows.
            device: `auto`, `cpu`, `cuda` or `mps`.
            precision: `auto`, `fp32` or `bf16`.
            cache_dir: Where decoded images and masks are kept; None: the user's cache.
            **data: Further keys of a recipe's `data`, such as `where={"view": ["PA"]}` or `root`.

        Returns:
            The loaders.

        Raises:
            UsageError: A wrong argument; and as `load_classification_cohort` does.
            DataError: Too many unusable files.
        """
        fastai = sorted(set(data) & set(OF_DATABLOCK))
        if fastai:
            raise UsageError(
                f"{fastai[0]}: CXRDataLoaders resize, split and augment in batches (size=, valid_pct=, augment=); for "
                "fastai's way of doing it make them with CXRDataBlock"
            )
        if lungs is not None and not isinstance(lungs, LungCrop):
            raise UsageError(f"lungs: a LungCrop, such as LungCrop(128), not {lungs!r}")
        section = {"manifest": str(manifest), "image_size": size, "augment": augment, **data}
        section["split"] = {"valid": valid_pct, "seed": seed, **data.get("split", {})}
        if classes is not None:
            section["classes"] = list(classes)
        elif str(manifest) != PHANTOM:
            section["classes"] = list(usable_classes(read_manifest(manifest, data.get("root")).rows))
        recipe = {
            "name": "notebook",
            "data": section,
            "model": {"arch": arch},
            "lungs": None if lungs is None else lungs.section.model_dump(mode="json"),
            "training": {"batch_size": bs, "seed": seed, "device": device, "precision": precision},
        }
        with keys_as_arguments(LOADERS):
            return cls.from_recipe(validate(recipe, where=""), cache_dir=cache_dir)

    @classmethod
    @delegates(from_manifest)
    def from_df(
        cls, df: pd.DataFrame, path: str | Path = ".", cache_dir: str | Path | None = None, **options: Any
    ) -> "CXRDataLoaders":
        """The images of a DataFrame with the columns `path`, `label` and `patient_id`, and any that a manifest may have.

        Args:
            df: One row per image.
            path: The folder that `path` is relative to, where its paths are not absolute.
            cache_dir: As in `from_manifest`; a copy of the table is kept there.
            **options: As `from_manifest` takes them.

        Returns:
            The loaders.

        Raises:
            UsageError: A column is missing; and as `from_manifest` does.
            DataError: Too many unusable files.
        """
        if not isinstance(df, pd.DataFrame):
            raise UsageError(f"from_df: a DataFrame, not {type(df).__name__}; from_manifest reads a file, from_folder a folder")
        missing = [column for column in ("path", "label") if column not in df]
        if missing:
            raise UsageError(f"from_df: no column {missing[0]!r}; the table has {', '.join(map(str, df.columns))}")
        rows = df.assign(patient_id=df.get("patient_id", "")).fillna("").astype(str)
        root = Path(path).expanduser().absolute()
        absolute = [Path(file).is_absolute() for file in rows.path]
        if all(absolute) and len(rows):
            root = Path(os.path.commonpath([Path(file).parent for file in rows.path]))
            rows["path"] = [Path(file).relative_to(root).as_posix() for file in rows.path]
        text = normalize_rows(rows).to_csv(index=False, lineterminator="\n")
        cache = Path(cache_dir) if cache_dir is not None else user_cache_dir()
        manifest = cache / "manifests" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.csv"
        write_text(manifest, text)
        return cls.from_manifest(manifest, root=str(root), cache_dir=cache_dir, **options)

    @classmethod
    @delegates(from_manifest)
    def from_folder(cls, path: str | Path, cache_dir: str | Path | None = None, **options: Any) -> "CXRDataLoaders":
        """The images of a downloaded dataset or of folders named after classes, as `darkcovid data import` reads them; where a
        `manifest.csv` or `data_manifest.csv` lies in the folder, those that it lists.

        Args:
            path: The folder.
            cache_dir: As in `from_manifest`.
            **options: As `from_manifest` takes them.

        Returns:
            The loaders.

        Raises:
            UsageError: Not a form of folder that is known; and as `from_manifest` does.
            DataError: A damaged list, or too many unusable files.
        """
        folder = Path(path).expanduser()
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder")
        manifest = next((folder / name for name in MANIFESTS if (folder / name).is_file()), None)
        if manifest is not None:
            return cls.from_manifest(manifest, cache_dir=cache_dir, **options)
        folder = dataset_folder(folder)
        cache = Path(cache_dir) if cache_dir is not None else user_cache_dir()
        cache.mkdir(parents=True, exist_ok=True)
        listed = list_images(folder, choose_importer(folder, None), {})
        place = cache / "imports" / hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        place.parent.mkdir(parents=True, exist_ok=True)
        with Journal(place, "file, ids hashed") as journal:
            rows, _ = add_file_facts(folder, listed, PatientIds(place.with_suffix(".salt")), journal)
        return cls.from_df(rows.drop(columns="sha256"), folder, cache_dir, **options)

    @classmethod
    def from_pixels(
        cls, recipe: Recipe, cohort: Cohort, pixels: StoredArray, compute: Device, lungs: LungRegions | None = None
    ) -> "CXRDataLoaders":
        """Of images that are in the network's form already.

        Args:
            recipe: Of one fit of an arm.
            cohort: Its training and validation sets and labels.
            pixels: (n, h, w) or (n, 2, h, w) uint8 in the cohort's order.
            compute: Device and precision.
            lungs: Where they are in the pixels, for `training.lung_consistency`.

        Returns:
            The loaders.

        Raises:
            UsageError: The recipe asks for `training.lung_consistency`, and lungs are not known.
        """
        data, training = recipe.data, recipe.training
        if training.lung_consistency is not None and lungs is None:
            raise UsageError("training.lung_consistency: lungs are not known; make the loaders with it, by a recipe")
        loaders = array_loaders(
            cohort,
            pixels,
            normalizer=Normalize(),
            augmentation=data.augmentation,
            batch_size=training.batch_size,
            compute=compute,
            oversample=data.oversample is True,
            sources=source_codes(cohort.rows, data.split) if data.oversample == "sources" else None,
            kept=(lungs.areas, lungs.trusted) if lungs is not None and training.lung_consistency is not None else None,
        )
        dls = cls(*loaders.loaders, path=Path(), device=compute.device)
        dls.cohort, dls.pixels, dls.recipe, dls.compute = cohort, pixels, recipe, compute
        dls.cache_dir = user_cache_dir()
        seed_everything(training.seed)
        restart_loaders(dls, dls.fit_normalizer(recipe), compute.device)
        return dls

    def fit_normalizer(self, recipe: Recipe) -> nn.Module:
        """The normalizer of `data.normalize`, fitted to the training set.

        Args:
            recipe: Of one fit of an arm.

        Returns:
            A module for (b, c, h, w) float in 0..1.
        """
        return self._training_normalizer if self.recipe.data.normalize in FITTED_TO_ALL else self._new_normalizer(recipe)

    @cached_property
    def _training_normalizer(self) -> nn.Module:
        return self._new_normalizer(self.recipe)

    def _new_normalizer(self, recipe: Recipe) -> nn.Module:
        data, train = recipe.data, np.flatnonzero(self.cohort.train)
        scale = input_scale(recipe)
        return fit_normalizer(data.normalize, self.pixels, train, data.augmentation, recipe.training.batch_size, scale)

    @property
    def size(self) -> Size:
        """(height, width) of the network's input in pixels."""
        height, width = self.pixels.shape[-2:]
        return height, width

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.cohort.classes

    def pixels_of(self, items: Sequence[Any]) -> np.ndarray:
        """Other images as the network gets these.

        Args:
            items: Each as `open_gray` takes it: a path, a PIL image or an array, of any size.

        Returns:
            (m, h, w) or (m, 2, h, w) uint8.

        Raises:
            DataError: A path is not a readable PNG, JPEG or DICOM.
        """
        images, recipe, masks = [open_gray(item) for item in items], self.recipe, []
        version = ""
        if recipe.lungs is not None:
            segmenter = load_segmenter(recipe.lungs.weights)
            small = np.stack([resize(image, INPUT_SIZE) for image in images])
            masks, version = list(segment_lungs(small, segmenter, self.compute)), segmenter.version
        return network_inputs(images, masks, recipe, self.size, version)[0]

    def test_dl(
        self, test_items: Sequence[Any] | pd.DataFrame, bs: int | None = None, with_labels: bool = False, **kwargs: Any
    ) -> Any:
        """A loader of other images, for `learn.get_preds(dl=...)`, or with labels for `learn.validate(dl=...)`.

        Args:
            test_items: Each as `open_gray` takes it: a path, a PIL image or an array, of any size; or a table with a column
                `path`.
            bs: Batch size; None: as in validation.
            with_labels: Whether the table's column `label` is given too.
            **kwargs: fastai's, which asks for rows of the cohort in this way to show them.

        Returns:
            A loader of (b, c, h, w) float32, normalized, without labels unless they are asked for.

        Raises:
            DataError: A path is not a readable PNG, JPEG or DICOM.
            UsageError: A table without a column `path`, or labels that are not there or of no class.
        """
        if all(isinstance(item, (int, np.integer)) for item in test_items):
            return super().test_dl(test_items, with_labels=with_labels, **kwargs)
        labels = None
        if with_labels or isinstance(test_items, pd.DataFrame):
            test_items, labels = self._columns_of(test_items, with_labels)
        pixels = self.pixels_of(test_items)
        rows = Datasets(list(range(len(pixels))), [[noop]])
        return self.valid.new(rows, inputs=pixels, targets=labels, bs=bs or self.valid.bs)

    def _columns_of(self, table: Any, with_labels: bool) -> tuple[list[str], np.ndarray | None]:
        """Paths, and the classes of labels where they are asked for."""
        for column in ("path", "label") if with_labels else ("path",):
            if not isinstance(table, pd.DataFrame) or column not in table:
                raise UsageError(f"test_dl: a table with a column `{column}` is needed here")
        if not with_labels:
            return table.path.tolist(), None
        strange = sorted(set(table.label) - set(self.classes))
        if strange:
            raise UsageError(f"test_dl: the label {strange[0]!r} is no class; there are: {', '.join(self.classes)}")
        return table.path.tolist(), table.label.map(self.classes.index).to_numpy(np.int64)

    def split_table(self) -> pd.DataFrame:
        """Images and patients of each class (rows) in each set (columns)."""
        cohort = self.cohort
        table: dict[tuple[str, str], dict[str, int]] = {}
        for name, rows in cohort.sides.items():
            labels = np.array(cohort.classes)[cohort.labels[rows]]
            patients = cohort.patients[rows].to_numpy()
            if not len(labels):
                continue
            table[name, "images"] = {label: int((labels == label).sum()) for label in cohort.classes}
            table[name, "patients"] = {label: len(set(patients[labels == label])) for label in cohort.classes}
        return pd.DataFrame(table).reindex(list(cohort.classes))

    def show_batch(
        self, max_n: int = 9, train: bool = True, ncols: int = COLUMNS_SHOWN, figsize: tuple[float, float] | None = None
    ) -> np.ndarray:
        """Show images of a batch as the network gets them, augmented, each with its class.

        Args:
            max_n: Images.
            train: Of the training set; else of the validation set.
            ncols: Images side by side.
            figsize: In inches.

        Returns:
            matplotlib's axes.
        """
        inputs, targets = (self.train if train else self.valid).one_batch()
        shown = [image[0].float().cpu().numpy() for image in inputs[:max_n]]
        names = [self.classes[int(target)] for target in targets[:max_n]]
        rows = -(-len(shown) // ncols)
        _, axes = plt.subplots(rows, ncols, figsize=figsize or (3 * ncols, 3 * rows), squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for axis, image, name in zip(axes.flat, shown, names, strict=False):
            axis.imshow(image, cmap="gray")
            axis.set_title(name)
        return axes


def _warn_of_unknown_patients(cohort: Cohort) -> None:
    unknown = int((cohort.rows.patient_id == "").sum())
    if unknown:
        warnings.warn(
            f"the patient of {unknown} of {len(cohort)} images is not known: each counts as a patient, and images of one person "
            "may be in both sets; give a table with a column patient_id",
            UserWarning,
            stacklevel=3,
        )
