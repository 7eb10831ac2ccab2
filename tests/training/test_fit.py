from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from darkcovid.core.device import Device, get_device
from darkcovid.core.distributed import Distributed
from darkcovid.core.errors import DarkCovidError, DataError, UsageError
from darkcovid.data.cohort import load_classification_cohort
from darkcovid.data.resize import cached_whole_images
from darkcovid.lungs.crop import LungRegions
from darkcovid.recipe import Loss, Phantom, Training
from darkcovid.training.callbacks import EpochTimer, MetricsRecorder, NanGuard
from darkcovid.training.checkpoint import load_checkpoint
from darkcovid.training.fit import FitOptions, fit
from darkcovid.training.group_losses import GroupLoss
from darkcovid.training.history import History
from darkcovid.vision.learner import classifier_learner


class Stop(Exception):
    pass


def stop_after_two(history):
    if len(history.rows) == 2:
        raise Stop


def agree(logits, labels):
    return logits.argmax(1) == labels


def numbers(history):
    """What must be reproducible: everything but the seconds."""
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in history.rows]


def test_a_killed_fit_resumes_and_ends_with_the_same_numbers(tiny_recipe, cohort, pixels, cpu, tmp_path):
    whole = classifier_learner(tiny_recipe, cohort, pixels, cpu).fit_recipe()

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stop):
        classifier_learner(tiny_recipe, cohort, pixels, cpu).fit_recipe(FitOptions(checkpoint=path, on_epoch=stop_after_two))
    resumed = classifier_learner(tiny_recipe, cohort, pixels, cpu).fit_recipe(FitOptions(checkpoint=path, resume=True))
    assert numbers(resumed.fitted.history) == numbers(whole.fitted.history)
    assert resumed.fitted.history.lrs == whole.fitted.history.lrs
    np.testing.assert_array_equal(resumed.probabilities, whole.probabilities)
    for mine, theirs in zip(
        resumed.fitted.learner.model.state_dict().values(), whole.fitted.learner.model.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("change", [{"groups": "dro"}, {"groups": "reweighted"}])
def test_losses_of_groups_and_draws_by_source_resume_and_change_the_fit(tiny_recipe, cohort, pixels, cpu, tmp_path, change):
    loss = tiny_recipe.training.loss.model_copy(update=change)
    data = tiny_recipe.data.model_copy(update={"oversample": "sources"})
    recipe = tiny_recipe.model_copy(update={"training": tiny_recipe.training.model_copy(update={"loss": loss}), "data": data})
    rows = cohort.rows.assign(dataset=np.where(np.arange(len(cohort)) % 3 == 0, "north", "south"))
    cohort = replace(cohort, rows=rows)
    plain = classifier_learner(tiny_recipe, cohort, pixels, cpu).fit_recipe()
    whole = classifier_learner(recipe, cohort, pixels, cpu).fit_recipe()
    assert not np.array_equal(plain.probabilities, whole.probabilities)

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stop):
        classifier_learner(recipe, cohort, pixels, cpu).fit_recipe(FitOptions(checkpoint=path, on_epoch=stop_after_two))
    resumed = classifier_learner(recipe, cohort, pixels, cpu).fit_recipe(FitOptions(checkpoint=path, resume=True))
    assert numbers(resumed.fitted.history) == numbers(whole.fitted.history)
    np.testing.assert_array_equal(resumed.probabilities, whole.probabilities)
    learner = classifier_learner(recipe, cohort, pixels, cpu)
    learner.fit_one_cycle(1, 1e-3)  # fastai's methods train by the same loss
    (callback,) = [callback for callback in learner.cbs if isinstance(callback, GroupLoss)]
    assert callback.kind == change["groups"]


def test_batches_with_other_outsides_resume_and_change_the_fit(tiny_recipe, cohort, pixels, cpu, tmp_path):
    recipe = tiny_recipe.model_copy(update={"training": tiny_recipe.training.model_copy(update={"lung_consistency": 1.0})})
    areas = np.zeros(pixels.shape, np.uint8)
    areas[..., 10:50, 10:50] = 1
    lungs = LungRegions(areas, np.arange(len(cohort)) % 5 > 0)
    plain = classifier_learner(tiny_recipe, cohort, pixels, cpu).fit_recipe()
    whole = classifier_learner(recipe, cohort, pixels, cpu, lungs).fit_recipe()
    assert not np.array_equal(plain.probabilities, whole.probabilities)

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stop):
        classifier_learner(recipe, cohort, pixels, cpu, lungs).fit_recipe(FitOptions(checkpoint=path, on_epoch=stop_after_two))
    resumed = classifier_learner(recipe, cohort, pixels, cpu, lungs).fit_recipe(FitOptions(checkpoint=path, resume=True))
    assert numbers(resumed.fitted.history) == numbers(whole.fitted.history)
    np.testing.assert_array_equal(resumed.probabilities, whole.probabilities)
    with pytest.raises(UsageError, match="lungs are not known"):
        classifier_learner(recipe, cohort, pixels, cpu)


def test_the_same_seed_gives_the_same_fit_and_another_seed_another(tiny_recipe, cohort, pixels, cpu):
    short = tiny_recipe.model_copy(update={"training": tiny_recipe.training.model_copy(update={"epochs": 1})})
    other = short.model_copy(update={"training": short.training.model_copy(update={"seed": 1})})
    first, again, different = (classifier_learner(recipe, cohort, pixels, cpu).fit_recipe() for recipe in (short, short, other))
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    assert not np.array_equal(first.probabilities, different.probabilities)


def test_one_cycle_rises_to_the_peak_and_falls_to_almost_nothing(tiny_recipe, cohort, pixels, cpu):
    """Smith 2018 as fastai does it: a cosine from lr/25 to lr over a quarter of the steps, then one to lr/1e5."""
    lrs = classifier_learner(tiny_recipe, cohort, pixels, cpu).fit_recipe().fitted.history.lrs
    steps = (~cohort.valid).sum() // 8 * 3

    def cosine(start, end, share):
        return start + (1 - np.cos(np.pi * share)) / 2 * (end - start)

    done = np.arange(steps) / steps
    rising, falling = cosine(3e-3 / 25, 3e-3, done / 0.25), cosine(3e-3, 3e-3 / 1e5, (done - 0.25) / 0.75)
    np.testing.assert_allclose(lrs, np.where(done < 0.25, rising, falling), rtol=1e-6)


def test_a_constant_schedule_is_constant(tiny_recipe, cohort, pixels, cpu):
    training = tiny_recipe.training.model_copy(update={"schedule": "constant", "epochs": 1})
    history = (
        classifier_learner(tiny_recipe.model_copy(update={"training": training}), cohort, pixels, cpu).fit_recipe().fitted.history
    )
    assert set(history.lrs) == {3e-3}


def test_recorded_losses_and_accuracy_are_those_of_the_validation_side(tiny_recipe, cohort, pixels, cpu):
    result = classifier_learner(tiny_recipe, cohort, pixels, cpu).fit_recipe()
    row = result.fitted.history.rows[-1]
    labels, probabilities = cohort.labels[cohort.valid], result.probabilities[cohort.valid]
    assert row["accuracy"] == pytest.approx((probabilities.argmax(1) == labels).mean())
    assert row["valid_loss"] == pytest.approx(-np.log(probabilities[np.arange(len(labels)), labels]).mean(), rel=1e-3)


@pytest.mark.slow
def test_the_network_learns_the_phantoms_lung_sign(tiny_recipe, phantom_data, cache_dir, cpu):
    many = Phantom(patients=90, image_size=64, signal=1.0)
    recipe = tiny_recipe.model_copy(
        update={
            "data": phantom_data.model_copy(update={"phantom": many}),
            "training": tiny_recipe.training.model_copy(update={"epochs": 15}),
        }
    )
    cohort = load_classification_cohort(recipe.data, cache_dir)
    pixels = cached_whole_images(cohort.files, cohort.sha256, (64, 64), cache_dir).array
    rows = classifier_learner(recipe, cohort, pixels, cpu).fit_recipe().fitted.history.rows
    assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]
    assert rows[-1]["accuracy"] > 0.7


def test_a_loss_that_is_no_number_stops_the_fit_with_advice(tiny_recipe, cohort, pixels, cpu):
    learner = classifier_learner(tiny_recipe, cohort, pixels, cpu)
    correct = learner.objective.correct
    with torch.no_grad():
        next(learner.model.parameters()).fill_(float("nan"))
    with pytest.raises(DarkCovidError, match=r"^the training loss became nan in epoch 1, step 1 of [^\n]*$"):
        fit(learner, tiny_recipe.training, cpu, metric="accuracy", score=correct)


def test_all_processes_stop_when_one_saw_a_loss_that_is_no_number(cpu, monkeypatch):
    """The sum of all processes' counts is 1 in each of them; the one with finite losses names no step of its own."""
    monkeypatch.setattr(Distributed, "all_reduce", lambda self, tensor: torch.ones_like(tensor))
    for losses, message in (
        ([1.0, float("nan")], "became nan in epoch 1, step 2 of 2"),
        ([1.0, 1.0], "of another process became"),
    ):
        guard = NanGuard(History("accuracy", lrs=[0.1, 0.1]), replace(cpu, distributed=Distributed(0, 2)))
        guard.learn = SimpleNamespace(training=True, dls=SimpleNamespace(train=None))
        guard.before_train()
        for loss in losses:
            guard.learn.loss = torch.tensor(loss)
            guard.after_batch()
        with pytest.raises(DarkCovidError, match=message):
            guard.after_train()


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_a_damaged_or_foreign_checkpoint_is_refused(tiny_recipe, cohort, pixels, cpu, tmp_path, content):
    path = tmp_path / "c.safetensors"
    learner = classifier_learner(tiny_recipe, cohort, pixels, cpu)
    learner.create_opt()
    if content is None:
        from safetensors.torch import save_file

        save_file({"model.x": torch.ones(1)}, path, metadata={"darkcovid": "{}"})
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match="not a usable checkpoint"):
        load_checkpoint(path, learner)


def test_seconds_are_booked_where_they_were_spent(cpu):
    """A clock that ticks only when told: 2 s waiting for each of two batches, 3 s computing each, 1 s after them."""
    now = [0.0]
    history = History("accuracy")
    recorder, timer = MetricsRecorder(history, cpu, agree), EpochTimer(history, cpu, clock=lambda: now[0])

    class Learner:
        training, epoch, yb, loss = True, 0, (torch.zeros(4),), torch.tensor(1.5)
        pred, opt = torch.zeros(4, 2), type("Opt", (), {"hypers": [{"lr": 0.1}]})

    def side(batches):
        for _ in range(batches):
            now[0] += 2
            timer.before_batch()
            now[0] += 3
            if not Learner.training:
                Learner.yb = (torch.zeros(4, dtype=torch.long),)
            recorder.after_pred()
            recorder.after_batch()
            timer.after_batch()

    recorder.learn = timer.learn = Learner
    for callback in (recorder, timer):
        callback.before_train()
    side(2)
    now[0] += 1
    for callback in (recorder, timer):
        callback.after_train()
    Learner.training = False
    for callback in (recorder, timer):
        callback.before_validate()
    side(1)
    for callback in (recorder, timer):
        callback.after_validate()
    row = history.rows[0]
    assert (row["data_seconds"], row["step_seconds"], row["valid_seconds"], row["seconds"]) == (4, 7, 5, 16)
    assert (row["train_loss"], row["accuracy"], row["train_images"]) == (1.5, 1.0, 8)


def test_auto_takes_what_is_there_and_what_is_not_there_is_refused():
    assert get_device("cpu", "fp32") == Device(torch.device("cpu"), "fp32")
    assert get_device().precision in ("fp32", "bf16")
    if not torch.cuda.is_available():
        assert get_device().device.type != "cuda"
        with pytest.raises(UsageError, match=r"training\.device: no cuda device here"):
            get_device("cuda")


def test_bf16_trains_too(tiny_recipe, cohort, pixels):
    training = Training(epochs=1, batch_size=8, precision="bf16", device="cpu")
    compute = get_device("cpu", "bf16")
    result = classifier_learner(tiny_recipe.model_copy(update={"training": training}), cohort, pixels, compute).fit_recipe()
    assert np.isfinite(result.probabilities).all()
    assert result.probabilities.sum(1) == pytest.approx(1, abs=1e-5)


def test_the_validation_loss_is_that_of_the_whole_set_whatever_the_batch_size(tiny_recipe, cohort, pixels, cpu):
    training = tiny_recipe.training.model_copy(update={"epochs": 1, "loss": Loss(class_weights="balanced"), "batch_size": 5})
    result = classifier_learner(tiny_recipe.model_copy(update={"training": training}), cohort, pixels, cpu).fit_recipe()
    counts = np.bincount(cohort.labels[cohort.train])
    weights = (1 / counts)[cohort.labels[cohort.valid]]
    likely = result.probabilities[cohort.valid][np.arange(cohort.valid.sum()), cohort.labels[cohort.valid]]
    assert result.fitted.history.rows[-1]["valid_loss"] == pytest.approx(-np.average(np.log(likely), weights=weights), rel=1e-4)
