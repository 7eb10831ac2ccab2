"""A radiograph of a run, small, out of the arm's own `thumbnails.json`: no file outside the runs' folder is read."""

import base64
from pathlib import Path

from darkcovid.report.thumbnails import read_thumbnails
from darkcovid.serving.responses import HTTPError


def read_thumbnail(arm: Path, image: str) -> bytes:
    """One image.

    Args:
        arm: The arm's folder.
        image: As `predictions.csv` names it.

    Returns:
        WebP.

    Raises:
        HTTPError: 404, the arm has none of this image.
    """
    try:
        found = next(images[image] for images in read_thumbnails(arm).values() if image in images)
        return base64.b64decode(found["image"])
    except (StopIteration, ValueError, TypeError):
        raise HTTPError(404, "no thumbnail of this image") from None
