"""How often are image faults found, and how often where there are none? By radiographs that did not set the measures' bounds.

python docs/results/image_quality.py ../shared/data
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter, ImageOps

from darkcovid.core.device import get_device
from darkcovid.lungs.image_quality import measure_quality
from darkcovid.lungs.unet import load_segmenter

COLLECTIONS = ("ozturk512", "ieee512", "cxnet512", "kermany320")
TUNING, CHECKED = 150, 100
ALTERED = {
    "as it is": lambda image: image,
    "mirrored": ImageOps.mirror,
    "inverted": ImageOps.invert,
    "rotated by 90": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "rotated by 180": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "rotated by 270": lambda image: image.transpose(Image.Transpose.ROTATE_270),
    "blurred, sigma 1 % of the long side": lambda image: image.filter(ImageFilter.GaussianBlur(0.01 * max(image.size))),
    "blurred, sigma 2 % of the long side": lambda image: image.filter(ImageFilter.GaussianBlur(0.02 * max(image.size))),
}


def samples(data: Path) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Of each collection frontal images that set no bound, and all lateral ones."""
    tuned, drawn, chosen = np.random.default_rng(1), np.random.default_rng(5), {}
    for name in COLLECTIONS:
        rows = pd.read_csv(data / name / "manifest.csv", dtype=str, keep_default_na=False)
        rows["file"] = [str(data / name / path) for path in rows.path]
        frontal, lateral = rows[rows["view"] != "L"], rows[rows["view"] == "L"]
        tuning = frontal.iloc[tuned.permutation(len(frontal))[:TUNING]]
        others = frontal[~frontal.file.isin(tuning.file)]
        chosen[name] = others.iloc[drawn.permutation(len(others))[:CHECKED]], lateral
    return chosen


def main(data: Path) -> None:
    """Print a line per collection and alteration."""
    segmenter, compute = load_segmenter(None), get_device("cpu", "fp32")
    with tempfile.TemporaryDirectory() as folder:
        for name, (frontal, lateral) in samples(data).items():
            for alteration, alter in ALTERED.items():
                files = []
                for number, path in enumerate(frontal.file):
                    files.append(Path(folder, f"{number}.png"))
                    alter(Image.open(path).convert("L")).save(files[-1])
                _show(name, alteration, files, segmenter, compute)
            if len(lateral):
                _show(name, "lateral, the view not told", [Path(path) for path in lateral.file], segmenter, compute)


def _show(name, alteration, files, segmenter, compute) -> None:
    flags = measure_quality(files, [""] * len(files), segmenter, compute)
    counts = Counter("|".join(of_image) or "good" for of_image in flags)
    print(name, alteration, len(files), dict(counts.most_common()), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
