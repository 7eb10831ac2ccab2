"""What the board knows of a sweep's trials: the best of all, also of more than it lists, and nothing of a damaged file."""

import json

import pytest

from darkcovid.serving.board.trials import MAX_TRIALS, read_trials


def write_trials(folder, metrics):
    about = {"event": "trial", "state": "complete", "values": {"lr": 0.1}, "seconds": 1.0, "plain": False, "reason": ""}
    lines = [json.dumps(about | {"number": number, "metric": metric}) for number, metric in enumerate(metrics)]
    (folder / "events.jsonl").write_text("\n".join(lines))


@pytest.mark.parametrize("best", [3, MAX_TRIALS + 400])
def test_the_best_of_all_trials_is_named_and_listed(tmp_path, best):
    write_trials(tmp_path, [float(number == best) for number in range(MAX_TRIALS + 500)])
    found = read_trials(tmp_path)
    listed = [trial["number"] for trial in found["trials"]]
    assert found["best"] == best and best in listed and listed[-1] == MAX_TRIALS + 499
    assert found["left_out"] + len(listed) == MAX_TRIALS + 500


@pytest.mark.parametrize("content", ['{"trials": 3}', '{"metric": ["a"]}', '{"trials": {"planned": "x"}}', "[1]", "{"])
def test_a_damaged_result_is_none(tmp_path, content):
    write_trials(tmp_path, [0.5])
    (tmp_path / "sweep.json").write_text(content)
    found = read_trials(tmp_path)
    assert isinstance(found["metric"], str) and found["planned"] is None and found["sentences"] == [] and found["best"] == 0
