"""Answers as DICOM: Grad-CAM, lungs and report of a radiograph, as `predict --dicom-dir` writes them, in the body of a response.

What comes back is one report (`Accept: application/dicom`), or every object (`multipart/related; type="application/dicom"`, as
WADO-RS sends several; PS3.18, 8.7.3). Nothing is stored, and the objects name the radiograph's own patient.
"""

import io
import re
import secrets
from collections.abc import Sequence
from email.message import Message
from functools import cache
from typing import Literal

from fastapi.responses import Response
from PIL import Image

from darkcovid.core.errors import DataError, one_line
from darkcovid.inference.predictor import InferencePipeline, Prediction
from darkcovid.serving.responses import HTTPError

DICOM = "application/dicom"
DicomAnswer = Literal["report", "all"]


def asked_for_dicom(accept: str) -> DicomAnswer | None:
    """Which DICOM answer a client accepts.

    Args:
        accept: The header (RFC 9110, 12.5.1). The type of the highest weight counts, of several the first that is named, and
            `*/*` and `application/*` after all that are.

    Returns:
        `report`, `all`, or None where it wants JSON, or names none of these.
    """
    wanted: list[tuple[float, bool, DicomAnswer | None]] = []
    for each in accept.split(","):
        header = Message()
        header["Content-Type"] = each.strip()
        kind, weight = header.get_content_type(), _weight(header.get_param("q", "1"))
        if not each.strip() or not weight:
            continue
        if kind == DICOM:
            wanted.append((weight, True, "report"))
        elif kind == "multipart/related" and str(header.get_param("type", "")).lower() == DICOM:
            wanted.append((weight, True, "all"))
        elif kind in ("application/json", "application/*", "*/*"):
            wanted.append((weight, "*" not in kind, None))
    return max(wanted, key=lambda each: each[:2])[2] if wanted else None


def _weight(text: object) -> float:
    """A weight in 0..1; 1 where it is none."""
    return float(str(text)) if re.fullmatch(r"0(\.\d{0,3})?|1(\.0{0,3})?", str(text), re.ASCII) else 1.0


def check_dicom_installed() -> None:
    """Refuse where the extra is missing. Raises HTTPError: 406."""
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise HTTPError(406, "DICOM answers need highdicom on the server: `darkcovid[dicom]`") from None


def check_one_image(answer: DicomAnswer, images: Sequence[Image.Image]) -> None:
    """Refuse a single report of several images, before they are explained.

    Args:
        answer: What is asked for.
        images: (n) decoded.

    Raises:
        HTTPError: 400, there are several.
    """
    if answer == "report" and len(images) > 1:
        raise HTTPError(400, 'one DICOM answers one image; accept `multipart/related; type="application/dicom"` for several')


def dicom_response(
    answer: DicomAnswer,
    predictor: InferencePipeline,
    contents: Sequence[bytes],
    images: Sequence[Image.Image],
    predictions: Sequence[Prediction],
) -> Response:
    """The results of DICOM files.

    Args:
        answer: What is asked for.
        predictor: What made the predictions.
        contents: (n) files.
        images: (n) of mode L.
        predictions: (n) with heatmaps.

    Returns:
        One file, or several as multipart.

    Raises:
        HTTPError: 400, a file is no DICOM or belongs to no study.
    """
    from darkcovid.inference.dicom_results.write import REPORT

    files = []
    for number, (content, image, prediction) in enumerate(zip(contents, images, predictions, strict=True), 1):
        made = _objects(predictor, content, image, prediction, f"file {number}")
        files += [_file_of(made[REPORT])] if answer == "report" else [_file_of(each) for each in made.values()]
    if answer == "report":
        return Response(files[0], media_type=DICOM)
    boundary = secrets.token_hex(16)
    parts = [f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode() + file + b"\r\n" for file in files]
    body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
    return Response(body, headers={"Content-Type": f'multipart/related; type="{DICOM}"; boundary={boundary}'})


def _objects(predictor: InferencePipeline, content: bytes, image: Image.Image, prediction: Prediction, name: str):
    from darkcovid.inference.dicom_results.source import read_source
    from darkcovid.inference.dicom_results.write import result_objects

    try:
        return result_objects(read_source(io.BytesIO(content), None, name), image, prediction, *_identity(predictor))[0]
    except DataError as error:
        raise HTTPError(400, f"no DICOM results: {error}") from None
    except (ValueError, TypeError, AttributeError, KeyError) as error:  # what highdicom says of values that it cannot take
        raise HTTPError(400, f"{name}: no DICOM results: its tags cannot be used ({one_line(error)[:160]})") from None


@cache
def _identity(predictor: InferencePipeline):
    """The model, whose weights are hashed once, and the segmenter's version."""
    from darkcovid.inference.dicom_results.write import model_identity

    return model_identity(predictor.model), predictor.segmenter.version


def _file_of(dataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
