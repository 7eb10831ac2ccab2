import pytest
import torch
from torch import nn

from darkcovid.training.fit import FitOptions, fit
from darkcovid.training.profiler import FitProfiler, StageTimer
from darkcovid.vision.learner import classifier_learner


class Clock:
    """Seconds that pass only where a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class TimedForward(nn.Module):
    """A forward pass takes a second in training and a quarter of one in validation; nothing else takes any time."""

    def __init__(self, network, clock):
        super().__init__()
        self.network, self.clock = network, clock

    def forward(self, x):
        self.clock.now += 1.0 if self.training else 0.25
        return self.network(x)


@pytest.fixture
def watched(tiny_recipe, cohort, pixels, cpu):
    learner = classifier_learner(tiny_recipe, cohort, pixels, cpu)
    clock = Clock()
    learner.model = TimedForward(learner.model, clock)
    watch = FitProfiler(cpu, clock)
    training = tiny_recipe.training.model_copy(update={"epochs": 2, "batch_size": 2})
    fit(
        learner,
        training,
        cpu,
        metric="accuracy",
        score=learner.objective.correct,
        options=FitOptions(callbacks=watch.callbacks),
    )
    return watch, len(learner.dls.train), len(learner.dls.valid)


def test_each_stage_ends_where_the_next_begins(cpu):
    times = iter([0, 0, 1, 3, 6, 10, 15, 16, 20, 21])
    stopwatch = StageTimer(cpu, clock=lambda: next(times))
    stopwatch.training = True
    for event in ("before_fit", "before_train", "before_batch", "after_loss", "after_backward", "after_batch"):
        getattr(stopwatch, event)()
    stopwatch.training = False
    for event in ("before_validate", "before_batch", "after_loss", "after_batch", "after_validate", "after_fit"):
        getattr(stopwatch, event)()
    assert stopwatch.seconds == {"data": 2, "forward": 3, "backward": 4, "optimizer": 5, "validation": 4, "other": 3}


def test_the_slow_stage_is_seen(watched):
    watch, steps, valid_batches = watched
    seconds = {stage: spent for stage, spent in watch.stopwatch.seconds.items() if spent}
    assert seconds == {"forward": 2 * steps * 1.0, "validation": 2 * valid_batches * 0.25}


def test_the_page_names_stages_and_operators(watched):
    watch, *_ = watched
    page = watch.page("arm: where the time went", {"finding the lungs": 4.0})
    assert "finding the lungs" in page
    assert "training: forward" in page
    assert "aten::convolution_backward" in page
    assert sum(share for _, share in watch.trace.operators) > 0


def test_a_stopwatch_can_stand_still(cpu):
    watch = FitProfiler(cpu).stopwatch
    watch.restart(running=False)
    watch.training = True
    watch.after_loss()
    assert set(watch.seconds.values()) == {0.0}


def test_an_epoch_too_short_to_record_has_no_operators(cpu):
    watch = FitProfiler(cpu)
    assert watch.trace.operators == []
    assert "costliest" not in watch.page("arm", {})
    assert torch.is_grad_enabled()
