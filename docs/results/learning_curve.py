"""How does accuracy grow with the training set? A recipe of one linear probe, trained on 1/8, 1/4, 1/2 and all of the patients.

`python docs/results/learning_curve.py MANIFEST WEIGHTS FOLDER` writes the recipe and its lists of images left out; every arm is
scored on all images, each by the fold that did not train on it:

    darkcovid run FOLDER/learning_curve.yaml
"""

import hashlib
import sys
from pathlib import Path

import pandas as pd
import yaml

SHARES = (1 / 8, 1 / 4, 1 / 2)
SEED = 41


def main(manifest: str, weights: str, folder: Path) -> None:
    rows = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    place = rows.patient_id.map(lambda patient: int(hashlib.sha256(f"{SEED} {patient}".encode()).hexdigest()[:12], 16) / 16**12)
    folder.mkdir(parents=True, exist_ok=True)
    arms: dict[str, dict] = {}
    for share in SHARES:
        name = f"patients_{share:.3f}"
        rows[place >= share].rename(columns={"path": "image"})[["image"]].to_csv(folder / f"{name}.csv", index=False)
        arms[name] = {"data": {"leave_out": str((folder / f"{name}.csv").resolve())}}
    recipe = {
        "extends": "base.yaml",
        "name": "learning_curve",
        "audit": "data",
        "data": {"manifest": str(Path(manifest).resolve()), "image_size": 128, "letterbox": True, "normalize": "pretrained"},
        "model": {"arch": "resnet18", "weights": str(Path(weights).resolve()), "grayscale": True, "head": "linear-probe"},
        "training": {"folds": 5},
        "arms": arms | {"patients_1.000": {}},
    }
    (folder / "learning_curve.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
