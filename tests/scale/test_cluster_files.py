"""The files for Slurm and Kubernetes: linted, valid by their schemas, and what they start are commands that we have."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from typer.main import get_command

from darkcovid.cli import app

from ..conftest import RECIPES

CLUSTER = RECIPES.parent / "docs" / "cluster"
SCRIPTS, MANIFESTS = sorted(CLUSTER.glob("*.sbatch")), sorted(CLUSTER.glob("*.yaml"))
TELL = '#!/bin/bash\nprintf "%s\\n" "$(basename "$0") $*" >> "$SAID"\n'
STUBS = {  # in place of Slurm's and Ray's commands and ours; each tells how it was called
    "darkcovid": "exit ${EXIT:-0}",
    "ray": '[[ $1 == start ]] && exec sleep 60; seq -f " 1 node_%g" "$(grep -c "^ray start" "$SAID")"',
    "scontrol": 'printf "node1\\nnode2\\n"',
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
}


def parsed(words):
    """The parameters of a command of ours, or the error that it would end with."""
    assert words[0] == "darkcovid"
    command = get_command(app).commands[words[1]]
    return command.make_context(words[1], list(words[2:])).params


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(script):
    checker = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([checker, "--enable=all", "--exclude=SC2250,SC2312", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_is_valid_by_kubernetes_own_schema_and_starts_a_command_of_ours(manifest):
    job = yaml.safe_load(manifest.read_text())
    for version in ("1.31", kubernetes_validate.latest_version()):
        kubernetes_validate.validate(job, version, strict=True)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    words = container["command"]
    if words[0] == "sh":
        words = shlex.split(words[-1].removeprefix("exec ").replace("$((JOB_COMPLETION_INDEX + 1))", "5"))
        params = parsed(words)
        assert (params["fold"], params["run_dir"]) == (job["spec"]["completions"], Path("/shared/runs/one"))
        assert f"training.folds={job['spec']['completions']}" in params["sets"]
    else:
        assert parsed(words)["run"] == Path("/shared/runs/one")
    job["spec"]["template"]["spec"]["restart"] = "Never"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.31", strict=True)


def start(script, tmp_path, **environment):
    """A batch script's exit code and the commands that it started, with stubs in place of the cluster."""
    for name, does in STUBS.items():
        (tmp_path / name).write_text(f"{TELL}{does}\n")
        (tmp_path / name).chmod(0o755)
    given = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SAID": str(tmp_path / "said"), "SLURM_CPUS_PER_TASK": "8"}
    words = ["bash", CLUSTER / script, "recipe.yaml"]
    done = subprocess.run(words, env=given | environment, capture_output=True, text=True, timeout=60)
    return done, [shlex.split(line) for line in (tmp_path / "said").read_text().splitlines()]


def test_a_task_of_the_array_fits_its_fold(tmp_path):
    done, said = start("folds.sbatch", tmp_path, SLURM_ARRAY_TASK_ID="3")
    assert done.returncode == 0, done.stderr
    (ours,) = [words for words in said if words[0] == "darkcovid"]
    params = parsed(ours)
    assert (params["fold"], list(params["sets"]), params["run_dir"]) == (3, ["training.folds=5"], Path("/shared/runs/one"))


@pytest.mark.parametrize(("command", "code"), [("run", 0), ("sweep", 1)])
def test_ray_starts_on_all_machines_before_the_command_and_its_exit_code_is_the_job_s(tmp_path, command, code):
    words = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2", "HEAD_SECONDS": "0", "COMMAND": command}
    done, said = start("ray.sbatch", tmp_path, **words, EXIT=str(code), PORT="7000")
    assert done.returncode == code, done.stderr
    params = parsed(said[-1])
    assert (params["engine"], params["runs_dir"], params["cache_dir"]) == ("ray", Path("/shared/runs"), Path("/shared/cache"))
    started = [words for words in said[:-1] if words[:2] == ["ray", "start"]]
    assert sorted("--head" in words for words in started) == [False, True]
    assert all("node1:7000" in " ".join(words) or "--port=7000" in words for words in started)
