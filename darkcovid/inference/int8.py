"""An exported classifier in 8-bit integers: calibrated on training images, and compared with the exact file on validation images.

onnxruntime's static quantization (Jacob et al. 2018): convolutions and dense layers in integers, all else in floating point.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from darkcovid.core.errors import DarkCovidError, DataError, UsageError, one_line
from darkcovid.core.io import atomic_path, sha256_file, write_json
from darkcovid.core.log import logger, progress_bar
from darkcovid.core.threads import blocks_ahead
from darkcovid.data.cohort import open_manifest
from darkcovid.data.decode import load_grayscale
from darkcovid.data.splits import evenly_spaced
from darkcovid.inference.predictor import InferencePipeline

CALIBRATION_IMAGES = 128
BATCH = 16
TIMES = 3


@dataclass(frozen=True)
class Int8Loss:
    """What 8-bit integers cost, on the validation set of the fit.

    Attributes:
        images: Of the validation set.
        accuracy: Of the exact file, and of the one in integers.
        accuracy_loss: The first less the second.
        same_label: Share of images that get the same label.
        mean_difference: Mean absolute difference of any probability.
        largest_difference: Largest.
        speedup: How many times the images per second of the exact file, on the machine that made it, in batches of 16.
    """

    images: int
    accuracy: dict[str, float]
    accuracy_loss: float
    same_label: float
    mean_difference: float
    largest_difference: float
    speedup: float


def add_int8(
    pipeline: InferencePipeline, about: dict[str, Any], folder: Path, cache_dir: Path, data_root: str | None = None
) -> dict[str, Any]:
    """Write an exported classifier in 8-bit integers beside it, and what that costs into the JSON of the export.

    Args:
        pipeline: Of the fit that was exported.
        about: What `export_model` gave.
        folder: Where it wrote.
        cache_dir: Where phantoms are drawn.
        data_root: Where the manifest's images are looked for besides.

    Returns:
        `about` with `int8`: file, sha256, calibration (how many images of the training set), and validation, an `Int8Loss`.

    Raises:
        UsageError: An ensemble, or a run of an earlier version, which does not say which images were trained on.
        DataError: Images of the run are missing or damaged.
        DarkCovidError: onnx or onnxruntime is not installed, or cannot quantize this network.
    """
    exact = folder / about["classifier"]["file"]
    path = exact.with_name(f"{exact.stem}-int8.onnx")
    training, valid, labels = _sides(pipeline, cache_dir, data_root)
    with progress_bar("reading images", len(training) + len(valid)) as show:
        calibration = _inputs(pipeline, training, show)
        checked = _inputs(pipeline, valid, lambda done: show(len(training) + done))
    try:
        with atomic_path(path) as temporary:
            _quantize(exact, temporary, calibration)
            loss = compare_on(exact, temporary, checked, labels)
    except ImportError as error:
        raise DarkCovidError(f"export --int8: {error.name} is needed; install `darkcovid[export]`") from None
    except DarkCovidError:
        raise
    except Exception as error:  # noqa: BLE001 (onnxruntime's errors have no kind of their own)
        raise DarkCovidError(f"export --int8: this network cannot be quantized ({one_line(error)[:150]})") from None
    found = {
        "file": path.name,
        "sha256": sha256_file(path),
        "calibration": {"images": len(calibration), "side": "train"},
        "validation": asdict(loss),
    }
    sidecar = Path(about["sidecar"])
    write_json(sidecar, json.loads(sidecar.read_text()) | {"int8": found})
    return about | {"int8": found}


def compare_on(exact: Path, quantized: Path, pixels: np.ndarray, labels: np.ndarray) -> Int8Loss:
    """Two exported classifiers on the same images.

    Args:
        exact: An ONNX file of pixels to probabilities.
        quantized: The other one.
        pixels: (n, c, h, w) uint8.
        labels: (n,) int, the classes.

    Returns:
        What the second one loses.
    """
    import onnxruntime

    files = {"exact": exact, "int8": quantized}
    sessions = {name: onnxruntime.InferenceSession(file.read_bytes()) for name, file in files.items()}
    probabilities: dict[str, np.ndarray] = {}
    seconds: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(TIMES):
        for name, session in sessions.items():
            began = time.perf_counter()
            found = [session.run(None, {"pixels": block})[0] for block in _scaled(pixels)]
            seconds[name].append(time.perf_counter() - began)
            probabilities[name] = np.concatenate(found)
    predicted = {name: values.argmax(1) for name, values in probabilities.items()}
    accuracy = {name: float((values == labels).mean()) for name, values in predicted.items()}
    difference = np.abs(probabilities["exact"] - probabilities["int8"])
    return Int8Loss(
        images=len(labels),
        accuracy=accuracy,
        accuracy_loss=accuracy["exact"] - accuracy["int8"],
        same_label=float((predicted["exact"] == predicted["int8"]).mean()),
        mean_difference=float(difference.mean()),
        largest_difference=float(difference.max()),
        speedup=float(np.median(seconds["exact"]) / np.median(seconds["int8"])),
    )


def _sides(pipeline: InferencePipeline, cache_dir: Path, data_root: str | None) -> tuple[list[Path], list[Path], np.ndarray]:
    """Files of some images that the fit was trained on, evenly spaced, of its validation set, and the classes of that."""
    model = pipeline.model
    if model.members:
        raise UsageError(f"--int8: {model.fit} is an ensemble; export one of its arms with --arm")
    listed, trained = model.run / model.fit / "split.csv", model.training_images()
    if not trained:
        raise UsageError(f"--int8: {listed} does not say which images were trained on; run its recipe again")
    split = pd.read_csv(listed, dtype=str, keep_default_na=False)
    training = split.image[split.sha256.isin(trained) & (split.side == "train")]
    valid = split[split.side == "valid"]
    chosen = evenly_spaced(np.arange(len(training)), CALIBRATION_IMAGES)
    data = model.recipe.data.model_copy(update={} if data_root is None else {"root": data_root})
    manifest = open_manifest(data, cache_dir)

    def located(name: str) -> Path:
        file = manifest.locate(name)
        if file is None:
            raise DataError(f"{name}: this image of the run is missing; --data-root names the folder of its images")
        return file

    files = [located(name) for name in training.iloc[chosen]], [located(name) for name in valid.image]
    return *files, valid.label.map({name: code for code, name in enumerate(model.classes)}).to_numpy(np.int64)


def _inputs(pipeline: InferencePipeline, files: list[Path], show: Any) -> np.ndarray:
    """(n, c, h, w) uint8: what the network sees of images."""
    seen: list[np.ndarray] = []
    for images in blocks_ahead(load_grayscale, files, BATCH):
        pixels = pipeline.inputs(images)
        seen.append(pixels[:, None] if pixels.ndim == 3 else pixels)
        show(sum(map(len, seen)))
    return np.concatenate(seen)


def _scaled(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Batches in 0..1."""
    for start in range(0, len(pixels), BATCH):
        yield pixels[start : start + BATCH].astype(np.float32) / 255


def _quantize(exact: Path, path: Path, pixels: np.ndarray) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.batches = _scaled(pixels)

        def get_next(self) -> dict[str, np.ndarray] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
            block = next(self.batches, None)
            return None if block is None else {"pixels": block}

    logger.info(f"calibrating on {len(pixels)} training images")
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        quant_pre_process(exact, plain, skip_symbolic_shape=True)
        quantize_static(
            plain,
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            per_channel=True,
            reduce_range=True,  # so that sums do not overflow in processors without integer dot products (AVX2)
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
