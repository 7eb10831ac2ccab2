"""fastai `DataLoaders` over a cohort's pixel array: whole uint8 batches read by index, augmented on the device.

One channel all the way: a grayscale image carries no more, and augmenting one channel costs a third of three.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from fastai.data.block import CategoryBlock, DataBlock, TransformBlock
from fastai.data.core import DataLoaders, TfmdDL
from fastai.data.transforms import IndexSplitter, IntToFloatTensor
from fastai.torch_core import TensorCategory, TensorImage, TensorImageBW, TensorMask
from fasttransform import DisplayedTransform
from torch import nn

from darkcovid.core.array_cache import StoredArray, drop_pages
from darkcovid.core.device import Device, add_channel_dim
from darkcovid.core.distributed import ALONE, Distributed
from darkcovid.data.augment import Augment
from darkcovid.data.cohort import Cohort
from darkcovid.data.normalize import Normalize
from darkcovid.recipe import Augmentation

RESIDENT_SHARE = 0.5
RELEASE_EVERY = 64  # batches whose pages stay in memory


class TensorCXR(TensorImageBW):
    """Gray pixels that fastai shows as a radiograph: bone white, air black. Its own class shows them inverted."""

    _show_args: ClassVar = {"cmap": "gray"}


class NormalizeBatch(DisplayedTransform):
    """The normalizer as a batch transform; runs last, on the device."""

    order = 99

    def __init__(self, normalizer: nn.Module, device: torch.device):
        self.normalizer = normalizer.to(device)

    def encodes(self, x: TensorImage):
        return TensorImage(self.normalizer(torch.Tensor(x)))

    def decodes(self, x: TensorImage):
        """Pixels in 0..1 to look at: as they were, or, where images are scaled one by one, from the darkest to the brightest."""
        pixels = torch.Tensor(x)[:, :1]
        if type(self.normalizer) is Normalize:
            return TensorCXR(pixels * self.normalizer.std[:1] + self.normalizer.mean[:1])
        low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
        return TensorCXR((pixels - low) / (high - low).clamp_min(1e-6))


class ArrayLoader(TfmdDL):
    """A fastai loader whose batches are slices of the `inputs` and `targets` arrays, gathered by row in one go.

    Arrays already on the device stay there. Of several processes each takes its share of every batch, in one order for all.

    Args:
        dataset: Whose `items` are the rows of this set.
        inputs: (n, h, w) or (n, c, h, w) uint8.
        targets: (n,) int64 classes or (n, h, w) uint8 masks of 0 and 1; None: batches are of inputs alone.
        distributed: This process's place.
        weights: (n,) float, how often each row is drawn for an epoch of as many as there are; None: each once.
        kept: uint8 of the shape of `inputs`, 1 where an image's own pixels are kept, and (n,) bool, whether this is known of an
            image, which else keeps all: each training batch comes twice, the second time with all other pixels those of other
            images of the batch. None: it comes once.
        **kwargs: fastai's.

    Attributes:
        batches: The rows of each batch since the epoch began.
    """

    def __init__(
        self,
        dataset,
        *,
        inputs: Any = None,
        targets: Any = None,
        distributed: Distributed = ALONE,
        weights: np.ndarray | None = None,
        kept: Any = None,
        **kwargs,
    ):
        self.inputs, self.targets, self.distributed, self.weights, self.kept = inputs, targets, distributed, weights, kept
        self.batches: list[np.ndarray] = []
        super().__init__(dataset, **kwargs | {"num_workers": 0})

    def new(self, dataset=None, cls=None, **kwargs):
        """fastai's: a loader like this one, with other data or settings.

        Args:
            dataset: None: the same.
            cls: None: the same.
            **kwargs: Settings that differ.

        Returns:
            The loader.
        """
        own = {name: getattr(self, name) for name in ("inputs", "targets", "distributed", "weights", "kept")}
        return super().new(dataset, cls, **own | kwargs)

    def get_idxs(self):
        """fastai's: the order of an epoch, drawn by the weights where there are any."""
        if self.weights is None or not self.shuffle:
            return super().get_idxs()
        weights = self.weights[np.asarray(self.dataset.items)]
        return np.random.choice(len(weights), len(weights), p=weights / weights.sum()).tolist()  # noqa: NPY002 (seeded with a fit)

    def create_batches(self, samples: Iterator[int]):
        """fastai's: the batches of one epoch.

        Args:
            samples: Indices into the data set, in their order.

        Yields:
            (b, c, h, w) uint8 inputs, and (b,) int64 or (b, h, w) int64 targets.
        """
        rows = np.asarray(self.dataset.items)
        self.batches = []
        for number, chosen in enumerate(self.chunkify(samples)):
            mine = list(chosen)[self.distributed.rank :: self.distributed.size]
            if mine:
                self.batches.append(np.tile(rows[mine], 2) if self._twice else rows[mine])
                yield self._batch(rows[mine])
            if number % RELEASE_EVERY == 0:
                drop_pages(self.inputs)

    def do_item(self, s: int | None):
        """fastai's: the row of one item."""
        return int(self.dataset.items[s or 0])

    def do_batch(self, rows: Sequence[int]):
        """fastai's: one batch of rows."""
        return self._batch(np.asarray(rows))

    @property
    def _twice(self) -> bool:
        return self.kept is not None and self.shuffle

    def _batch(self, rows: np.ndarray):
        pixels = _gather(self.inputs, rows)
        if self._twice:
            others = pixels[torch.randperm(len(rows), device=pixels.device)]
            areas, known = self.kept
            unknown = ~torch.from_numpy(known[rows]).to(pixels.device).view(-1, *[1] * (pixels.dim() - 1))
            pixels = torch.cat([pixels, torch.where((_gather(areas, rows) > 0) | unknown, pixels, others)])
            rows = np.tile(rows, 2)
        inputs = TensorCXR(add_channel_dim(pixels))
        if self.targets is None:
            return (inputs,)
        targets = _gather(self.targets, rows)
        return inputs, TensorCategory(targets) if targets.ndim == 1 else TensorMask(targets.long())


def _gather(array: StoredArray | torch.Tensor, rows: np.ndarray) -> torch.Tensor:
    if isinstance(array, torch.Tensor):
        return array[torch.as_tensor(rows, device=array.device)]
    return torch.from_numpy(array[rows])


def _on_device(array: StoredArray | torch.Tensor, device: torch.device) -> torch.Tensor:
    return (array if isinstance(array, torch.Tensor) else torch.from_numpy(np.array(array))).to(device)


def array_loaders(
    cohort: Cohort,
    pixels: StoredArray,
    *,
    targets: StoredArray | None = None,
    normalizer: nn.Module,
    augmentation: Augmentation | None,
    batch_size: int,
    compute: Device,
    oversample: bool = False,
    sources: np.ndarray | None = None,
    kept: tuple[StoredArray, np.ndarray] | None = None,
) -> DataLoaders:
    """fastai `DataLoaders` of a cohort's training and validation sets.

    Args:
        cohort: Its sets and labels.
        pixels: (n, h, w) or (n, c, h, w) uint8, rows as in `cohort`.
        targets: (n, h, w) uint8 masks of 0 and 1; None: the cohort's labels.
        normalizer: Of the inputs, on the device.
        augmentation: Of training batches; None: none.
        batch_size: Of training; the last incomplete batch is dropped when there is a whole one.
        compute: Device, and this process's place.
        oversample: Whether images of rarer classes come several times per epoch.
        sources: (n,) int; training images are drawn so that every class, and every source within it, is equally frequent.
            None: they are not.
        kept: As `ArrayLoader` takes it.

    Returns:
        Loaders of (b, c, h, w) float32, normalized, and (b,) int64 or (b, h, w) int64.
    """
    augmenting = [] if augmentation is None else [Augment(augmentation)]
    transforms = [IntToFloatTensor(div_mask=1), *augmenting, NormalizeBatch(normalizer, compute.device)]
    return _loaders(cohort, pixels, targets, transforms, batch_size, compute, oversample, sources, kept)


def restart_loaders(dls: DataLoaders, normalizer: nn.Module, device: torch.device) -> None:
    """Bring loaders into the state of new ones: their order of images is drawn from Python's generator as it stands now.

    Args:
        dls: As `array_loaders` makes them.
        normalizer: Of their inputs, in place of the one they have.
        device: The normalizer's.
    """
    for loader in dls.loaders:
        loader.rng = random.Random(random.randint(0, 2**32 - 1))  # as fastai's DataLoader does when it is made
        for transform in loader.after_batch.fs:
            if isinstance(transform, NormalizeBatch):
                transform.normalizer = normalizer.to(device)


def feature_loaders(
    cohort: Cohort,
    features: torch.Tensor,
    batch_size: int,
    compute: Device,
    oversample: bool = False,
    sources: np.ndarray | None = None,
) -> DataLoaders:
    """fastai `DataLoaders` of feature maps, which are handed on as they are.

    Args:
        cohort: Its sets and labels.
        features: (n, c, h, w) float, rows as in `cohort`.
        batch_size: Of training.
        compute: Device, and this process's place.
        oversample: Whether images of rarer classes come several times per epoch.
        sources: As `array_loaders` takes them.

    Returns:
        Loaders of (b, c, h, w) float and (b,) int64.
    """
    return _loaders(cohort, features, None, [], batch_size, compute, oversample, sources)


def _loaders(
    cohort: Cohort,
    inputs: StoredArray | torch.Tensor,
    targets: StoredArray | None,
    transforms: list,
    batch_size: int,
    compute: Device,
    oversample: bool,
    sources: np.ndarray | None,
    kept: tuple[StoredArray | torch.Tensor, np.ndarray] | None = None,
) -> DataLoaders:
    stored: StoredArray | torch.Tensor = cohort.labels if targets is None else targets
    train, valid = np.flatnonzero(cohort.train), np.flatnonzero(cohort.valid)
    if oversample:
        train = oversample_rows(train, cohort.labels[train])
    target_block = CategoryBlock(vocab=list(cohort.classes), sort=False) if targets is None else TransformBlock()
    block = DataBlock(
        blocks=(TransformBlock(), target_block),
        get_x=lambda row: TensorCXR(add_channel_dim(_gather(inputs, np.array([row])))[0]),
        get_y=(lambda row: cohort.classes[int(stored[row])])
        if targets is None
        else (lambda row: _gather(stored, np.array([row]))[0]),
        splitter=IndexSplitter(list(range(len(train), len(train) + len(valid)))),
        batch_tfms=transforms,
    )
    if _fits_on(compute.device, inputs.nbytes + stored.nbytes + (0 if kept is None else kept[0].nbytes)):
        inputs, stored = _on_device(inputs, compute.device), _on_device(stored, compute.device)
        kept = kept if kept is None else (_on_device(kept[0], compute.device), kept[1])
    return block.dataloaders(
        np.concatenate([train, valid]).tolist(),
        dl_type=ArrayLoader,
        inputs=inputs,
        targets=stored,
        distributed=compute.distributed,
        kept=kept,
        weights=None if sources is None else source_weights(cohort.labels, sources, cohort.train),
        bs=batch_size,
        drop_last=len(train) > batch_size,
        device=compute.device,
    )


def source_weights(labels: np.ndarray, sources: np.ndarray, train: np.ndarray) -> np.ndarray:
    """How often images are drawn, or how much they count, so that all classes are equal, and in a class all sources that have it.

    Args:
        labels: (n,) int.
        sources: (n,) int.
        train: (n,) bool, those that are trained on.

    Returns:
        (n,) float, 0 outside the training set.
    """
    weights = np.zeros(len(labels))
    for label in np.unique(labels[train]):
        of_class = train & (labels == label)
        present, counts = np.unique(sources[of_class], return_counts=True)
        share = dict(zip(present, 1 / (len(present) * counts), strict=True))
        weights[of_class] = [share[source] for source in sources[of_class]]
    return weights


def oversample_rows(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rows of rarer classes repeated, in turn, until every class has as many as the largest.

    Args:
        rows: (n,) int.
        labels: (n,) int.

    Returns:
        (m,) int, ascending.
    """
    classes, counts = np.unique(labels, return_counts=True)
    return np.sort(np.concatenate([np.resize(rows[labels == name], counts.max()) for name in classes]))


def _fits_on(device: torch.device, size: int) -> bool:
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return size < RESIDENT_SHARE * free
