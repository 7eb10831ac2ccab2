"""Maps by gradients of TorchScript files, in the process that loads them, against Grad-CAM of the same networks."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from darkcovid.audits.gradcam import grad_cam
from darkcovid.core.device import get_device
from darkcovid.inference.foreign.client import ProcessModel
from darkcovid.inference.foreign.gradients import gradient_maps
from darkcovid.inference.foreign.model_files import load_model

COMPUTE = get_device("cpu", "fp32")


class Convolutions(nn.Module):
    """Two convolutions and a softmax, so sure of some answers that a softmax has no gradient left."""

    def __init__(self, outputs: int = 3):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3), nn.ReLU())
        self.norm, self.head = nn.BatchNorm2d(24), nn.Linear(24, outputs)

    def logits(self, images):
        return 100 * self.head(self.norm(self.body(images)).mean((2, 3)))

    def forward(self, images):
        logits = self.logits(images)
        return torch.softmax(logits, 1) if logits.shape[1] > 1 else torch.sigmoid(logits)


class Logits(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network
        self.body = network.body

    def forward(self, images):
        return self.network.logits(images)


def saved(network, path, how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated by torch, and what many people have
        example = torch.rand(2, 1, 32, 40)
        made = {
            "traced": lambda: torch.jit.trace(network, example),
            "scripted": lambda: torch.jit.script(network),
            "frozen": lambda: torch.jit.freeze(torch.jit.trace(network, example)),
        }
        torch.jit.save(made[how](), path)
    return str(path)


def explained(path, batch, columns, signs, even=0.0):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forward = load_model("torchscript", path, "").forward
    return gradient_maps(forward, batch, np.full_like(batch[:1], even), np.array(columns), np.array(signs), channels_first=True)


@pytest.mark.parametrize(("how", "outputs"), [("traced", 3), ("scripted", 1), ("frozen", 3)])
def test_grad_cam_of_a_file_is_that_of_its_network_before_the_softmax(tmp_path, how, outputs):
    torch.manual_seed(3)
    network = Convolutions(outputs).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (10, 32, 40), np.uint8)
    targets = np.arange(10) % max(2, outputs)
    columns, signs = (targets, np.ones(10, int)) if outputs > 1 else (np.zeros(10, int), np.where(targets == 0, 1, -1))
    found, method = explained(saved(network, tmp_path / "net.pt", how), pixels[:, None].astype(np.float32) / 255, columns, signs)
    expected = grad_cam(Logits(network), nn.Identity(), pixels, targets, COMPUTE)
    assert method == "Grad-CAM" and expected.max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * expected.max())


def test_a_file_without_convolutions_gets_integrated_gradients(tmp_path):
    """Of a linear model they are weight times change, whatever the steps."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    batch = np.random.default_rng(0).random((3, 1, 8, 8), np.float32)
    found, method = explained(saved(network, tmp_path / "net.pt", "scripted"), batch, [0, 1, 1], [1, 1, -1], even=0.25)
    weights = network[1].weight.detach().numpy().reshape(2, 8, 8)[[0, 1, 1]] * np.array([1, 1, -1])[:, None, None]
    assert method == "integrated gradients"
    np.testing.assert_allclose(found, (weights * (batch[:, 0] - 0.25)).clip(0), atol=1e-6)


def test_maps_come_out_of_the_process_of_a_file_and_so_does_why_there_are_none(tmp_path):
    class Cut(nn.Module):
        def forward(self, images):
            return torch.round(images.mean((2, 3)).detach()).repeat(1, 2)

    batch = np.random.default_rng(0).random((2, 1, 32, 40), np.float32)
    asked = batch, batch[:1], np.array([0, 1]), np.array([1, 1])
    path = saved(Convolutions().eval(), tmp_path / "net.pt", "traced")
    with ProcessModel("torchscript", path, seconds=60) as model:
        found, method = model.explain(*asked, channels_first=True)
        np.testing.assert_allclose(found, explained(path, batch, [0, 1], [1, 1])[0])
        assert method == "Grad-CAM" and model.has_gradients
        found, why = model.explain(batch, batch[:1], np.array([0, 7]), np.array([1, 1]), channels_first=True)
        assert found is None and why and len(model.predict(batch)) == 2
    with pytest.raises(RuntimeError, match="no gradients"):
        explained(saved(Cut(), tmp_path / "cut.pt", "scripted"), batch, [0, 1], [1, 1])
