"""Runs are listed, ranked and removed by what their folders really hold."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from darkcovid.cli import run_tables
from darkcovid.core.errors import DataError, UsageError
from darkcovid.experiment import remove_runs
from darkcovid.experiment.best_runs import advice, rank_runs
from darkcovid.experiment.recipe_differences import recipe_differences
from darkcovid.experiment.remove_runs import finish_removals, parse_duration, parse_size, remove_run, select_runs
from darkcovid.experiment.run_list import find_run, list_runs, read_run, sort_runs
from darkcovid.experiment.run_notes import change_tags, set_note
from darkcovid.experiment.run_state import is_run_folder
from darkcovid.experiment.run_summary import write_run_summary
from darkcovid.recipe import Recipe

from ..arms import ARM

DAY = timedelta(days=1)


def make_run(runs, name="tiny", day=1, number=0, accuracy=0.8, patients=("p1", "p2"), state="done", summary=True, **status):
    """A run's folder as `darkcovid run` leaves it, with files of no size in place of weights."""
    folder = runs / f"{name}-202601{day:02}T120000-{number:08x}"
    (folder / "whole" / "plots").mkdir(parents=True)
    (folder / "recipe.yaml").write_text(Recipe(name=name).to_yaml())
    (folder / "environment.json").write_text('{"darkcovid": "0.1.0", "libraries": {}}')
    stated = {"state": state, "time": "2026-01-01T12:00:00+00:00", "pid": 2**22 + 1}
    (folder / "status.json").write_text(json.dumps(stated | status))
    (folder / "whole" / "weights.safetensors").write_bytes(bytes(1000))
    rows = [f"{number}.png,{patient},covid,valid" for number, patient in enumerate(patients)]
    (folder / "whole" / "split.csv").write_text("image,patient,label,side\n" + "\n".join([*rows, "t.png,t,covid,train", ""]))
    if state == "done":
        comparison = {"run_dir": str(folder), "reference_arm": "whole", "arms": {"whole": ARM | {"accuracy": accuracy}}}
        (folder / "comparison.json").write_text(json.dumps(comparison))
        if summary:
            write_run_summary(folder, comparison, "With care: nothing failed, but 1 check (a) calls for caution.")
    return folder


def test_a_finished_run_is_told_by_its_small_files(tmp_path):
    for summary in (True, False):
        folder = make_run(tmp_path, number=int(summary), accuracy=0.875, summary=summary)
        run = read_run(folder)
        assert (run.recipe, run.status, run.accuracy, run.best_arm) == ("tiny", "done", 0.875, "whole")
        assert run.started == datetime(2026, 1, 1, 12, tzinfo=UTC)
        assert run.summary.minutes == ARM["train_seconds"] / 60
        assert run.summary.arms["whole"].intervals["accuracy"] == tuple(ARM["intervals"]["accuracy"])
        assert run.size == sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        assert run.damage == ""
    assert run.summary.verdict == ""  # of a run of an earlier version


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("status.json", "{", "status.json cannot be read"),
        ("status.json", "[1]", "not a JSON mapping"),
        ("summary.json", "{}", "no 'arms'"),
        ("summary.json", '{"arms": {"whole": 3}}', "cannot be read"),
        ("comparison.json", "\x00", "comparison.json or summary.json cannot be read"),
        ("notes.json", '{"tags": 3}', "notes.json cannot be read"),
        ("environment.json", "\x00", ""),
        ("recipe.yaml", "name: !!python/object:os.system {}", "recipe.yaml cannot be read"),
        ("recipe.yaml", "name: [", "recipe.yaml cannot be read"),
    ],
)
def test_a_damaged_run_is_one_line_among_the_others(tmp_path, file, content, said):
    make_run(tmp_path, number=1)
    damaged = make_run(tmp_path, number=2, summary=file != "comparison.json")
    (damaged / file).write_bytes(content.encode())
    if file == "recipe.yaml":  # it is read for the name where the folder's does not tell
        damaged = damaged.rename(tmp_path / "renamed")
    runs = {run.name: run for run in list_runs(tmp_path)}
    assert len(runs) == 2
    assert said in runs[damaged.name].damage
    json.dumps([run.as_dict() for run in runs.values()])


def test_a_run_with_an_audit_of_its_images_is_a_run(tmp_path):
    (make_run(tmp_path) / "audit.json").write_text("{}")
    (run,) = list_runs(tmp_path)
    assert (run.kind, run.recipe, run.accuracy, run.damage) == ("run", "tiny", 0.8, "")


def test_what_is_no_run_is_no_run(tmp_path):
    run = make_run(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "recipe.yaml").write_text("name: mine\n")
    (tmp_path / "other-20260101T120000-00000000").mkdir()
    (tmp_path / "other-20260101T120000-00000000" / "thesis.tex").write_text("")
    (tmp_path / "file-20260101T120000-00000000").write_text("")
    (tmp_path / "linked-20260101T120000-00000000").symlink_to(run, target_is_directory=True)
    (tmp_path / "named-by-hand").mkdir()
    for name in ("recipe.yaml", "environment.json", "status.json"):
        shutil.copy(run / name, tmp_path / "named-by-hand" / name)
    assert {found.name for found in list_runs(tmp_path)} == {run.name, "named-by-hand"}
    assert read_run(tmp_path / "named-by-hand").recipe == "tiny"
    with pytest.raises(UsageError, match="a link"):
        find_run(Path("linked-20260101T120000-00000000"), tmp_path)
    with pytest.raises(UsageError, match="not the folder of a run"):
        find_run(Path("mine"), tmp_path)
    with pytest.raises(UsageError, match=f"did you mean '{run.name}'"):
        find_run(Path(run.name[:-1] + "x"), tmp_path)
    with pytest.raises(UsageError, match="no folder of runs"):
        list_runs(tmp_path / "absent")


def test_no_link_or_pipe_is_read(tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_text('{"state": "done", "reason": "secret"}')
    runs = tmp_path / "runs"
    linked, piped = make_run(runs, number=1, state="failed"), make_run(runs, number=2, state="failed")
    for run in (linked, piped):
        (run / "status.json").unlink()
    (linked / "status.json").symlink_to(secret)
    os.mkfifo(piped / "status.json")
    (linked / "whole" / "elsewhere").symlink_to("/", target_is_directory=True)
    began = time.monotonic()
    assert all("not a regular file" in run.damage and "secret" not in run.reason for run in list_runs(runs))
    assert read_run(linked).size < 100_000
    assert time.monotonic() - began < 5


def sleeper():
    return subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"], stdout=subprocess.PIPE)


def test_a_killed_run_is_told_from_a_running_one(tmp_path):
    process = sleeper()
    process.stdout.readline()
    now = datetime.now(UTC).isoformat()
    run = make_run(tmp_path, state="running", pid=process.pid, time=now)
    reused = make_run(tmp_path, number=1, state="running", pid=process.pid, time="2020-01-01T12:00:00+00:00")
    assert read_run(run).status == "running"
    assert read_run(reused).status == "interrupted"
    with pytest.raises(UsageError, match="it is running; stop it first"):
        remove_run(read_run(run))
    process.kill()
    process.wait()
    assert read_run(run).status == "interrupted"
    (run / "status.json").unlink()
    assert read_run(run).status == "running"  # it may be starting
    os.utime(run, (0, 0))
    assert read_run(run).status == "interrupted"


def test_a_run_of_which_only_a_fit_is_alive_is_running(tmp_path):
    run = make_run(tmp_path, state="running")
    (run / "whole" / "fold1").mkdir()
    code = "import filelock, sys, time\nwith filelock.FileLock(sys.argv[1]):\n    print(flush=True)\n    time.sleep(60)"
    lock = run / "whole" / "fold1" / ".lock"
    process = subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE)
    process.stdout.readline()
    assert read_run(run).status == "running"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_run(run).status == "interrupted"


def test_a_run_of_another_machine_is_running_while_it_writes(tmp_path):
    run = make_run(tmp_path, state="running", host="another", pid=os.getpid())
    assert read_run(run).status == "running"
    for path in (run / "status.json", run):
        os.utime(path, (0, 0))
    assert read_run(run).status == "interrupted"


def test_removing_takes_the_run_and_nothing_else(tmp_path):
    kept, outside = make_run(tmp_path / "runs", number=1), tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("")
    gone = make_run(tmp_path / "runs", number=2)
    (gone / "whole" / "link").symlink_to(outside, target_is_directory=True)
    remove_run(read_run(gone))
    assert [run.path for run in list_runs(tmp_path / "runs")] == [kept]
    assert (outside / "precious").exists() and not list((tmp_path / "runs").glob(".*"))


def test_a_killed_removal_leaves_no_half_run(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    monkeypatch.setattr(remove_runs.shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        remove_run(read_run(run))
    monkeypatch.undo()
    assert list_runs(tmp_path) == [] and not run.exists()
    (tmp_path / ".removed-mine").mkdir()
    assert finish_removals(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == [".removed-mine"]


def test_the_current_folder_is_not_removed(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    monkeypatch.chdir(run / "whole")
    with pytest.raises(UsageError, match="current folder"):
        remove_run(read_run(run))
    assert run.exists()


def test_pruning_chooses_what_meets_every_condition(tmp_path):
    old, new = make_run(tmp_path, day=1), make_run(tmp_path, day=20)
    failed = make_run(tmp_path, day=2, state="failed")
    make_run(tmp_path, day=1, number=9, state="running", pid=os.getpid(), time=datetime.now(UTC).isoformat())
    (new / "whole" / "big").write_bytes(bytes(100_000))
    change_tags(failed, ["keep"])
    now = datetime(2026, 1, 25, tzinfo=UTC)

    def names(**conditions):
        return {run.path for run in select_runs(list_runs(tmp_path), now=now, **conditions)}

    assert names(older_than=10 * DAY) == {old, failed}
    assert names(larger_than=50_000) == {new}
    assert names(older_than=10 * DAY, larger_than=50_000) == set()
    assert names(statuses=["failed"]) == {failed}
    assert names(older_than=10 * DAY, keep_tags=["keep"]) == {old}
    assert names(tags=["keep"]) == {failed}
    assert names() == {old, new, failed}  # never the running one


@pytest.mark.parametrize(("text", "hours"), [("12h", 12), ("30d", 720), ("2w", 336), ("1.5d", 36)])
def test_ages(text, hours):
    assert parse_duration(text, "--older-than") == timedelta(hours=hours)


@pytest.mark.parametrize(("text", "size"), [("5GB", 5 * 10**9), ("500 MB", 5 * 10**8), ("10", 10), ("1.5k", 1500)])
def test_sizes(text, size):
    assert parse_size(text, "--larger-than") == size


@pytest.mark.parametrize("text", ["", "d", "-3d", "3", "3y", "1e9d", "99999999999d"])
def test_what_is_no_age(text):
    with pytest.raises(UsageError, match="write it as 12h"):
        parse_duration(text, "--older-than")


def test_only_runs_scored_on_the_same_patients_are_ranked_together(tmp_path):
    for number, accuracy in enumerate((0.7, 0.9, 0.8)):
        make_run(tmp_path, number=number, accuracy=accuracy, summary=number != 1)  # also of an earlier version
    make_run(tmp_path, number=7, accuracy=0.99, patients=("p1", "p3"))
    same, other = rank_runs(list_runs(tmp_path), "accuracy")
    assert [ranked.value for ranked in same.arms] == [0.9, 0.8, 0.7]
    assert [ranked.value for ranked in other.arms] == [0.99]
    assert (same.scored.images, same.scored.patients, same.scored.set) == (2, 2, "valid")
    said = " ".join(advice([same, other], "accuracy"))
    assert "cannot be compared" in said and "chance had 3 tries" in said
    assert [ranked.value for ranked in rank_runs(list_runs(tmp_path), "brier")[0].arms] == [0.2] * 3
    with pytest.raises(UsageError, match="did you mean 'roc_auc'"):
        rank_runs(list_runs(tmp_path), "rocauc")


def test_of_losses_and_costs_the_least_is_the_best(tmp_path):
    for number, seconds in enumerate((60.0, 30.0)):
        folder = make_run(tmp_path, number=number, summary=False)
        comparison = json.loads((folder / "comparison.json").read_text())
        comparison["arms"]["whole"] |= {"train_seconds": seconds, "brier": seconds / 100}
        (folder / "comparison.json").write_text(json.dumps(comparison))
    for metric in ("train_seconds", "brier"):
        values = [ranked.value for ranked in rank_runs(list_runs(tmp_path), metric)[0].arms]
        assert values == sorted(values)


def test_an_arm_whose_patients_are_not_known_is_ranked_with_no_other(tmp_path):
    for number in range(2):
        folder = make_run(tmp_path, number=number, summary=False)
        (folder / "whole" / "split.csv").unlink()
    assert [len(ranking.arms) for ranking in rank_runs(list_runs(tmp_path), "accuracy")] == [1, 1]


def test_sorting_puts_what_is_not_known_last(tmp_path):
    make_run(tmp_path, number=1, accuracy=0.7)
    make_run(tmp_path, number=2, accuracy=0.9)
    make_run(tmp_path, number=3, state="failed")
    runs = list_runs(tmp_path)
    assert [run.accuracy for run in sort_runs(runs, "accuracy")] == [0.9, 0.7, None]
    assert [run.accuracy for run in sort_runs(runs, "accuracy", reverse=True)] == [0.7, 0.9, None]


def test_notes_are_kept_beside_what_the_run_wrote(tmp_path):
    run = make_run(tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    change_tags(run, ["good", "paper"])
    set_note(run, "line\nline")
    assert change_tags(run, ["good"], ["paper"]).tags == ("good",)
    assert read_run(run).notes.note == "line\nline"
    assert all(path.read_bytes() == content for path, content in before.items())
    for tag in ("", "two words", "x" * 41, "a,b", "\x1b[2J"):
        with pytest.raises(UsageError, match="use one word"):
            change_tags(run, [tag])
    with pytest.raises(UsageError, match="no tag 'absent'; it has: good"):
        change_tags(run, [], ["absent"])
    (run / "notes.json").write_text("[")
    with pytest.raises(DataError, match="remove it to start again"):
        set_note(run, "")


def test_recipes_differ_key_by_key(tmp_path):
    first, second = make_run(tmp_path, number=1), make_run(tmp_path, number=2)
    assert recipe_differences(first, second) == {}
    plain = Recipe(name="tiny").model_dump(mode="json")
    plain["training"]["epochs"] = 7
    plain["arms"] = {"crop": {"lungs": {"margin": 0.1}}}
    (second / "recipe.yaml").write_text(json.dumps(plain))
    assert recipe_differences(first, second) == {
        "training.epochs": [100, 7],
        "arms": [{}, None],
        "arms.crop.lungs.margin": [None, 0.1],
    }


def test_an_empty_folder_with_a_runs_name_can_be_removed(tmp_path):
    (tmp_path / "killed-20260101T120000-00000000").mkdir()
    os.utime(tmp_path / "killed-20260101T120000-00000000", (0, 0))
    (run,) = list_runs(tmp_path)
    remove_run(run)
    assert not is_run_folder(run.path)


def test_a_thousand_runs_are_listed_within_two_seconds(tmp_path):
    first = make_run(tmp_path)
    for number in range(20):
        (first / "whole" / "plots" / f"{number}.png").write_bytes(b"")
    for number in range(1, 1000):
        folder = tmp_path / f"tiny-20260102T120000-{number:08x}"
        shutil.copytree(first, folder, copy_function=os.link)
    began = time.process_time()
    runs = list_runs(tmp_path)
    rankings = rank_runs(runs, "accuracy")
    assert time.process_time() - began < 2
    assert len(runs) == len(rankings[0].arms) == 1000


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_figure_is_left_out_of_a_narrow_terminal(tmp_path, monkeypatch, capsys, width):
    run = make_run(tmp_path, "a_recipe_of_a_long_name", number=1, accuracy=0.9)
    change_tags(run, ["paper"])
    make_run(tmp_path, number=2, state="failed")
    monkeypatch.setattr(run_tables, "wide_console", lambda: Console(width=width, force_terminal=True, color_system=None))
    run_tables.show_list(list_runs(tmp_path), tmp_path)
    printed = capsys.readouterr().out
    for text in (run.name, "paper", "0.900 (0.800 to 0.950)", "  1.5  ", "with care", "failed", "done"):
        assert printed.count(text) == 1, text
    if width >= 80:
        assert max(map(len, printed.splitlines())) <= width


def test_the_commands(darkcovid, tmp_path):
    good = make_run(tmp_path / "runs", number=1, accuracy=0.9)
    make_run(tmp_path / "runs", number=2, accuracy=0.7)
    (listed, _) = json.loads(darkcovid("runs", "list", "--sort", "accuracy", "--json").stdout)
    assert (listed["name"], listed["arms"]["whole"]["value"], listed["status"]) == (good.name, 0.9, "done")
    assert "with care" in darkcovid("runs", "list").stdout
    assert darkcovid("runs", "tag", good.name, "mine").stdout == "mine\n"
    assert darkcovid("runs", "note", good.name, "for\x1b[2J the paper").stdout == "for?[2J the paper\n"
    assert [run["name"] for run in json.loads(darkcovid("runs", "list", "--tag", "mine", "--json").stdout)] == [good.name]
    assert "note: for?[2J the paper" in darkcovid("runs", "show", good).stdout
    assert darkcovid("runs", "diff", good.name, good.name).stdout == "the same recipe\n"
    assert json.loads(darkcovid("runs", "best", "--by", "accuracy", "--json").stdout)["rankings"][0]["arms"][0]["value"] == 0.9
    assert "add --yes" in darkcovid("runs", "rm", good.name, code=2).stderr
    assert "say what goes" in darkcovid("runs", "prune", code=2).stderr
    planned = json.loads(darkcovid("runs", "prune", "--older-than", "1h", "--keep-tag", "mine", "--dry-run", "--json").stdout)
    assert len(planned["would_remove"]) == 1 and good.exists()
    assert json.loads(darkcovid("runs", "rm", good.name, "--yes", "--json").stdout)["removed"] == [f"runs/{good.name}"]
    assert not good.exists()
