"""What a run says of its cohort before it trains, and how long it will go on."""

from dataclasses import replace

import pytest
from rich.console import Console

from darkcovid.report.progress import Pace, Progress, epoch_line, short_line
from darkcovid.training.history import History


def test_what_is_odd_about_a_cohort_is_said_first(cohort):
    manifest = replace(cohort.manifest, merged_patients=(("P1", "p1"), ("03", "3")))
    odd = replace(cohort, manifest=manifest, excluded_by_label={"flu": 3, "": 2})
    console = Console(record=True, width=200)
    Progress(console).cohort(odd)
    text = console.export_text()
    assert "patient ids: 2 are spelled in several ways, such as P1 and p1; each is one patient" in text
    assert "excluded, being of no class: 5 images (3 flu, 2 without a label)" in text
    plain = Console(record=True, width=200)
    Progress(plain).cohort(cohort)
    assert "patient ids" not in plain.export_text()


def row(epoch, seconds):
    return {"epoch": epoch, "train_loss": 0.5, "valid_loss": 0.25, "accuracy": 0.75, "seconds": seconds}


EPOCHS = {  # seconds of each epoch, and between epochs
    "steady": ([10.0] * 30, 0.0),
    "first slow": ([60.0] + [10.0] * 29, 0.0),
    "one hiccup": ([30.0] + [10.0] * 9 + [40.0] + [10.0] * 19, 0.0),
    "frozen first": ([4.0] + [10.0] * 29, 0.0),
    "noisy": ([20.0] + [10.0 + (-1) ** epoch for epoch in range(29)], 0.0),
    "large checkpoints": ([12.0] + [2.0] * 29, 3.0),
}


@pytest.mark.parametrize("name", EPOCHS)
def test_from_the_second_epoch_on_the_time_left_is_right_within_a_fifth(name):
    seconds, between = EPOCHS[name]
    now, history = 100.0, History("accuracy")
    pace = Pace(lambda: now)
    for epoch, taken in enumerate(seconds, 1):
        now += taken
        history.rows.append(row(epoch, taken))
        said = pace.seconds_left(history, len(seconds))
        now += between
        left = sum(seconds[epoch:]) + between * len(seconds[epoch:])
        hiccup_ahead = max(seconds[epoch:], default=0) > 3 * seconds[epoch - 1]
        if 2 <= epoch < len(seconds) and not hiccup_ahead:
            assert said == pytest.approx(left, rel=0.2), epoch
    assert said == 0


def test_after_a_resumed_epoch_the_time_left_is_known_at_once():
    history = History("accuracy", [row(epoch, 7.0) for epoch in range(1, 6)])
    assert Pace(lambda: 0.0).seconds_left(history, 10) == 35


def test_after_the_last_epoch_it_says_what_is_done_then():
    history = History("accuracy", [row(1, 7.0), row(2, 7.0)])
    assert epoch_line(history, 3, 65.0).endswith("7.0 s  1 min 05 s left")
    assert epoch_line(history, 2, 0.0).endswith("now predicting")
    assert short_line(history, 2, 0.0) == "now predicting  loss 0.500/0.250  accuracy 0.750"
