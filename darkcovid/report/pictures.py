"""Pictures of a run in its report: PNG files of the run's folder, made small enough for one page."""

import base64
import io
from pathlib import Path

from PIL import Image

from darkcovid.audits.checks import RunEvidence

PLOTS = {
    "loss": "training and validation loss by epoch",
    "accuracy": "validation accuracy by epoch",
    "confusion_matrix": "true against predicted classes",
    "roc": "ROC curve of each class",
    "precision_recall": "precision against recall of each class",
    "reliability": "confidence against the share that was right",
    "deletion": "probability of the answer as patches are hidden, by the map's order and in any order",
    "risk_coverage": "wrong answers by the share answered, of every set",
}
GALLERIES = {
    "sources": "features of images that the network was not trained on; where they part by source, a source can tell the class",
    "gradcam": "the most confident right and wrong answers of each class, under what the network looked at (Grad-CAM)",
    "occlusion": "the most confident right and wrong answers of each class, and where hiding a patch lowers it (occlusion)",
    "gradients": "the most confident right and wrong answers of each class, and what they rest on (integrated gradients)",
    "untrusted_lungs": "images whose lung mask was rejected",
}
QUALITY = 80

Picture = dict[str, str]


def galleries(run: Path, evidence: RunEvidence, left_out: tuple[str, ...] = ()) -> list[Picture]:
    """The galleries of a run's arms.

    Args:
        run: The run's folder.
        evidence: What is known of it.
        left_out: Galleries that the page shows otherwise.

    Returns:
        Those that are there.
    """
    named = [(name, plot, text) for plot, text in GALLERIES.items() if plot not in left_out for name in evidence.arms]
    pictures = [picture(run / name / "plots" / f"{plot}.png", f"{name}: {text}") for name, plot, text in named]
    maps = [(name, file) for name in evidence.arms for file in sorted((run / name).glob("*/plots/sources.png"))[:1]]
    pictures += [picture(file, f"{name}, {file.parents[1].name}: {GALLERIES['sources']}") for name, file in maps]
    return [each for each in pictures if each]


def picture(path: Path, caption: str) -> Picture | None:
    """A picture for a page, as WebP.

    Args:
        path: The PNG file.
        caption: What it shows.

    Returns:
        `data`, a URL; `alt` and `caption`. None where there is no such file, or no picture in it.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            file = io.BytesIO()
            image.convert("RGB").save(file, format="WEBP", quality=QUALITY, method=4)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    data = base64.b64encode(file.getvalue()).decode()
    return {"data": f"data:image/webp;base64,{data}", "alt": caption, "caption": caption}
