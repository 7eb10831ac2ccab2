"""No container engine runs the tests: what can be checked without one is hadolint's rules, the syntax and that commands exist."""

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml
from typer.main import get_command

from darkcovid.cli import app

from ..conftest import RECIPES

ROOT = RECIPES.parent
INSTRUCTIONS = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD"}


def instructions():
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]


def is_a_command_of_ours(words):
    assert words[0] in get_command(app).commands
    context = get_command(app).commands[words[0]].make_context(words[0], list(words[1:]))
    return context.params["host"] == "0.0.0.0"


def test_the_dockerfile_copies_what_is_there_and_runs_our_command():
    found = instructions()
    assert {name for name, _ in found} <= INSTRUCTIONS and found[0][0] == "FROM"
    for name, rest in found:
        if name == "COPY":
            assert all((ROOT / source).exists() for source in rest.split()[:-1])
        if name in ("CMD", "ENTRYPOINT"):
            json.loads(rest)
    assert is_a_command_of_ours(json.loads(dict(found)["CMD"]))
    assert dict(found)["USER"] == re.search(r"useradd .*--uid (\d+)", " ".join(rest for _, rest in found))[1]


def test_hadolint_has_nothing_to_say():
    done = subprocess.run([Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_compose_file_has_a_service_for_cpu_and_for_gpu():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert set(services) == {"cpu", "gpu"}
    for name, service in services.items():
        assert service["profiles"] == [name]
        assert is_a_command_of_ours(service["command"])
        assert service["ports"] == ["127.0.0.1:8501:8501"]
    assert services["gpu"]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
