"""The process in which a model's file is loaded and asked: with a limit of memory, few of the audit's environment's
variables, and nothing but arrays between the two."""

import json
import os
import struct
import sys
import tempfile
from typing import Any, BinaryIO

HEADER = struct.Struct("<I")
MAX_HEADER = 2**16


def message(header: dict[str, Any], body: bytes = b"") -> bytes:
    """A message.

    Args:
        header: JSON-able.
        body: Bytes of an array.

    Returns:
        The header's length, the header as JSON, and as many bytes as it says.
    """
    text = json.dumps(header | {"bytes": len(body)}).encode()
    return HEADER.pack(len(text)) + text + body


def send(stream: BinaryIO, header: dict[str, Any], body: bytes = b"") -> None:
    """Write a message.

    Args:
        stream: To the other side.
        header: JSON-able.
        body: Bytes of an array.
    """
    stream.write(message(header, body))
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Read a message.

    Raises:
        EOFError: The other side is gone.
    """
    (length,) = HEADER.unpack(_exactly(stream, HEADER.size))
    if length > MAX_HEADER:
        raise EOFError("a header of no sensible length")
    header = json.loads(_exactly(stream, length))
    return header, _exactly(stream, int(header["bytes"]))


def _exactly(stream: BinaryIO, count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise EOFError("the other side is gone")
    return content


def main() -> None:
    """Load the model that the first message names, and answer batches until the pipe closes."""
    import numpy as np

    inward, outward = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    asked, _ = receive(inward)
    tempfile.gettempdir()  # found by writing a file, which is soon not allowed; torch asks for it
    try:
        _limit(asked["memory_bytes"], may_write=asked["kind"] in ("keras", "callable"))
        from darkcovid.inference.foreign.model_files import load_model

        model = load_model(asked["kind"], asked["source"], asked["output"])
        send(outward, {"shape": model.shape, "outputs": model.outputs, "gradients": model.forward is not None})
        while True:
            header, body = receive(inward)
            batch = np.frombuffer(body, np.float32).reshape(header["shape"])
            if "explain" in header:
                send(outward, *_explained(model, batch, header["explain"]))
                continue
            answer = np.ascontiguousarray(model.predict(batch.copy()), np.float64)
            send(outward, {"shape": list(answer.shape)}, answer.tobytes())
    except EOFError:
        return
    except MemoryError:
        send(outward, {"error": "it needs more memory than it may have", "kind": "MemoryError"})
    except ImportError as error:
        send(outward, {"error": str(error)[:300], "kind": "ImportError", "module": error.name or ""})
    except BaseException as error:  # noqa: BLE001 (whatever a model raises is its failure, told to the audit)
        send(outward, {"error": " ".join(str(error).split())[:300], "kind": type(error).__name__})


def _explained(model: Any, batch: Any, asked: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Maps of all images but the last, which is even; or why there are none: a failure of these is none of the model's."""
    import numpy as np

    try:
        from darkcovid.inference.foreign.gradients import gradient_maps

        targets = np.array(asked["columns"]), np.array(asked["signs"])
        maps, method = gradient_maps(model.forward, batch[:-1].copy(), batch[-1:].copy(), *targets, asked["channels_first"])
        if maps.shape[0] != len(batch) - 1 or maps.ndim != 3 or not np.isfinite(maps).all():
            raise RuntimeError("its gradients are not finite")
    except Exception as error:  # noqa: BLE001 (whatever a model raises)
        said = (str(error).strip() or type(error).__name__).splitlines()[-1]  # of TorchScript the last line says what
        return {"unexplained": said[:200]}, b""
    return {"shape": list(maps.shape), "method": method}, np.ascontiguousarray(maps, np.float64).tobytes()


def _limit(memory_bytes: int, may_write: bool) -> None:
    """Memory of this process, and no core file and no file of its own, where the system knows limits."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {resource.RLIMIT_AS: memory_bytes, resource.RLIMIT_CORE: 0}
    if not may_write:
        limits[resource.RLIMIT_FSIZE] = 0
    for what, most in limits.items():
        resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    sys.exit(main())
