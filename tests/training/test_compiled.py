"""A compiled fit sees and learns what an eager one does, and leaves an eager model."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
from fastai.callback.core import Callback
from torch import nn
from torch._inductor.runtime.cache_dir_utils import cache_dir

from darkcovid.recipe import Optimizer
from darkcovid.training.compiled import use_cache_of_this_processor
from darkcovid.training.fit import FitOptions
from darkcovid.vision import learner as learners
from darkcovid.vision.learner import classifier_learner


class Steps(Callback):
    """Keeps each training step's images and loss."""

    order = 5

    def __init__(self):
        self.images, self.losses = [], []

    def before_batch(self):
        if self.training:
            self.images.append(self.xb[0].detach().clone())

    def after_loss(self):
        if self.training:
            self.losses.append(float(self.loss.detach()))


def smooth_model(*_):
    """A convolutional network whose gradient is continuous. DarkCovidNet's is not: a pre-activation of 3e-7 that rounds to the
    other sign changes the gradient of every layer below its LeakyReLU by 1 %, and Adam's first steps are of size lr however
    small the gradient; so its compiled and eager losses differ by up to 1e-2 on some processors, both equally right."""
    blocks = [nn.Sequential(nn.Conv2d(ni, nf, 3, 2, 1), nn.BatchNorm2d(nf), nn.SiLU()) for ni, nf in ((1, 8), (8, 16))]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * 16, 3))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler here")
def test_a_compiled_fit_learns_the_same(tiny_recipe, cohort, pixels, cpu, monkeypatch):
    monkeypatch.setattr(learners, "build_model", smooth_model)
    training = tiny_recipe.training.model_copy(update={"epochs": 2, "lr": 1e-2, "optimizer": Optimizer(name="sgd")})
    steps, rows, layers = {}, {}, {}
    for compiled in (False, True):
        recipe = tiny_recipe.model_copy(update={"training": training.model_copy(update={"compile": compiled})})
        steps[compiled] = Steps()
        fitted = classifier_learner(recipe, cohort, pixels, cpu).fit_recipe(FitOptions(callbacks=[steps[compiled]])).fitted
        rows[compiled], layers[compiled] = fitted.history.rows, list(fitted.learner.model.state_dict())
        assert fitted.learner.model._compiled_call_impl is None
    eager, compiled = steps[False], steps[True]
    assert layers[True] == layers[False]
    assert len(compiled.images) == len(eager.images) > 1
    assert all(image.equal(other) for image, other in zip(compiled.images, eager.images, strict=True))
    assert compiled.losses == pytest.approx(eager.losses, abs=1e-5)
    assert [row["valid_loss"] for row in rows[True]] == pytest.approx([row["valid_loss"] for row in rows[False]], abs=1e-5)
    assert rows[True][1]["train_loss"] < rows[True][0]["train_loss"] - 1e-2, "nothing was learned"


@pytest.mark.slow
def test_each_instruction_set_has_its_own_cache(monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/kept")
    use_cache_of_this_processor()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/kept"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    use_cache_of_this_processor()
    own = os.environ["TORCHINDUCTOR_CACHE_DIR"]
    assert own.endswith(torch.backends.cpu.get_cpu_capability().lower())
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    torchs_own = cache_dir()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == torchs_own != own  # asking is setting
    use_cache_of_this_processor()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == cache_dir() == own
    code = (
        "import os; from darkcovid.training.compiled import use_cache_of_this_processor as use; use(); "
        "print(os.environ['TORCHINDUCTOR_CACHE_DIR'])"
    )
    environment = {key: text for key, text in os.environ.items() if key != "TORCHINDUCTOR_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"ATEN_CPU_CAPABILITY": "default"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().endswith("-default")
