"""A model's file, loaded without pickle, as a function of a batch. Runs in the process of `worker.py`, never in the audit's."""

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

ModelFn = Callable[[np.ndarray], np.ndarray]
LARGEST_ONNX = 2**31  # bytes of a protobuf message


@dataclass(frozen=True)
class LoadedModel:
    """A model that answers.

    Attributes:
        predict: (n, ...) float32 to (n, k) or (n,) float.
        shape: Of its input without the batch, None for what may be any number; empty where it is not known.
        outputs: Names of its outputs.
        forward: (n, ...) float32 tensor to (n, k) or (n,), through which gradients flow; None: there are none.
    """

    predict: ModelFn
    shape: list[int | None] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    forward: "Callable[[torch.Tensor], torch.Tensor] | None" = None


def load_model(kind: str, source: str, output: str) -> LoadedModel:
    """Load a model.

    Args:
        kind: onnx, torchscript, keras or callable.
        source: A file, or `module:function`.
        output: Which of several outputs; '': the first.

    Returns:
        The model.

    Raises:
        ValueError: It cannot be used; the message says why.
        ImportError: A library is missing.
    """
    return {"onnx": _onnx, "torchscript": _torchscript, "keras": _keras, "callable": _callable}[kind](source, output)


def _onnx(source: str, output: str) -> LoadedModel:
    import onnxruntime

    path = Path(source)
    if path.stat().st_size >= LARGEST_ONNX:
        raise ValueError("larger than 2 GB")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False  # freed between batches, so that the limit of memory is one of use
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])  # bytes: no other file
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise ValueError(f"it has {len(inputs)} inputs ({', '.join(each.name for each in inputs)}); one of images is expected")
    names = [each.name for each in session.get_outputs()]
    if output and output not in names:
        raise ValueError(f"it has no output {output!r}; it has {', '.join(names)}")
    kind = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(uint8)": np.uint8, "tensor(float16)": np.float16}
    if inputs[0].type not in kind:
        raise ValueError(f"its input is a {inputs[0].type}; a tensor of numbers is expected")
    name, dtype, asked = inputs[0].name, kind[inputs[0].type], output or names[0]
    shape = [side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape]
    fixed = shape[0] if shape else None

    def predict(batch: np.ndarray) -> np.ndarray:
        batch = np.rint(batch).astype(dtype) if dtype == np.uint8 else batch.astype(dtype)
        if fixed is None:
            return session.run([asked], {name: batch})[0]
        pieces = [_padded(batch[start : start + fixed], fixed) for start in range(0, len(batch), fixed)]
        return np.concatenate([session.run([asked], {name: piece})[0] for piece in pieces])[: len(batch)]

    return LoadedModel(predict, shape[1:], names)


def _padded(batch: np.ndarray, count: int) -> np.ndarray:
    return batch if len(batch) == count else np.concatenate([batch, np.repeat(batch[-1:], count - len(batch), 0)])


def _torchscript(source: str, output: str) -> LoadedModel:
    import torch

    model = torch.jit.load(source, map_location="cpu").eval()

    def predict(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return _array(model(torch.from_numpy(batch)), output)

    def forward(batch: torch.Tensor) -> torch.Tensor:
        with torch.jit.optimized_execution(False):  # so that autograd sees each operation
            return _output(model(batch), output)

    return LoadedModel(predict, forward=forward)


def _keras(source: str, output: str) -> LoadedModel:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    model = keras.saving.load_model(source, compile=False, safe_mode=True)
    shapes = model.input_shape
    if not isinstance(shapes, tuple) or (shapes and isinstance(shapes[0], (tuple, list))):
        raise ValueError("it has several inputs; one of images is expected")

    def predict(batch: np.ndarray) -> np.ndarray:
        return _array(model.predict_on_batch(batch), output)

    return LoadedModel(predict, list(shapes[1:]), forward=lambda batch: _output(model(batch, training=False), output))


def _callable(source: str, output: str) -> LoadedModel:
    module, _, name = source.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    function: Any = importlib.import_module(module)
    for part in name.split("."):
        function = getattr(function, part)
    return LoadedModel(lambda batch: _array(function(batch), output))


def _array(answer: Any, output: str) -> np.ndarray:
    """An output as an array."""
    tensor = _output(answer, output)
    return np.asarray(tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else tensor)


def _output(answer: Any, output: str) -> Any:
    """Of a dict the output that is named, of several the first."""
    if isinstance(answer, dict):
        if output and output not in answer:
            raise ValueError(f"it has no output {output!r}; it has {', '.join(map(str, answer))}")
        answer = answer[output] if output else next(iter(answer.values()))
    elif isinstance(answer, (tuple, list)) and len(answer) and hasattr(answer[0], "shape"):
        answer = answer[int(output) if output.isdecimal() else 0]
    return answer
