"""A synthetic cohort with known truth: drawn radiographs, exact lung masks, patients, and a sign in the lungs.

Each patient has its own build and its own ribs, and each image its own tissue, so that no two are near copies of one another
(`darkcovid.data.near_duplicates.search`), while real radiographs of one person in one pose sometimes are.

Deterministic from its settings. It exists to test what the toolkit claims; it is used only when asked for by
name (`manifest: phantom`), never in place of missing data.
"""

import hashlib
import json
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter

from darkcovid.core.io import save_png, write_text
from darkcovid.core.slow_progress import slow_progress
from darkcovid.data.manifest import Manifest, read_manifest
from darkcovid.data.resize import mask_to_image
from darkcovid.recipe import Phantom

DRAWING_VERSION = 4
CLASSES = ("covid", "no_finding", "pneumonia")
PNEUMONIAS = tuple(f"pneumonia_{cause}" for cause in ("viral", "bacterial", "bacterial", "viral"))  # as often in each hospital
TISSUE = ((0.010, 0.04), (0.025, 0.04), (0.060, 0.03))  # sizes of grains, of a side, and their spread, of white


def phantom_manifest(phantom: Phantom, cache_dir: Path) -> Manifest:
    """The phantom cohort, drawn once for each setting and read back like any other manifest.

    Args:
        phantom: The recipe's section.
        cache_dir: Where it is drawn.

    Returns:
        The manifest.
    """
    settings = json.dumps([DRAWING_VERSION, phantom.model_dump(mode="json")], sort_keys=True)
    folder = cache_dir / "phantom" / hashlib.sha256(settings.encode()).hexdigest()[:16]
    manifest = folder / "manifest.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock"):
        if not manifest.is_file():
            _draw_cohort(phantom, folder)
    return read_manifest(manifest)


def _draw_cohort(phantom: Phantom, folder: Path) -> None:
    rows = []
    for patient in slow_progress("drawing phantoms", range(phantom.patients), phantom.patients):
        label = CLASSES[patient % len(CLASSES)]
        random = np.random.RandomState([phantom.seed, patient])
        anatomy = draw_anatomy(random)
        covid_house = "A" if label == "covid" else "B"  # a planted shortcut is a hospital's marker; without one they mix
        hospital = covid_house if phantom.shortcut else "AB"[patient // len(CLASSES) % 2]
        for visit in range(random.randint(1, 4)):
            pixels, lungs = draw_radiograph(anatomy, label, phantom, random)
            name = f"{patient:05d}-{visit}.png"
            save_png(Image.fromarray(pixels), folder / "images" / name)
            save_png(mask_to_image(lungs), folder / "lung_masks" / name)
            rows.append(_row(name, patient, label, hospital, phantom.image_size, folder / "images" / name))
    write_text(folder / "manifest.csv", pd.DataFrame(rows).to_csv(index=False))


def _row(name: str, patient: int, label: str, hospital: str, size: int, file: Path) -> dict[str, str]:
    pixels = file.read_bytes()
    return {
        "dataset": "phantom",
        "path": f"images/{name}",
        "label": label,
        "etiology": PNEUMONIAS[patient // len(CLASSES) % len(PNEUMONIAS)] if label == "pneumonia" else label,
        "patient_id": f"phantom-{patient}",
        "view": "PA",
        "lung_mask": f"lung_masks/{name}",
        "width": str(size),
        "height": str(size),
        "bytes": str(len(pixels)),
        "sha256": hashlib.sha256(pixels).hexdigest(),
        "source": f"phantom hospital {hospital}",
    }


def draw_anatomy(random: np.random.RandomState) -> dict[str, float]:
    """One patient's build.

    Args:
        random: Where numbers are drawn from.

    Returns:
        Lengths in units of half the image's side; `ribs` in radians per unit; `bend` and `slope` of a rib in units down per unit
        across (squared, and plain); `smaller`, the share by which the left lung is narrower; gray levels in 0..1.
    """
    return {
        "lung_width": random.uniform(0.30, 0.38),
        "lung_height": random.uniform(0.62, 0.78),
        "apart": random.uniform(0.38, 0.46),
        "down": random.uniform(-0.06, 0.06),
        "smaller": random.uniform(0.0, 0.2),
        "heart": random.uniform(0.22, 0.32),
        "heart_across": random.uniform(0.04, 0.20),
        "heart_down": random.uniform(0.16, 0.34),
        "ribs": random.uniform(20, 34),
        "bend": random.uniform(0.2, 0.9),
        "slope": random.uniform(-0.2, 0.4),
        "body": random.uniform(0.85, 1.05),
        "air": random.uniform(0.20, 0.34),
    }


def draw_radiograph(
    anatomy: dict[str, float], label: str, phantom: Phantom, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """One image of a patient.

    Args:
        anatomy: As `draw_anatomy` gives it.
        label: One of CLASSES.
        phantom: The recipe's section.
        random: Where numbers are drawn from.

    Returns:
        Pixels (S, S) uint8 and the exact lung mask (S, S) bool, S = `phantom.image_size`.
    """
    size = phantom.image_size
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    tilt, dx, dy = random.uniform(-0.06, 0.06), random.uniform(-0.06, 0.06), random.uniform(-0.06, 0.06)
    x, y = (x - dx) + tilt * (y - dy), (y - dy) - tilt * (x - dx)

    right, left = _lung(x, y, anatomy, -1), _lung(x, y, anatomy, 1)
    lungs = right | left
    sharp = size / 256
    soft = gaussian_filter(lungs.astype(float), 2 * sharp)
    body = 1 / (1 + np.exp(((np.abs(x) / anatomy["body"]) ** 3 + np.clip(-y - 0.75, 0, None) * 2 - 0.95) * 14))
    heart = np.exp(-((((x - anatomy["heart_across"]) / anatomy["heart"]) ** 2 + ((y - anatomy["heart_down"]) / 0.34) ** 2) ** 3))
    spine = np.exp(-((x / 0.11) ** 4))
    along = y + anatomy["bend"] * x**2 + anatomy["slope"] * np.abs(x)
    ribs = np.maximum(0, np.sin(along * anatomy["ribs"] + random.uniform(0, 6))) ** 2 * body

    pixels = 0.62 * body - (0.62 - anatomy["air"]) * soft + 0.30 * heart * body + 0.16 * spine * body + 0.07 * ribs
    pixels += _tissue(size, random) * body
    pixels += phantom.signal * _lesion_map(label, x, y, right, left, anatomy, random) * soft
    pixels = gaussian_filter(pixels, 0.8 * sharp) + random.normal(0, 0.02, pixels.shape)
    pixels = random.uniform(0.85, 1.1) * pixels + random.uniform(-0.03, 0.05)
    if label == "covid" and random.uniform() < phantom.shortcut:
        corner = slice(round(0.03 * size), round(0.08 * size))
        pixels[corner, corner] = 1.0
    return (np.clip(pixels, 0, 1) * 255).astype(np.uint8), lungs


def _tissue(size: int, random: np.random.RandomState) -> np.ndarray:
    """Cloudy noise of several grain sizes, (S, S), of mean about 0: vessels and soft parts of one image."""
    cloud = np.zeros((size, size))
    for grain, spread in TISSUE:
        noise = gaussian_filter(random.normal(size=cloud.shape), grain * size, mode="wrap")
        cloud += spread * noise / noise.std()
    return cloud


def _lung(x: np.ndarray, y: np.ndarray, anatomy: dict[str, float], side: int) -> np.ndarray:
    """A rounded lung field, narrow at its apex, cut by the dome of the diaphragm below."""
    height = (y - anatomy["down"]) / anatomy["lung_height"]
    width = anatomy["lung_width"] * (1 - anatomy["smaller"] * (side > 0)) * (1 - 0.30 * np.clip(-height, 0, 1))
    across = (x - side * anatomy["apart"] * (1 - 0.18 * np.clip(-height, 0, 1))) / width
    dome = 0.86 - 0.22 * np.exp(-((across * 1.2) ** 2)) - (0.06 if side < 0 else 0.0)
    return (np.abs(across) ** 2.6 + np.abs(height) ** 2.6 < 1) & (height < dome)


def _lesion_map(
    label: str,
    x: np.ndarray,
    y: np.ndarray,
    right: np.ndarray,
    left: np.ndarray,
    anatomy: dict[str, float],
    random: np.random.RandomState,
) -> np.ndarray:
    """The lung sign of a class, (S, S) in 0..1: patchy shadows low and outside in both lungs (covid), one dense
    patch in one lung (pneumonia), nothing (no_finding)."""
    shadow = np.zeros_like(x)
    if label == "covid":
        for side in (-1, 1):
            for _ in range(random.randint(2, 5)):
                middle = side * (anatomy["apart"] + random.uniform(0.04, 0.20)), random.uniform(-0.05, 0.40)
                shadow = np.maximum(shadow, 0.45 * _gaussian_blob(x, y, middle, random.uniform(0.08, 0.15)))
    elif label == "pneumonia":
        side = random.choice([-1, 1])
        middle = side * (anatomy["apart"] + random.uniform(-0.10, 0.05)), random.uniform(-0.25, 0.30)
        shadow = 0.60 * _gaussian_blob(x, y, middle, random.uniform(0.16, 0.24)) * (right if side < 0 else left)
    return shadow


def _gaussian_blob(x: np.ndarray, y: np.ndarray, middle: tuple[float, float], radius: float) -> np.ndarray:
    return np.exp(-(((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / radius**2))
