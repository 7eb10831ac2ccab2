"""A model that was made elsewhere, asked from here: a file through a process with limits, or an endpoint of TensorFlow Serving's
form."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NoReturn, Protocol

import numpy as np
import requests

from darkcovid.core.errors import DarkCovidError, DataError, UsageError, one_line
from darkcovid.inference.foreign import worker

Kind = Literal["onnx", "torchscript", "keras", "callable", "http"]
KINDS = {".onnx": "onnx", ".pt": "torchscript", ".pth": "torchscript", ".ts": "torchscript", ".torchscript": "torchscript",
         ".keras": "keras"}  # fmt: skip
KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "OMP_NUM_THREADS",
                    "SYSTEMROOT")  # fmt: skip
MAX_OUTPUTS = 1000
MAX_VALUES = 10**6  # pixels of one request
MAX_REPLY = 2**28
GIGABYTE = 2**30


class ForeignModel(Protocol):
    """Answers batches; a context, at whose end it is closed."""

    source: str
    shape: list[int | None]

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """(n, ...) float32 to (n, k) float64."""
        ...

    def __enter__(self) -> "ForeignModel": ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def kind_of_model(source: str) -> Kind:
    """What a model is by its name.

    Raises:
        UsageError: Something else, or a file that is not there.
    """
    if source.startswith(("http://", "https://")):
        return "http"
    suffix = Path(source).suffix.lower()
    if suffix in KINDS:
        if not Path(source).is_file():
            raise UsageError(f"--model {source}: no such file")
        return KINDS[suffix]  # type: ignore[return-value]
    module, colon, name = source.partition(":")
    if colon and all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        return "callable"
    known = f"{', '.join(KINDS)}, module:function or http://HOST/v1/models/NAME"
    if suffix in (".h5", ".hdf5", ".pkl", ".joblib", ".pt2"):
        advice = {".pt2": "export it as ONNX", ".pkl": "pickles are not loaded", ".joblib": "pickles are not loaded"}
        raise UsageError(f"--model {source}: {advice.get(suffix, 'save it as .keras')}; {known} are read")
    raise UsageError(f"--model {source}: a model is {known}")


class ProcessModel:
    """A model in a process of its own.

    Args:
        kind: Of `kind_of_model`.
        source: The file, or module:function.
        output: Which of several outputs; '': the first.
        memory_gb: That it may have.
        seconds: That it may take for each answer, and to load.

    Raises:
        DataError: The file is not a model that can be used.
        DarkCovidError: A library is missing.
    """

    def __init__(self, kind: Kind, source: str, output: str = "", memory_gb: float = 8.0, seconds: int = 600):
        self.source, self.seconds, self.memory_gb = source, seconds, memory_gb
        where = source if kind == "callable" else str(Path(source).resolve())
        self._asked = {"kind": kind, "source": where, "output": output, "memory_bytes": int(memory_gb * GIGABYTE)}
        self.start()

    def start(self) -> None:
        """Load the model into a new process; also after a failure has ended the one before.

        Raises:
            DataError: The file is not a model that can be used.
            DarkCovidError: A library is missing.
        """
        environment = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        root = str(Path(__file__).parents[3])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH", "")]))
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        self._process = subprocess.Popen(
            [sys.executable, "-m", worker.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        header, _ = self._exchange(self._asked)
        self.shape: list[int | None] = [side if isinstance(side, int) else None for side in header.get("shape", [])][:5]
        self.has_gradients = header.get("gradients") is True

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """(n, ...) float32 to (n, k) float64.

        Raises:
            DataError: It fails, takes too long or answers something else than k numbers per image.
        """
        batch = np.ascontiguousarray(batch, np.float32)
        header, body = self._exchange({"shape": list(batch.shape)}, batch.tobytes())
        return checked_answer(np.frombuffer(body, np.float64).reshape(header["shape"]), len(batch), self.source)

    def explain(
        self, batch: np.ndarray, even: np.ndarray, columns: np.ndarray, signs: np.ndarray, channels_first: bool
    ) -> tuple[np.ndarray | None, str]:
        """Where its answers come from, by gradients.

        Args:
            batch: (n, ...) float32 inputs.
            even: (1, ...) float32, an even image.
            columns: (n,) int, which score of each is explained.
            signs: (n,) 1, or -1 where the opposite of a score is.
            channels_first: Whether inputs are (n, c, h, w), not (n, h, w, c).

        Returns:
            (n, h, w) float64, not negative, and the method; or None and why there are no gradients.

        Raises:
            DataError: As `predict` does.
        """
        asked = {"columns": columns.tolist(), "signs": signs.tolist(), "channels_first": channels_first}
        both = np.ascontiguousarray(np.concatenate([batch, even]), np.float32)
        header, body = self._exchange({"shape": list(both.shape), "explain": asked}, both.tobytes())
        if "unexplained" in header:
            return None, one_line(str(header["unexplained"]))[:200]
        size = batch.shape[2:4] if channels_first else batch.shape[1:3]
        maps = np.frombuffer(body, np.float64)
        if maps.size != len(batch) * size[0] * size[1] or not np.isfinite(maps).all():
            return None, "its gradients are not of the input's size"
        return maps.reshape(len(batch), *size).clip(0), str(header.get("method"))[:40]

    def _exchange(self, header: dict[str, Any], body: bytes = b"") -> tuple[dict[str, Any], bytes]:
        deadline = time.monotonic() + self.seconds
        try:
            self._ask(worker.message(header, body), deadline)
            reply = self._reply(deadline)
        except (EOFError, BrokenPipeError, ValueError, KeyError, TypeError):
            code = self._stop()
            cause = "it was stopped, as for too much memory" if code in (-9, 137) else "its process ended"
            if code in (-11, -6):
                cause = "it crashed its process"
            raise DataError(f"{self.source}: the model cannot be used: {cause} ({self._limits()})") from None
        if "error" in reply[0]:
            self._stop()
            raise _told(self.source, reply[0])
        return reply

    def _limits(self) -> str:
        return f"it may have {self.memory_gb:g} GB and {self.seconds} s per answer: --model-memory, --model-seconds"

    def _ask(self, message: bytes, deadline: float) -> None:
        """Write a message as it is taken, until the deadline."""
        stream = self._process.stdin
        assert stream is not None
        left = memoryview(message)
        while left:
            if not select.select([], [stream], [], max(0.0, deadline - time.monotonic()))[1]:
                self._too_late()
            left = left[os.write(stream.fileno(), left[: select.PIPE_BUF]) :]  # as much as never blocks

    def _too_late(self) -> NoReturn:
        self._stop()
        raise DataError(f"{self.source}: the model gave no answer within {self.seconds} s (--model-seconds)")

    def _reply(self, deadline: float) -> tuple[dict[str, Any], bytes]:
        """A message, read as it comes, until the deadline."""
        stream = self._process.stdout
        assert stream is not None

        def exactly(count: int) -> bytes:
            if count > MAX_REPLY:
                raise ValueError("too much")
            parts, left = [], count
            while left:
                if not select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    self._too_late()
                part = os.read(stream.fileno(), min(left, 2**20))
                if not part:
                    raise EOFError
                parts.append(part)
                left -= len(part)
            return b"".join(parts)

        (length,) = worker.HEADER.unpack(exactly(worker.HEADER.size))
        if length > worker.MAX_HEADER:
            raise ValueError("too long")
        header = json.loads(exactly(length))
        return header, exactly(int(header["bytes"]))

    def _stop(self) -> int:
        try:
            self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue
        return self._process.returncode

    def __enter__(self) -> "ProcessModel":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        self._stop()


class HttpModel:
    """An endpoint of TensorFlow Serving's REST form.

    Args:
        url: `http://HOST/v1/models/NAME`, with or without `:predict`.
        seconds: That it may take for each answer.
    """

    def __init__(self, url: str, seconds: int = 600):
        self.source, self.seconds = url.removesuffix(":predict"), seconds
        self.shape: list[int | None] = []
        self._session = requests.Session()

    def about(self) -> Mapping[str, Any]:
        """What `GET /v1/models` of `darkcovid serve` says of the model; nothing of other servers."""
        listing, _, name = self.source.rpartition("/")
        try:
            models = self._session.get(listing, timeout=self.seconds).json()["models"]
            return next(model for model in models if model.get("name") == name)
        except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError, StopIteration):
            return {}

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """(n, ...) float32 to (n, k) float64.

        Raises:
            DataError: It does not answer, or something else than k numbers per image.
        """
        most = max(1, MAX_VALUES // max(1, batch[0].size))
        return np.concatenate([self._answer(batch[start : start + most]) for start in range(0, len(batch), most)])

    def _answer(self, batch: np.ndarray) -> np.ndarray:
        """Of as many images as one request holds; whole numbers are sent as such, which is shorter."""
        whole = np.rint(batch).astype(int)
        values = whole if (whole == batch).all() else batch
        try:
            response = self._session.post(f"{self.source}:predict", json={"instances": values.tolist()}, timeout=self.seconds)
            answer = response.json()
        except (requests.RequestException, ValueError) as error:
            raise DataError(f"{self.source}: no answer ({one_line(error)[:200]})") from None
        if not response.ok or not isinstance(answer, dict) or "predictions" not in answer:
            said = answer.get("error", response.reason) if isinstance(answer, dict) else response.reason
            raise DataError(f"{self.source}: answered {response.status_code} ({one_line(said)[:200]})")
        rows = answer["predictions"]
        if isinstance(rows, list) and rows and isinstance(rows[0], dict):
            rows = [next(iter(row.values())) if isinstance(row, dict) and row else None for row in rows]
        try:
            scores = np.asarray(rows, np.float64)
        except (TypeError, ValueError):
            raise DataError(f"{self.source}: its predictions are no numbers of one length") from None
        return checked_answer(scores, len(batch), self.source)

    def __enter__(self) -> "HttpModel":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._session.close()


def checked_answer(scores: np.ndarray, count: int, source: str) -> np.ndarray:
    """What a model answered as a row of scores per image.

    Args:
        scores: Of any shape.
        count: How many images it was asked about.
        source: The model, for the message.

    Returns:
        (count, k) finite float64.

    Raises:
        DataError: Something else.
    """
    scores = scores.reshape(count, -1) if scores.ndim > 2 and scores.size == count * scores.shape[1] else scores
    scores = scores[:, None] if scores.ndim == 1 and len(scores) == count else scores
    if scores.ndim != 2 or len(scores) != count or not 1 <= scores.shape[1] <= MAX_OUTPUTS:
        raise DataError(
            f"{source}: answered an array of {'x'.join(map(str, scores.shape)) or 'no dimension'} to {count} images; one row of "
            "scores per image is expected (--output names another output)"
        )
    if not np.isfinite(scores).all():
        raise DataError(f"{source}: answered numbers that are not finite; is its input normalized as --normalize says?")
    return scores


def _told(source: str, reply: Mapping[str, Any]) -> DarkCovidError:
    kind, text = str(reply.get("kind")), str(reply["error"])
    if kind == "ImportError" or kind == "ModuleNotFoundError":
        missing = str(reply.get("module") or text)
        extra = {"keras": "darkcovid[keras]", "onnxruntime": "darkcovid[export]"}.get(missing)
        return DarkCovidError(f"{source}: {missing} is needed" + (f"; install `{extra}`" if extra else f" ({text})"))
    return DataError(f"{source}: the model cannot be used: {text or kind}")
