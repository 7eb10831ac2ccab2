"""`make test-matrix`: the fast tests on the oldest and newest supported Python, fastai and torch, one environment after another.

    python tests/matrix.py [ROW ...]      # rows: 3.11-oldest 3.11-newest 3.12-newest 3.13-newest

Needs uv, and the Pythons on the PATH or under pyenv; a row whose Python is not there is reported as such. Each environment takes
7 GB and is removed again.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "matrix"
ROWS = ("3.11-oldest", "3.11-newest", "3.12-newest", "3.13-newest")
REPORTED = ("fastai", "torch", "torchvision", "timm", "numpy", "pandas", "scikit-learn", "pillow")


def interpreter(version: str) -> str | None:
    """The Python of a version, None where there is none that starts."""
    pyenv = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/python"))
    for found in [*map(str, pyenv), shutil.which(f"python{version}")]:
        if found and subprocess.run([found, "-c", "import ssl"], check=False, capture_output=True).returncode == 0:
            return found
    return None


def run_row(row: str) -> str:
    """Install and test one row; a line about it."""
    version, age = row.split("-")
    python = interpreter(version)
    if python is None:
        return f"{row}: NOT RUN, there is no Python {version} here"
    environment = FOLDER / row
    shutil.rmtree(environment, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--python", python, str(environment)], check=True)
    inside = str(environment / "bin" / "python")
    install = [*uv, "pip", "install", "-q", "--python", inside]
    resolution = "lowest-direct" if age == "oldest" else "highest"
    subprocess.run([*install, "--resolution", resolution, "--editable", "."], cwd=ROOT, check=True)
    subprocess.run([*install, "--editable", ".[test]"], cwd=ROOT, check=True)  # what is installed stays where it suffices
    versions = subprocess.run(
        [*uv, "pip", "list", "-q", "--python", inside, "--format", "freeze"], check=True, capture_output=True, text=True
    )
    named = [line for line in versions.stdout.splitlines() if line.partition("==")[0] in REPORTED]
    log = FOLDER / f"{row}.log"
    words = [
        inside,
        "-m",
        "pytest",
        "-m",
        "not slow",
        "-q",
        "-n",
        "2",
        "-o",
        "filterwarnings=default",
        "--dist",
        "loadfile",
        "-p",
        "no:cacheprovider",
    ]
    with log.open("w") as file:
        variables = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        code = subprocess.run(words, cwd=ROOT, env=variables, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    shutil.rmtree(environment)
    last = log.read_text().strip().splitlines()[-1]
    return f"{row}: {'passed' if code == 0 else 'FAILED'}: {last} ({', '.join(named)}; {log})"


if __name__ == "__main__":
    lines = []
    for name in sys.argv[1:] or ROWS:
        lines.append(run_row(name))
        print(lines[-1], flush=True)
    sys.exit(any("FAILED" in line for line in lines))
