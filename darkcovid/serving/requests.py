"""What did the client send? A request's body becomes gray images, or an error that says what is wrong with it.

The forms are TensorFlow Serving's (`instances` or `inputs`, as nested arrays or base64), a multipart upload, and a bare image.
"""

import base64
import binascii
import io
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import orjson
from PIL import Image
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from darkcovid.core.errors import DataError
from darkcovid.data.decode import load_grayscale_bytes
from darkcovid.data.dicom import is_dicom
from darkcovid.serving.responses import HTTPError

MAX_IMAGES = 64
MAX_PIXELS_PER_IMAGE, MAX_PIXELS_PER_REQUEST = 50_000_000, 200_000_000
SIDE_LIMITS = (16, 8192)
SIGNATURES = (None, "", "serving_default")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class PredictRequest:
    """The images of one request.

    Attributes:
        images: Mode L.
        columns: Whether `inputs` was used, so that the answer is called `outputs`.
        contents: The files, where they were sent as such and are to be kept.
        checksums: SHA-256 of each file, '' of an image that was sent as an array.
    """

    images: list[Image.Image]
    columns: bool = False
    contents: Sequence[bytes] = ()
    checksums: Sequence[str] = ()


class InMemory(MultiPartParser):
    """A form whose files never touch the disk."""

    spool_max_size = 1 << 40


async def read_form(headers: Headers, body: bytes) -> list[tuple[str, bytes]]:
    """Every file in a multipart body.

    Args:
        headers: The request's, which name the boundary.
        body: The whole body.

    Returns:
        A name ("file 1", "file 2" ...) and the bytes of each file.

    Raises:
        HTTPError: 400, the body is no form, or has no file.
    """

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    try:
        form = await InMemory(headers, stream(), max_files=MAX_IMAGES, max_fields=16).parse()
    except (MultiPartException, KeyError, ValueError, AssertionError) as error:
        raise HTTPError(400, f"the multipart body cannot be read ({error})") from None
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files:
        raise HTTPError(400, "the form has no file; send one image or more in fields called `file`")
    return [(f"file {number}", await file.read()) for number, file in enumerate(files, 1)]


def decode_files(files: Sequence[tuple[str, bytes]], keep: bool = False) -> PredictRequest:
    """Images out of named bytes of PNG, JPEG or DICOM files.

    Args:
        files: A name for error messages, and the file's bytes.
        keep: Whether the bytes are kept, which must then be of DICOM files.

    Returns:
        The images, and the bytes where they are kept.

    Raises:
        HTTPError: 400, a file is no image or too small; 413, too many pixels together.
    """
    for name, content in files if keep else ():
        if not is_dicom(io.BytesIO(content)):
            raise HTTPError(400, f"{name}: a DICOM answer belongs to the study of a DICOM file, which this is not")
    images = _decode_within_budget(_decode_image(content, name) for name, content in files)
    contents = [content for _, content in files]
    return PredictRequest(images, contents=contents if keep else (), checksums=[_checksum(content) for content in contents])


def decode_json(body: bytes) -> PredictRequest:
    """Images out of a JSON body in TensorFlow Serving's form.

    Args:
        body: `{"instances": [...]}` or `{"inputs": ...}`, with images as nested arrays or base64.

    Raises:
        HTTPError: 400, the body has another form; 413, too many images or pixels.
    """
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HTTPError(400, f"the body is neither JSON nor an image ({error})") from None
    if not isinstance(payload, dict):
        raise HTTPError(400, 'the body must be an object such as {"instances": [...]}')
    if payload.get("signature_name") not in SIGNATURES:
        raise HTTPError(400, f"signature_name: there is only serving_default, not {str(payload['signature_name'])[:40]!r}")
    given = [key for key in ("instances", "inputs") if key in payload]
    if len(given) != 1:
        raise HTTPError(400, "give either `instances` or `inputs`")
    values, columns = payload[given[0]], given == ["inputs"]
    if columns and isinstance(values, dict):
        values = _single_value(values, "inputs")
    if not isinstance(values, list) or not values:
        raise HTTPError(400, f"{given[0]}: a list of images, and not an empty one")
    if len(values) > MAX_IMAGES:
        raise HTTPError(413, f"{given[0]}: {len(values)} images, more than the {MAX_IMAGES} allowed in one request")
    instances = [_unwrap_instance(value, f"{given[0]}[{place}]") for place, value in enumerate(values)]
    return PredictRequest(_instances(instances, given[0]), columns, checksums=[_checksum(value) for value in instances])


def _checksum(value: Any) -> str:
    return sha256(value).hexdigest() if isinstance(value, bytes) else ""


def _instances(values: list[Any], name: str) -> list[Image.Image]:
    arrays = [value if isinstance(value, bytes) else _array(value, f"{name}[{place}]") for place, value in enumerate(values)]
    brightest = max((float(array.max()) for array in arrays if not isinstance(array, bytes)), default=0.0)
    scale = 255.0 if brightest <= 1 else 1.0
    return _decode_within_budget(
        _decode_image(value, f"{name}[{place}]") if isinstance(value, bytes) else _gray(value * scale)
        for place, value in enumerate(arrays)
    )


def _decode_within_budget(images: Iterable[Image.Image]) -> list[Image.Image]:
    """The images as they are decoded, until they are too large together: small files can hold large images."""
    decoded, pixel_count = [], 0
    for image in images:
        decoded.append(image)
        pixel_count += image.width * image.height
        if pixel_count > MAX_PIXELS_PER_REQUEST:
            raise HTTPError(413, f"the images have more than {MAX_PIXELS_PER_REQUEST:,} pixels together; send fewer at once")
    return decoded


def _unwrap_instance(value: Any, where: str) -> Any:
    """An instance without the name of its input; base64 as bytes."""
    if isinstance(value, dict) and "b64" not in value:
        value = _single_value(value, where)
    if not isinstance(value, dict):
        return value
    text = value["b64"]
    if not isinstance(text, str) or len(value) > 1:
        raise HTTPError(400, f'{where}: base64 is given as {{"b64": "..."}}')
    text = text.replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise HTTPError(400, f"{where}: b64 is not base64") from None


def _single_value(named: dict[str, Any], where: str) -> Any:
    if len(named) != 1:
        raise HTTPError(400, f"{where}: one input has one value; name it or leave the name out")
    return next(iter(named.values()))


def _array(value: Any, where: str) -> np.ndarray:
    """(h, w) or (h, w, 3) float32, 0..255 or 0..1."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise HTTPError(400, f"{where}: its rows differ in length; an image is [h, w, 3], [h, w, 1] or [h, w]") from None
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)) or array.dtype.kind not in "iuf":
        shape = list(array.shape)[:4]
        raise HTTPError(400, f"{where}: shape {shape}; an image is numbers of shape [h, w, 3], [h, w, 1] or [h, w]")
    if not all(SIDE_LIMITS[0] <= side <= SIDE_LIMITS[1] for side in array.shape[:2]):
        raise HTTPError(
            400, f"{where}: {array.shape[0]}x{array.shape[1]} pixels; sides may have {SIDE_LIMITS[0]} to {SIDE_LIMITS[1]}"
        )
    if not np.isfinite(array).all():
        raise HTTPError(400, f"{where}: a value is not a finite number")
    if array.min() < 0 or array.max() > 255:
        raise HTTPError(
            400, f"{where}: values reach from {array.min():g} to {array.max():g}; send pixels, 0..255 or 0..1, not standardized"
        )
    array = array.astype(np.float32)
    return array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array


def _gray(array: np.ndarray) -> Image.Image:
    gray = array if array.ndim == 2 else array @ LUMA
    return Image.fromarray(gray.round().clip(0, 255).astype(np.uint8))


def _decode_image(content: bytes, name: str) -> Image.Image:
    try:
        image = load_grayscale_bytes(content, name, MAX_PIXELS_PER_IMAGE)
    except DataError as error:
        raise HTTPError(400, str(error)) from None
    if min(image.size) < SIDE_LIMITS[0]:
        raise HTTPError(400, f"{name}: {image.width}x{image.height} pixels; sides need at least {SIDE_LIMITS[0]}")
    return image
