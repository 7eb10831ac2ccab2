"""Old command lines still work, and `--help` shows today's."""

import pytest

from darkcovid.cli.deprecated import COMMANDS, OPTIONS, current_spelling

from ..commands import error_of
from ..conftest import RECIPES


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("run a.yaml --data phantom --into d", "run a.yaml --phantom --run-dir d"),
        ("run a.yaml --data=phantom --into=d", "run a.yaml --phantom --run-dir=d"),
        ("run a.yaml --set data.root=--into --debug", "--debug run a.yaml --set data.root=--into"),
        ("data preview a.yaml --out p.png --each-class 3", "data preview a.yaml --output p.png --per-class 3"),
        ("data fetch m.csv --to d", "data fetch m.csv --output d"),
        ("segment folder --out d -v", "-v lungs segment folder --output d"),
        ("lungs evaluate --manifest m --out d", "lungs evaluate --manifest m --output d"),
        ("predict r i.png --csv c --explain d", "predict r i.png --output c --gradcam-dir d"),
        ("lr-find a.yaml --plot p", "lr-find a.yaml --output p"),
        ("collect r --json --quiet", "--quiet aggregate r --json"),
        ("--json run a.yaml", "run a.yaml --json"),
        ("-q --json data describe m.csv", "-q data describe m.csv --json"),
        ("models", "models list"),
        ("models --json", "models list --json"),
        ("models show vgg16", "models show vgg16"),
        ("models --help", "models --help"),
        ("--help", "--help"),
        ("", ""),
        ("predict r -- --debug --out", "predict r -- --debug --out"),
        ("compare r --out d", "compare r --out d"),  # never was one
    ],
)
def test_an_old_command_line_is_todays(old, new):
    assert current_spelling(old.split()) == new.split()


COMMAND_LINES = [*OPTIONS, *COMMANDS.values()]


@pytest.mark.parametrize("command", COMMAND_LINES, ids=" ".join)
def test_help_shows_the_new_spellings_only(darkcovid, command):
    text = darkcovid(*command, "--help").stdout
    for old, new in OPTIONS.get(command, {}).items():
        assert new in text and f"{old} " not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "r", "--format", "zip"], "--format: 'zip' is not one of 'onnx', 'torch'; see darkcovid export --help"),
        (["run"], "Missing argument 'RECIPE'; see darkcovid run --help"),
        (["run", "a.yaml", "--jobs", "x"], "--jobs: "),
        (["rum"], "No such command 'rum'"),
        (["run", "a.yaml", "--data", "ozturk"], "No such option"),
        (["--quiet", "--verbose", "models"], "--quiet and --verbose exclude each other"),
    ],
)
def test_a_wrong_command_line_is_one_line(darkcovid, words, message):
    done = darkcovid(*words, code=2)
    assert error_of(done).removeprefix("error: ").lower().startswith(message.lower().split(";")[0])
    assert len(done.stderr.splitlines()) == 1


def test_quiet_leaves_results_and_errors(darkcovid):
    sets = [
        "--phantom",
        "--set",
        "data.phantom.patients=12",
        "--set",
        "data.phantom.image_size=64",
        "--set",
        "data.image_size=64",
    ]
    words = ["data", "prepare", RECIPES / "base.yaml", *sets]
    loud, quiet = darkcovid(*words), darkcovid(*words, "--quiet")
    assert "blocks" in loud.stderr and quiet.stderr == "" and "images are ready" in quiet.stdout
    assert "no such recipe" in error_of(darkcovid("run", "none.yaml", "--quiet", code=2))


def test_verbose_names_the_logger(darkcovid):
    done = darkcovid("--verbose", "data", "prepare", RECIPES / "base.yaml", "--phantom", "--set", "data.phantom.patients=12")
    assert "INFO darkcovid: " in done.stderr


def test_debug_shows_where(darkcovid_raw):
    assert "Traceback" in darkcovid_raw("run", "none.yaml", "--debug").stderr
