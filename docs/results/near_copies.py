"""Recall of near copies by alteration: python docs/results/near_copies.py FOLDER COUNT, from the root of the repository."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from darkcovid.data.manifest import read_manifest
from darkcovid.data.near_duplicates.candidates import Descriptors
from darkcovid.data.near_duplicates.search import SIZE, find_near_duplicates, pairs_between
from darkcovid.data.resize import resize_whole
from tests.data.alterations import COPIES, TOGETHER


def main(folder: Path, count: int) -> None:
    manifest = read_manifest(folder / "manifest.csv")
    files, patients = [manifest.locate(path) for path in manifest.rows.path], manifest.rows.patient_id.tolist()
    pixels = np.stack([resize_whole(Image.open(file).convert("L"), SIZE) for file in files])
    pairs = find_near_duplicates(pixels)
    strangers = [(files[a].name, files[b].name) for a, b in pairs if patients[a] != patients[b]]
    print(f"{len(files)} images, {len(pairs)} pairs, of different patients: {strangers}")
    radiographs = Descriptors.of(pixels)
    chosen = np.random.RandomState(0).choice(len(files), count, replace=False)
    for name, ways in (COPIES | {"two at once": TOGETHER}).items():
        for way, alter in ways.items():
            copies = np.stack([resize_whole(alter(Image.open(files[row]).convert("L")), SIZE) for row in chosen])
            originals = sum(chosen[copy] == row for copy, row in pairs_between(Descriptors.of(copies), radiographs))
            print(f"{name}: {way}: {originals / count:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
