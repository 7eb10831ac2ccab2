"""How a radiograph becomes the input of a model that was made elsewhere: what its file says, and what a person declares."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter

from darkcovid.core.errors import UsageError
from darkcovid.core.words import counted
from darkcovid.data.enhance import AS_IT_IS, Enhancement
from darkcovid.data.resize import Size
from darkcovid.inference.foreign.client import Kind
from darkcovid.recipe import Contrast, Interpolation, Lungs

Layout = Literal["nchw", "nhwc"]
USUAL: dict[str, Layout] = {"torchscript": "nchw", "http": "nhwc"}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
RANGES = {"0..1": (0.0, 1.0), "0..255": (0.0, 255.0), "-1..1": (-1.0, 1.0), "-1024..1024": (-1024.0, 1024.0)}
NORMALIZATIONS = f"{', '.join(RANGES)}, imagenet, per-image, or MEAN,STD of pixels in 0..1"
NUMBERS = re.compile(r"([\d.]+),([\d.]+)")


@dataclass(frozen=True)
class DeclaredInput:
    """What a person says of a model's input; None or '': nothing."""

    size: Size | None = None
    channels: int | None = None
    layout: Layout | None = None
    normalize: str = ""
    letterbox: bool = False


@dataclass(frozen=True)
class InputPolicy:
    """A model's input.

    Attributes:
        size: (height, width) in pixels.
        channels: 1 or 3, equal ones; more where an exported model of ours has a second view.
        layout: The order of axes.
        normalize: One of NORMALIZATIONS.
        letterbox: Whether images keep their aspect, in the middle of black.
        enhancement: What is done to them first.
        interpolation: Of resizing.
        lungs: The `lungs` section of a recipe, by which images are cropped first; None: whole images.
        classes: In the order of outputs; empty: not known.
        temperature: By which the file divides logits; None: it does not.
    """

    size: Size
    channels: int
    layout: Layout
    normalize: str
    letterbox: bool = False
    enhancement: Enhancement = AS_IT_IS
    interpolation: Interpolation = "bilinear"
    lungs: Lungs | None = None
    classes: tuple[str, ...] = ()
    temperature: float | None = None

    def batch(self, pixels: np.ndarray) -> np.ndarray:
        """(m, h, w) or (m, c, h, w) uint8 as the model takes it, float32."""
        values = _normalized((pixels if pixels.ndim == 4 else pixels[:, None]).astype(np.float32) / 255, self.normalize)
        if values.shape[1] == 1 and self.channels > 1:
            values = np.repeat(values, self.channels, 1)
        if self.normalize == "imagenet":
            mean, std = (np.array(three, np.float32)[:, None, None] for three in IMAGENET)
            values = (values - mean) / std
        return np.ascontiguousarray(values if self.layout == "nchw" else values.transpose(0, 2, 3, 1), np.float32)

    def describe(self) -> str:
        """For a person."""
        height, width = self.size
        return (
            f"input {height}x{width}, {counted(self.channels, 'channel')}, {self.layout}, normalized {self.normalize}"
            + (", letterboxed" if self.letterbox else "")
            + (f", lungs: {self.lungs.mode}" if self.lungs else "")
        )


def exported_policy(source: str) -> InputPolicy | None:
    """The input of a file that `darkcovid export` wrote, by the JSON beside it; None where there is none."""
    try:
        about = json.loads(Path(f"{source}.json").read_text(encoding="utf-8"))
        return _EXPORTED.validate_python(about).policy
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class _Tensor:
    """`input` of the JSON beside an exported file."""

    shape: tuple[str, int, int, int]


@dataclass(frozen=True)
class _Classifier:
    """`classifier` of the JSON beside an exported file."""

    input: _Tensor
    letterbox: bool
    contrast: Contrast
    interpolation: Interpolation
    lungs: Lungs | None
    temperature: float | None = None
    fill_bars: bool = False


@dataclass(frozen=True)
class _Exported:
    """The JSON beside an exported file, as far as it is needed."""

    classes: list[str]
    classifier: _Classifier

    @property
    def policy(self) -> InputPolicy:
        """The input that it describes."""
        of = self.classifier
        _, channels, height, width = of.input.shape
        return InputPolicy(
            (height, width),
            channels,
            "nchw",
            "0..1",
            of.letterbox,
            Enhancement(of.contrast, of.fill_bars),
            of.interpolation,
            of.lungs,
            tuple(self.classes),
            of.temperature,
        )


_EXPORTED = TypeAdapter(_Exported)


def resolve_input(
    kind: Kind, source: str, shape: Sequence[int | None], declared: DeclaredInput, about: Mapping[str, Any]
) -> InputPolicy:
    """The input of a model by its own shape and by what is declared.

    Args:
        kind: Of model.
        source: For messages.
        shape: Of its input without the batch, None for any number; empty where it is not known.
        declared: By a person.
        about: What a server of ours says of it: `classes`, `image_size`.

    Returns:
        The input.

    Raises:
        UsageError: Something is not known, or contradicts the model's own shape; the message says which option says it.
    """
    own = exported_policy(source) if kind == "onnx" else None
    if own is not None and declared != DeclaredInput():
        raise UsageError(
            f"{source}.json says how the model's input is made; leave --size, --channels, --layout and --normalize out"
        )
    if own is not None:
        return own
    layout: Layout | None = declared.layout or _layout(shape) or USUAL.get(kind)
    missing = [] if layout else ["--layout nchw or nhwc"]
    sides: list[int | None] = [None, None, None]
    if layout and len(shape) == 3:
        sides = list(shape) if layout == "nchw" else [shape[2], shape[0], shape[1]]
    elif len(shape) not in (0, 3):
        raise UsageError(
            f"{source}: an input of {len(shape)} axes beside the batch; images of channels, height and width are asked"
        )
    channels, height, width = sides
    if about.get("image_size"):
        height, width, channels = *map(int, about["image_size"]), channels or 1
    size = declared.size or ((height, width) if height and width else None)
    normalize = declared.normalize or ("0..255" if about.get("classes") else "")
    channels_asked = declared.channels or channels
    missing += [] if size else ["--size"]
    missing += [] if channels_asked else ["--channels 1 or 3"]
    missing += [] if normalize else [f"--normalize ({NORMALIZATIONS})"]
    if missing or size is None or channels_asked is None or layout is None:
        raise UsageError(f"{source}: the model does not say how its input is made; give {' and '.join(missing)}")
    for option, asked, known in (("--size", size, (height, width)), ("--channels", (channels_asked,), (channels,))):
        if any(theirs and theirs != ours for ours, theirs in zip(asked, known, strict=True)) and not about:
            raise UsageError(f"{option}: {source} takes {'x'.join(map(str, known))}, not {'x'.join(map(str, asked))}")
    _check_normalization(normalize, channels_asked)
    return InputPolicy(
        size, channels_asked, layout, normalize, declared.letterbox, classes=tuple(map(str, about.get("classes", ())))
    )  # type: ignore[arg-type]


def parse_size(text: str) -> Size:
    """`224` or `224x256` (height, width).

    Raises:
        UsageError: Neither.
    """
    match = re.fullmatch(r"(\d{1,4})(?:x(\d{1,4}))?", text.lower())
    if not match or min(int(side) for side in match.groups() if side) < 8:
        raise UsageError(f"--size {text}: write 224, or HEIGHTxWIDTH")
    return int(match[1]), int(match[2] or match[1])


def _layout(shape: Sequence[int | None]) -> Layout | None:
    if len(shape) != 3 or (shape[0] in (1, 3)) == (shape[2] in (1, 3)):
        return None
    return "nchw" if shape[0] in (1, 3) else "nhwc"


def _check_normalization(normalize: str, channels: int) -> None:
    if normalize not in RANGES and normalize not in ("imagenet", "per-image") and not NUMBERS.fullmatch(normalize):
        raise UsageError(f"--normalize {normalize}: choose one of {NORMALIZATIONS}")
    if normalize == "imagenet" and channels != 3:
        raise UsageError("--normalize imagenet: the mean of ImageNet is of 3 channels; give --channels 3, or MEAN,STD")


def _normalized(values: np.ndarray, normalize: str) -> np.ndarray:
    """(m, c, h, w) in 0..1 by a range, by each image or by MEAN,STD."""
    if normalize in RANGES:
        low, high = RANGES[normalize]
        return values * (high - low) + low
    if normalize == "per-image":
        mean, std = values.mean((1, 2, 3), keepdims=True), values.std((1, 2, 3), keepdims=True)
        return (values - mean) / np.maximum(std, 1e-6)
    numbers = NUMBERS.fullmatch(normalize)
    return (values - float(numbers[1])) / float(numbers[2]) if numbers else values
