"""A fitted model as one file for other programs: normalization, network and calibration in one graph, and its lung U-Net.

ONNX by torch's exporter, checked through onnxruntime; or torch's own ExportedProgram (`.pt2`), loaded with `torch.export.load`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from darkcovid import __version__
from darkcovid.core.errors import DarkCovidError, UsageError, one_line
from darkcovid.core.io import atomic_path, sha256_file, write_json
from darkcovid.core.slow_progress import slow_step
from darkcovid.data.phantom import CLASSES, draw_anatomy, draw_radiograph
from darkcovid.inference.load import FittedModel
from darkcovid.inference.model_card import NOT_FOR
from darkcovid.lungs.mask_quality import MIN_FLIP_DICE
from darkcovid.lungs.unet import INPUT_SIZE, LungUNet
from darkcovid.models.registry import input_interpolation
from darkcovid.recipe import Phantom
from darkcovid.training.loss import class_probabilities

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
TOLERANCE = 1e-4
MIN_PROBABILITY = 1e-12  # as `metrics.calibration.apply_temperature`
CHECKED = 8  # phantoms on which a file must say what the network says

Ask = Callable[[np.ndarray], list[np.ndarray]]


class Classifier(nn.Module):
    """(n, c, h, w) pixels in 0..1 to (n, classes) calibrated probabilities; of an ensemble, the mean of its members'."""

    def __init__(self, model: FittedModel):
        super().__init__()
        self.normalizers = nn.ModuleList([each.normalizer for each in model.networks])
        self.networks = nn.ModuleList([each.network for each in model.networks])
        self.temperature = model.temperature

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits = [network(normalizer(pixels)) for network, normalizer in zip(self.networks, self.normalizers, strict=True)]
        if len(logits) == 1:
            return class_probabilities(logits[0], self.temperature)
        mean = torch.stack([class_probabilities(of_one) for of_one in logits]).mean(0)
        return class_probabilities(mean.clamp_min(MIN_PROBABILITY).log(), self.temperature)


class LungNetwork(nn.Module):
    """(n, 1, 256, 256) pixels in 0..1 to the logits of lung, as seen in the picture and in its mirror image, turned back:
    twice (n, 1, 256, 256). The mask is where their sum is positive."""

    def __init__(self, segmenter: LungUNet):
        super().__init__()
        self.normalizer, self.network = segmenter.normalizer, segmenter.network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scaled = self.normalizer(pixels)
        return self.network(scaled), self.network(scaled.flip(-1)).flip(-1)


def export_model(model: FittedModel, segmenter: LungUNet, form: str, folder: Path) -> dict[str, Any]:
    """Write the classifier, the lung U-Net and a JSON that says how to use them.

    Args:
        model: A fitted classifier.
        segmenter: The lung U-Net.
        form: `onnx` or `torch`.
        folder: Where the files go.

    Returns:
        What the JSON holds.

    Raises:
        UsageError: An ensemble whose members see different pixels of an image.
        DarkCovidError: An exporter that fails or is not installed, or a file whose outputs are not the network's within 1e-4;
            nothing is left behind then.
    """
    stem = model.recipe.name if model.fit == model.recipe.name else f"{model.recipe.name}-{model.fit.replace('/', '-')}"
    classifier = write_classifier(model, form, folder / f"{stem}{SUFFIXES[form]}")
    file, outputs = folder / f"{stem}-lungs{SUFFIXES[form]}", ["logits", "mirrored_logits"]
    lungs = _write(file, form, LungNetwork(segmenter), _phantoms(INPUT_SIZE, 1), outputs)
    lungs |= {"mask": "logits + mirrored_logits > 0", "least_agreement_dice": MIN_FLIP_DICE}
    sidecar = {
        "format": form,
        "not_for": NOT_FOR,
        "run": model.run.name,
        "fit": model.fit,
        "classes": list(model.classes),
        "image_size": list(model.size),
        "classifier": classifier,
        "lungs": lungs,
        "darkcovid": __version__,
    }
    write_json(folder / f"{stem}{SUFFIXES[form]}.json", sidecar)
    return sidecar | {"sidecar": str(folder / f"{stem}{SUFFIXES[form]}.json")}


def write_classifier(model: FittedModel, form: str, path: Path) -> dict[str, Any]:
    """Write the classifier alone.

    Args:
        model: A fitted classifier.
        form: `onnx` or `torch`.
        path: The file.

    Returns:
        Its `file`, `sha256`, `input`, `outputs`, and how a radiograph becomes its input.

    Raises:
        UsageError, DarkCovidError: As `export_model` does.
    """
    if not all(member.sees_as(model) for member in model.members):
        differing = "size, lungs, letterbox, contrast, bars, or interpolation"
        raise UsageError(
            f"--arm {model.fit}: its arms see different pixels of an image ({differing}); export them one by one with --arm"
        )
    about = _write(path, form, Classifier(model), _phantoms(model.size, model.recipe.channels), ["probabilities"])
    return about | {"channels": _channels(model), "temperature": model.temperature, **_policy(model)}


def example_input(model: FittedModel) -> np.ndarray:
    """(1, c, h, w) float32 in 0..1: a synthetic radiograph as the classifier's input, of nobody."""
    return _phantoms(model.size, model.recipe.channels)[:1]


def _write(path: Path, form: str, network: nn.Module, pixels: np.ndarray, outputs: list[str]) -> dict[str, Any]:
    network = network.cpu().eval()
    example = torch.from_numpy(pixels)
    try:
        with slow_step(f"exporting {path.name}"), atomic_path(path) as temporary:
            program = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
            ask = (_save_onnx if form == "onnx" else _save_torch)(program, temporary, outputs)
            difference = _difference(network, ask, pixels)
            if not difference <= TOLERANCE:
                raise DarkCovidError(f"export: {path.name} differs from the network by {difference:.1e}, more than {TOLERANCE}")
    except ImportError as error:
        raise DarkCovidError(f"export: {error.name} is needed; install `darkcovid[export]`") from None
    except (RuntimeError, ValueError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
        raise DarkCovidError(f"export: this network cannot be exported as {form} ({one_line(error)[:150]})") from None
    shape = ["n", *pixels.shape[1:]]
    return {
        "file": path.name,
        "sha256": sha256_file(path),
        "input": {"name": "pixels", "shape": shape, "dtype": "float32", "range": [0, 1]},
        "outputs": outputs,
        "largest_difference": difference,
    }


def _save_onnx(program: torch.export.ExportedProgram, path: Path, outputs: list[str]) -> Ask:
    import onnxruntime

    made = torch.onnx.export(program, input_names=["pixels"], output_names=outputs, dynamo=True, verbose=False)
    if made is None:
        raise RuntimeError("nothing was exported")
    made.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(outputs, {"pixels": pixels})


def _save_torch(program: torch.export.ExportedProgram, path: Path, outputs: list[str]) -> Ask:
    with path.open("wb") as file:
        torch.export.save(program, file)
    with path.open("rb") as file:
        loaded = torch.export.load(file).module()

    def ask(pixels: np.ndarray) -> list[np.ndarray]:
        answer = loaded(torch.from_numpy(pixels))
        return [output.numpy() for output in (answer if isinstance(answer, tuple) else (answer,))]

    return ask


def _difference(network: nn.Module, ask: Ask, pixels: np.ndarray) -> float:
    """The largest difference in any output, of all pictures at once and of one alone."""
    worst = 0.0
    for asked in (pixels, pixels[:1]):
        with torch.inference_mode():
            expected = network(torch.from_numpy(asked))
        expected = expected if isinstance(expected, tuple) else (expected,)
        worst = max(worst, *(float(np.abs(a - b.numpy()).max()) for a, b in zip(ask(asked), expected, strict=True)))
    return worst


def _phantoms(size: tuple[int, int], channels: int) -> np.ndarray:
    """(8, channels, *size) float32 in 0..1: synthetic radiographs."""
    random, phantom = np.random.RandomState(0), Phantom(image_size=max(64, *size))
    drawn = [
        draw_radiograph(draw_anatomy(random), CLASSES[number % len(CLASSES)], phantom, random)[0][: size[0], : size[1]]
        for number in range(CHECKED)
    ]
    return np.repeat(np.stack(drawn)[:, None].astype(np.float32) / 255, channels, 1)


def _channels(model: FittedModel) -> list[str]:
    lungs = model.recipe.lungs
    first = "whole image" if lungs is None or lungs.mode in ("mask", "outside") else "crop around the lungs"
    return [first, "whole image"] if lungs is not None and lungs.context_channel else [first]


def _policy(model: FittedModel) -> dict[str, Any]:
    """How a radiograph becomes the classifier's pixels."""
    lungs = model.recipe.lungs
    kept = ("mode", "margin", "resize", "fill", "context_channel")
    return {
        "letterbox": model.recipe.data.letterbox,
        "contrast": model.recipe.data.contrast,
        "fill_bars": model.recipe.data.fill_bars,
        "interpolation": input_interpolation(model.recipe),
        "lungs": None if lungs is None else {key: value for key, value in lungs.model_dump(mode="json").items() if key in kept},
    }
