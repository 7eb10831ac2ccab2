"""A plain fastai DataBlock of radiographs, to be changed as one likes: patients apart, DICOM read, lungs cropped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader
from fastai.vision.augment import Resize
from fastai.vision.core import PILImageBW
from fastai.vision.data import ImageBlock
from fastcore.foundation import L
from PIL import Image

from darkcovid.core.errors import UsageError
from darkcovid.data.decode import load_grayscale
from darkcovid.data.loaders import TensorCXR
from darkcovid.data.manifest import normalize_rows, read_manifest
from darkcovid.data.splits import assign_splits
from darkcovid.recipe import Split
from darkcovid.recipe.errors import validate_section
from darkcovid.vision.arguments import keys_as_arguments
from darkcovid.vision.lung_crop import LungCrop


class CXRImage(PILImageBW):
    """fastai's gray PIL image, read from a PNG, JPEG or DICOM: 8 or 16 bits, either polarity, its window applied."""

    _show_args: ClassVar = {"cmap": "gray"}
    _tensor_cls = TensorCXR

    @classmethod
    def create(cls, fn: Path | str | torch.Tensor | np.ndarray | bytes | Image.Image, **kwargs) -> "CXRImage":
        """An image of a path, or whatever fastai's PILImageBW takes; fastai tells by the annotation what it can begin with.

        Args:
            fn: A path, an array, a tensor or bytes.
            **kwargs: fastai's.

        Returns:
            Mode L.

        Raises:
            DataError: The file is not a readable image.
        """
        return cls(load_grayscale(fn)) if isinstance(fn, (str, Path)) else super().create(fn, **kwargs)


class PatientSplitter:
    """A splitter for DataBlocks that keeps all images of a patient in one set, with the classes in the same shares.

    Args:
        valid_pct: Share of the images in the validation set.
        seed: Of the split.

    Raises:
        UsageError: A share or seed out of range.
    """

    def __init__(self, valid_pct: float = 0.2, seed: int = 41):
        with keys_as_arguments({"PatientSplitter: valid": "PatientSplitter: valid_pct"}):
            self.split = validate_section(Split, {"valid": valid_pct, "seed": seed}, "PatientSplitter")

    def __call__(self, items: pd.DataFrame) -> tuple[list[int], list[int]]:
        """Rows of the training and of the validation set.

        Args:
            items: With the columns path, label and patient_id.

        Returns:
            Two lists of positions.
        """
        rows = normalize_rows(items.reset_index(drop=True))
        valid, _ = assign_splits(rows, rows.label, self.split)
        return np.flatnonzero(~valid).tolist(), np.flatnonzero(valid).tolist()


def manifest_table(manifest: str | Path, root: str | Path | None = None) -> pd.DataFrame:
    """A manifest's labeled rows whose images are there.

    Args:
        manifest: A CSV or Parquet file.
        root: Where images are looked for besides.

    Returns:
        Its columns; `path` is absolute.

    Raises:
        UsageError: Not a manifest, or none of its images is there.
    """
    listed = read_manifest(manifest, root)
    rows = listed.rows[listed.rows.label != ""]
    files = [listed.locate(path) for path in rows.path]
    found = [file is not None for file in files]
    if not any(found):
        raise UsageError(f"{manifest}: none of its {len(rows)} labeled images is found; name their folder with root=")
    return rows[found].assign(path=[str(file) for file in files if file is not None]).reset_index(drop=True)


class CXRDataBlock(DataBlock):
    """A stock fastai DataBlock whose items are the rows of a table with the columns path, label and patient_id.

    Everything is fastai's and can be replaced by keyword: `CXRDataBlock(item_tfms=..., batch_tfms=..., splitter=...)`. For the
    cached, batched path that recipes use, see `CXRDataLoaders`.

    Args:
        lungs: Crops to the lungs, with a size: `LungCrop(128)`; None: whole images.
        size: Pixels of whole images.
        classes: Names in their order; None: as found.
        valid_pct: Share of the validation set.
        seed: Of the split.
        **block: fastai's `DataBlock` arguments, in place of these; `item_tfms` replaces the resizing of whole images, and follows
            the crop to the lungs.
    """

    def __init__(
        self,
        lungs: LungCrop | None = None,
        size: int | tuple[int, int] = 256,
        classes: Sequence[str] | None = None,
        valid_pct: float = 0.2,
        seed: int = 41,
        **block: Any,
    ):
        vocab = None if classes is None else list(classes)
        ours = {
            "blocks": (ImageBlock(CXRImage), CategoryBlock(vocab=vocab, sort=vocab is None)),
            "get_items": _table,
            "get_x": ColReader("path"),
            "get_y": ColReader("label"),
            "splitter": PatientSplitter(valid_pct, seed),
        }
        cropped = [lungs] if lungs is not None else []
        resized = [] if cropped else [Resize(size, method="squish")]
        own = block.pop("item_tfms", None)
        super().__init__(**{**ours, "item_tfms": [*cropped, *L(resized if own is None else own)], **block})


def _table(source: Any) -> pd.DataFrame:
    """The items of a source: a table as it is, or a manifest's."""
    return source if isinstance(source, pd.DataFrame) else manifest_table(source)
