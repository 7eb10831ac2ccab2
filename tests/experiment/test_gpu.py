"""Whole runs on a GPU: what only a device of its own memory can show. Skipped, visibly, where there is none."""

import numpy as np
import pytest
import torch

from darkcovid.core.errors import Interrupted
from darkcovid.data.decode import load_grayscale
from darkcovid.experiment.benchmark import bench
from darkcovid.experiment.runner import run
from darkcovid.inference.predictor import load_pipeline
from darkcovid.recipe import load_recipe

from ..conftest import RECIPES
from .test_runner import SETS, Watched

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]

ON_GPU = [*SETS, "training.device=cuda"]
WAYS = {
    "averages": ["training.ema_decay=0.9", "training.checkpoint=best", "training.tta_views=2", "training.monitor=f1"],
    "mixed": [
        "training.mixup_alpha=0.4",
        "training.clip_grad_norm=1.0",
        "training.loss.class_weights=balanced",
        "data.oversample=true",
    ],
    "altered": [
        "data.augment={burned_in_text: 0.5, illumination: 0.5, random_erasing: 0.5, rotate: 10}",
        "training.loss.focal_gamma=2.0",
    ],
    "each image": ["data.normalize=per_image", "training.cutmix_alpha=1.0"],
    "whitened": ["data.normalize=zca", "data.augment=none"],
    "sgd": ["training.optimizer={name: sgd}", "training.compile=true"],
    "graphs": ["training.cuda_graphs=true"],
    "graphs, fine-tuned": [
        "training.cuda_graphs=true",
        "model.arch=resnet18",
        "training.schedule=fine_tune",
        "training.freeze_epochs=1",
    ],
    "frozen": ["model.arch=resnet18", "training.freeze_backbone=true", "data.augment=none", "training.epochs=4"],
    "fp32": ["training.precision=fp32", "model.arch=basic_cnn_1", "data.image_size=180"],
    "sigmoid": ["model.activation=sigmoid", "data.classes=[covid, no_finding]"],
}


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    """The main job's run with all of its audits, and its comparison."""
    from darkcovid.experiment.runner import RunPaths

    folders = RunPaths(tmp_path_factory.mktemp("gpu"), tmp_path_factory.mktemp("cache"))
    recipe = load_recipe(RECIPES / "segmented.yaml", [*ON_GPU, "audit=retrain"])
    comparison = run(recipe, folders, Watched())
    return folders.cache, folders.runs / comparison["run_dir"].split("/")[-1], comparison


def test_the_main_job_with_every_audit(segmented):
    comparison = segmented[-1]
    assert all(arm["peak_device_bytes"] > 0 for arm in comparison["arms"].values())
    assert all(0 <= arm["accuracy"] <= 1 for arm in comparison["arms"].values())


def test_a_run_broken_off_goes_on(folders):
    recipe = load_recipe(RECIPES / "base.yaml", [*ON_GPU, "audit=none", "training.epochs=3"])
    with pytest.raises(Interrupted):
        run(recipe, folders, Watched("base epoch 1/3"))
    (arm,) = run(recipe, folders, Watched(), resume=True)["arms"].values()
    assert 0 <= arm["accuracy"] <= 1


@pytest.mark.parametrize("arm", ["unsegmented", "segmented"])
def test_a_prediction_is_the_cpu_s(segmented, arm):
    cache, directory, _ = segmented
    images = [load_grayscale(path) for path in sorted(cache.rglob("*.png"))[:6]]
    here, there = (load_pipeline(directory, arm, device)(images, explain=True) for device in ("cuda", "cpu"))
    for one, other in zip(here, there, strict=True):
        assert np.allclose(list(one.probabilities.values()), list(other.probabilities.values()), atol=0.03)  # bf16
        assert (one.lungs != other.lungs).mean() < 0.01
        assert one.heat.shape == other.heat.shape


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # of torch.compile
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_training(folders, way):
    recipe = load_recipe(RECIPES / "base.yaml", [*ON_GPU, "audit=none", *WAYS[way]])
    (arm,) = run(recipe, folders, Watched())["arms"].values()
    assert 0 <= arm["accuracy"] <= 1


def test_recorded_steps_compute_what_plain_ones_do(folders):
    fixed = [*ON_GPU, "audit=none", "data.augment=none", "training.precision=fp32", "training.epochs=3"]
    losses = []
    for graphs in ("false", "true"):
        comparison = run(load_recipe(RECIPES / "base.yaml", [*fixed, f"training.cuda_graphs={graphs}"]), folders, Watched())
        (history,) = (folders.runs / comparison["run_dir"].split("/")[-1]).glob("*/history.csv")
        losses.append(np.loadtxt(history, delimiter=",", skiprows=1, usecols=(1, 2)))
    np.testing.assert_allclose(*losses, rtol=1e-2)


def test_a_segmenter(folders):
    sets = [key for key in ON_GPU if "dataset" not in key]
    comparison = run(load_recipe(RECIPES / "lung_unet.yaml", sets), folders, Watched())
    assert comparison["arms"]


def test_the_benchmark(cache_dir):
    table = bench(load_recipe(RECIPES / "segmented.yaml", ON_GPU), cache_dir, 1)
    assert all(contender.peak_device_bytes > 0 for contender in table.contenders.values())
