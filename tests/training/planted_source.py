"""A phantom cohort of two hospitals whose pictures look different, one of which sends most of the covid images; and a third
hospital's, whose look says the opposite. Right answers are known: the sign is in the lungs."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from darkcovid.data.phantom import phantom_manifest
from darkcovid.recipe import Phantom

CLASSES = ["covid", "no_finding"]


def bars(pixels):
    """Black along the left and the right side."""
    width = pixels.shape[1]
    pixels = pixels.copy()
    pixels[:, : width // 12] = pixels[:, -(width // 12) :] = 0
    return pixels


def bright(pixels):
    """Brighter, between bars."""
    return bars((255 * (pixels / 255.0) ** 0.6).round().astype(np.uint8))


def blurred(pixels):
    """Less sharp, brighter, between bars."""
    height, width = pixels.shape
    small = Image.fromarray(pixels).resize((width // 2, height // 2), Image.Resampling.BOX)
    return bright(np.asarray(small.resize((width, height), Image.Resampling.BILINEAR)))


def label(pixels):
    """A label beside the shoulder, between bars: nothing inside the lungs changes."""
    height, width = pixels.shape
    pixels = bars(pixels)
    pixels[: height // 10, : width // 3] = 200
    return pixels


LOOKS = {look.__name__: look for look in (bars, bright, blurred, label)}


def write_cohort(
    folder: Path,
    patients: int,
    covid_in_north: float,
    seed: int,
    signal: float = 0.6,
    look: str = "blurred",
    cache: Path | None = None,
) -> Path:
    """A manifest of phantoms: `covid_in_north` of the covid images look like the north's, as many of the others like the south's.

    Args:
        folder: Gets the images and the manifest.
        patients: Of the phantom, of all classes.
        covid_in_north: 0..1; 0.5 is no shortcut.
        seed: Of the phantom and of who is from where.
        signal: Of the phantom.
        look: Of the north's images, one of LOOKS.
        cache: Where phantoms are drawn; None: in `folder`.

    Returns:
        The manifest.
    """
    drawn = phantom_manifest(Phantom(patients=patients, image_size=64, signal=signal, seed=seed), cache or folder / "cache")
    rows = drawn.rows[drawn.rows.label.isin(CLASSES)].reset_index(drop=True)
    random = np.random.default_rng(seed)
    of_patient = {patient: random.random() for patient in sorted(set(rows.patient_id))}
    draws = rows.patient_id.map(of_patient)
    north = np.where(rows.label == "covid", draws < covid_in_north, draws >= covid_in_north)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for row, (path, there) in enumerate(zip(rows.path, north, strict=True)):
        pixels = np.asarray(Image.open(drawn.locate(path)).convert("L"))
        Image.fromarray(LOOKS[look](pixels) if there else pixels).save(folder / "images" / f"{row}.png")
    table = rows.assign(
        path=[f"images/{row}.png" for row in range(len(rows))],
        dataset=np.where(north, "north", "south"),
        patient_id=rows.patient_id + f"-{seed}",
        sha256="",
        lung_mask="",
    )
    kept = ["dataset", "path", "label", "patient_id"]
    pd.DataFrame(table[kept]).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def recipe(inside: Path, outside: Path, epochs: int) -> dict:
    """A recipe of one arm per remedy, and of none."""
    return {
        "name": "planted",
        "audit": "none",
        "data": {
            "manifest": str(inside),
            "classes": CLASSES,
            "image_size": 64,
            "augment": "flips_rotations",
            "split": {"valid": 0.2, "column": "dataset"},
            "external": [{"manifest": str(outside), "name": "outside"}],
        },
        "model": {"arch": "darkcovidnet", "head": "gap"},
        "training": {"epochs": epochs, "batch_size": 32, "lr": 3e-3, "precision": "fp32"},
        "arms": {
            "plain": {},
            "balanced": {"data.oversample": "sources"},
            "reweighted": {"training.loss.groups": "reweighted"},
            "dro": {"training.loss.groups": "dro"},
            "style": {"data.augment": "style"},
            "lung_consistency": {"training.lung_consistency": 1.0},
            "fill_bars": {"data.fill_bars": True},
            "probe_lungs_only": {
                "model": {"arch": "timm/tf_efficientnet_lite0", "weights": "imagenet", "head": "linear-probe"},
                "data": {"image_size": 128, "normalize": "pretrained"},
                "lungs": {"mode": "mask", "context_channel": False, "crop_size": 128},
            },
        },
    }
