"""Near copies of altered images, and false pairs: python docs/results/near_copies.py FOLDER COUNT [TUNED_ON ...].

From the root of the repository. Images of FOLDER whose label is covid are left out, and those that share a file, a patient or a
near copy with a folder on which thresholds were chosen.
"""

import resource
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from darkcovid.data.manifest import read_manifest
from darkcovid.data.near_duplicates.candidates import Descriptors
from darkcovid.data.near_duplicates.search import SIZE, find_near_duplicates, find_near_duplicates_between, pairs_between
from darkcovid.data.resize import resize_whole
from tests.data.alterations import COPIES, STRANGERS, TOGETHER, Alter


def main(folder: Path, count: int, tuned_on: list[Path]) -> None:
    manifest, others = read_manifest(folder / "manifest.csv"), [read_manifest(other / "manifest.csv") for other in tuned_on]
    shared = [manifest.rows[column].isin({value for other in others for value in other.rows[column]}) for column in SHARED]
    kept = manifest.rows[(manifest.rows.label != "covid") & ~np.any(shared, axis=0)]
    files = np.array([manifest.locate(path) for path in kept.path])
    patients, pixels = kept.patient_id.to_numpy(), squashed(files)
    if others:
        theirs = squashed([other.locate(path) for other in others for path in other.rows.path])
        found = find_near_duplicates_between(pixels, theirs, range(len(pixels)), range(len(theirs)))
        fresh = np.setdiff1d(np.arange(len(files)), [row for row, _ in found])
        files, patients, pixels = files[fresh], patients[fresh], pixels[fresh]
    print(f"{len(manifest.rows)} images, {len(kept)} of no covid, file or patient that is known, {len(files)} unlike known ones")
    before, started = peak(), perf_counter()
    pairs = find_near_duplicates(pixels)
    print(f"search: {perf_counter() - started:.1f} s, {peak() - before:.0f} MB more than before")
    strangers = [(files[a].name, files[b].name) for a, b in pairs if patients[a] != patients[b]]
    print(f"{len(pairs)} pairs, of different patients: {strangers}")
    radiographs = Descriptors.of(pixels)
    chosen = np.random.RandomState(0).permutation(len(files))[SEEN : SEEN + count]
    for name, ways in (COPIES | {"two at once": TOGETHER}).items():
        for way, alter in ways.items():
            found = pairs_between(Descriptors.of(squashed(files[chosen], alter)), radiographs)
            right = sum(chosen[copy] == row for copy, row in found)
            wrong = sum(patients[chosen[copy]] != patients[row] for copy, row in found)
            print(f"{name}: {way}: {right / len(chosen):.3f}, of different patients: {wrong}", flush=True)
    firsts = np.unique(patients, return_index=True)[1]
    for way, alter in STRANGERS.items():
        descriptors = Descriptors.of(squashed(files[firsts], alter))
        print(f"{len(firsts)} patients, {way}: {len(pairs_between(descriptors, descriptors))} false pairs", flush=True)
        found = pairs_between(descriptors, radiographs)
        print(f"{way}: recall {sum(firsts[copy] == row for copy, row in found) / len(firsts):.3f}", flush=True)


SHARED = ("sha256", "patient_id")
SEEN = 200  # of the shuffled images: their misses were looked at while rules were set


def squashed(files: np.ndarray | list[Path], alter: Alter = lambda image: image) -> np.ndarray:
    return np.stack([resize_whole(alter(Image.open(file).convert("L")), SIZE) for file in files])


def peak() -> float:
    """The most memory this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), [Path(other) for other in sys.argv[3:]])
