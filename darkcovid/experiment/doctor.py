"""Is this machine fit for darkcovid? Versions, device, disk, cache, data, and a run of seconds on phantoms; what is wrong comes
with what to do about it."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from time import perf_counter

import torch
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from darkcovid.core.array_cache import is_corrupt
from darkcovid.core.cpu_threads import choose_cpu_threads
from darkcovid.core.device import get_device
from darkcovid.core.errors import DarkCovidError, one_line
from darkcovid.core.processor import matrix_features, processor_name
from darkcovid.data.manifest import read_manifest
from darkcovid.experiment.runner import RunPaths, run
from darkcovid.lungs.unet import load_segmenter
from darkcovid.recipe import load_recipe
from darkcovid.report.progress import null_progress

ENOUGH_DISK_BYTES = 5e9
EXTRAS = {
    "serve": "fastapi",
    "export": "onnxruntime",
    "spark": "pyspark",
    "ray": "ray",
    "sweep": "optuna",
    "track": "mlflow-skinny",
    "distributed": "accelerate",
    "dicom": "highdicom",
    "report": "python-docx",
}  # and a package of each
SELF_TEST = {
    "name": "self-test",
    "data": {"manifest": "phantom", "image_size": 64, "phantom": {"patients": 24, "image_size": 64}},
    "training": {"epochs": 2, "batch_size": 8},
    "audit": "none",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the diagnosis.

    Attributes:
        about: What was looked at.
        state: `ok`, `warn` or `fail`.
        words: What was seen.
        advice: What to do.
    """

    about: str
    state: str
    words: str
    advice: str = ""


def run_diagnostics(cache: Path, manifest: Path | None, data_root: str | None, self_test: bool = True) -> Iterator[Finding]:
    """Look at everything that a run needs.

    Args:
        cache: The cache folder.
        manifest: Whose images are looked for; None: none.
        data_root: Where images are looked for besides.
        self_test: Whether to train on phantoms for some seconds.

    Yields:
        Each finding, as soon as it is made.
    """
    yield libraries()
    yield extras()
    yield device()
    yield processors()
    yield from (disk("cache folder", cache), disk("working folder", Path.cwd()))
    yield check_cache(cache)
    yield _guarded("lung segmenter", _load_segmenter, "install darkcovid again")
    if manifest is not None:
        yield data(manifest, data_root)
    if self_test:
        yield _guarded("self-test", _train_on_phantoms, "see the line above; `--debug` on the failing command shows more")


def libraries() -> Finding:
    """The packages that darkcovid needs, each of a version that it takes."""
    wrong = []
    for line in requires("darkcovid") or ():
        needed = Requirement(line)
        if needed.marker and not needed.marker.evaluate({"extra": ""}):
            continue
        installed = _version(needed.name)
        if installed is None or not needed.specifier.contains(Version(installed), prereleases=True):
            wrong.append(f"{needed.name} {installed or 'is missing'} (needed: {needed.specifier})")
    if wrong:
        return Finding("libraries", "fail", "; ".join(wrong), "pip install --upgrade darkcovid, in an environment of its own")
    shown = ", ".join(f"{name} {_version(name)}" for name in ("torch", "torchvision", "fastai", "numpy"))
    return Finding("libraries", "ok", f"darkcovid {version('darkcovid')}, {shown}")


def extras() -> Finding:
    """Which optional parts are installed, and Java for Spark."""
    there = [name for name, package in EXTRAS.items() if _version(package)]
    if "spark" in there and shutil.which("java") is None:
        return Finding("extras", "warn", f"{', '.join(there)}; Spark has no Java", "install Java 17 or 21")
    missing = [name for name in EXTRAS if name not in there]
    advice = f'pip install "darkcovid[{",".join(missing)}]" adds the others' if missing else ""
    return Finding("extras", "ok", ", ".join(there) or "none", advice)


def device() -> Finding:
    """Which device training takes, in which precision."""
    compute = get_device()
    kind = compute.device.type
    threads = torch.get_num_threads()
    name = torch.cuda.get_device_name() if kind == "cuda" else f"{threads} thread{'s' * (threads != 1)}"
    text = f"{kind} ({name}), precision {compute.precision}"
    if kind == "cpu" and torch.version.cuda and shutil.which("nvidia-smi"):
        return Finding(
            "device", "warn", f"{text}; there is an NVIDIA driver, but torch sees no GPU", "check the driver's version"
        )
    if compute.precision == "fp32":
        return Finding("device", "ok", text, "without bf16 instructions training is slower")
    return Finding("device", "ok", text)


def processors() -> Finding:
    """Which processors this process may use, and how its threads wait."""
    features = ", ".join(matrix_features()) or "no vector instructions known"
    return Finding("processors", "ok", f"{processor_name()} ({features}); {choose_cpu_threads()}")


def disk(about: str, folder: Path) -> Finding:
    """Whether a folder, or the one that it will be made in, can be written and has room.

    Args:
        about: What the folder is.
        folder: Its path.

    Returns:
        `fail` where it cannot be written, `warn` below 5 GB.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        advice = "use --cache-dir, --runs-dir, or another folder"
        return Finding(about, "fail", f"{there}: cannot be written ({error.strerror})", advice)
    text = f"{folder}: {free / 1e9:.0f} GB free"
    if free < ENOUGH_DISK_BYTES:
        return Finding(about, "warn", text, "make room; runs and caches need gigabytes")
    return Finding(about, "ok", text)


def check_cache(cache: Path) -> Finding:
    """Whether the cached arrays are as they were written."""
    kept = [folder for folder in (cache / "pixels", cache / "masks") if folder.is_dir()]
    files = [path for folder in kept for path in sorted(folder.glob("*.npy"))]
    size = sum(path.stat().st_size for path in files)
    bad = [path for path in files if is_corrupt(path)]
    text = f"{len(files)} arrays, {size / 1e9:.1f} GB"
    if bad:
        advice = "nothing needs doing: they are made again when they are needed"
        return Finding("cache", "warn", f"{text}; {len(bad)} damaged, the first is {bad[0].name}", advice)
    return Finding("cache", "ok", text)


def data(manifest: Path, data_root: str | None) -> Finding:
    """Whether a manifest's images are there.

    Args:
        manifest: The CSV.
        data_root: Where images are looked for besides.

    Returns:
        `fail` where the manifest cannot be read, `warn` where images are missing.
    """
    try:
        listed = read_manifest(manifest, data_root)
    except DarkCovidError as error:
        return Finding("data", "fail", str(error), "name a manifest with --manifest PATH")
    present = sum(listed.locate(path) is not None for path in listed.rows.path)
    text = f"{manifest}: {present} of {len(listed.rows)} images found"
    if present < len(listed.rows):
        return Finding("data", "warn", text, f"darkcovid data fetch {manifest}, or --data-root DIR")
    return Finding("data", "ok", text)


def _load_segmenter() -> str:
    load_segmenter()
    return "its weights are sound"


def _train_on_phantoms() -> str:
    """Two epochs on 24 phantom patients, in a folder that is gone afterwards."""
    started = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(yaml.safe_dump(SELF_TEST), encoding="utf-8")
        comparison = run(load_recipe(path), RunPaths(Path(folder) / "runs", Path(folder) / "cache"), null_progress())
    arm = next(iter(comparison["arms"].values()))
    return f"a network trained on {arm['images']['train']} phantoms and scored in {perf_counter() - started:.1f} s"


def _guarded(about: str, work: Callable[[], str], advice: str) -> Finding:
    try:
        return Finding(about, "ok", work())
    except Exception as error:  # noqa: BLE001 (whatever is wrong is the finding)
        return Finding(about, "fail", f"{type(error).__name__}: {one_line(error)}", advice)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
