import copy

import pytest
import torch
from torch import nn

from darkcovid import models
from darkcovid.core.errors import UsageError
from darkcovid.models.darkcovidnet import DarkCovidNet, darkcovidnet_reference
from darkcovid.models.darkcovidnet_stem import FirstMaxPool2d, Stem
from darkcovid.models.registry import parameter_counts
from darkcovid.models.summary import model_table, summarize_model
from darkcovid.recipe import Model


@pytest.mark.parametrize(
    ("classes", "side", "parameters"),
    [
        (3, 256, 1_167_586),
        (2, 256, 1_164_434),
        (3, 224, 1_167_361),
        (3, 192, 1_167_154),
        (3, 160, 1_166_965),
        (3, 128, 1_166_794),
    ],
)
def test_the_published_parameter_counts(classes, side, parameters):
    assert parameter_counts(DarkCovidNet(classes, (side, side)))[0] == parameters


@pytest.mark.parametrize("size", [(256, 256), (160, 192), (100, 77), (33, 47), (32, 32)])
@pytest.mark.parametrize("head", ["flatten", "gap"])
def test_any_input_size(size, head):
    logits = DarkCovidNet(3, size, head)(torch.randn(2, 1, *size))
    assert logits.shape == (2, 3)


def plain_darkcovidnet(classes, side):
    """Written out from systems A without any of the shortcuts: the published order of layers, one by one."""

    def conv(ni, nf, k=3):
        return [nn.Conv2d(ni, nf, k, padding=1, bias=False), nn.BatchNorm2d(nf), nn.LeakyReLU(0.1)]

    def triple(ni, nf):
        return [*conv(ni, nf), *conv(nf, ni, 1), *conv(ni, nf)]

    pool = [nn.MaxPool2d(2, 2)]
    layers = [*conv(3, 8), *pool, *conv(8, 16), *pool, *triple(16, 32), *pool, *triple(32, 64), *pool]
    layers += [*triple(64, 128), *pool, *triple(128, 256), *conv(256, 128, 1), *conv(128, 256)]
    layers += [nn.Conv2d(256, classes, 3, padding=1, bias=False), nn.ReLU(), nn.BatchNorm2d(classes), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(classes * side * side, classes))


@pytest.mark.parametrize("build", [DarkCovidNet, darkcovidnet_reference])
def test_it_computes_what_the_published_order_of_layers_computes(build):
    torch.manual_seed(0)
    ours, plain = build(3, (96, 96)).double(), plain_darkcovidnet(3, 8).double()
    with torch.no_grad():
        for mine, theirs in zip(ours.state_dict().values(), plain.state_dict().values(), strict=True):
            theirs.copy_(mine)
    gray = torch.randn(4, 1, 96, 96, dtype=torch.double)
    labels = torch.tensor([0, 1, 2, 0])
    color = gray.expand(-1, 3, -1, -1)
    fed = gray if build is DarkCovidNet else color
    for network, x in ((ours, fed), (plain, color)):
        nn.functional.cross_entropy(network(x), labels).backward()
    for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-6, atol=1e-9)
    for mine, theirs in zip(ours.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(ours.eval()(fed), plain.eval()(color))


def test_one_channel_equals_three_equal_ones():
    stem = Stem().double().eval()
    gray = torch.randn(2, 1, 64, 48, dtype=torch.double)
    torch.testing.assert_close(stem(gray), copy.deepcopy(stem)(gray.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_pooling_gradient_goes_where_max_pooling_sends_it_ties_included(kind):
    values = torch.randint(-2, 2, (3, 4, 2, 5, 6)).to(kind)
    gradient = torch.randn(3, 2, 5, 6, dtype=kind)
    ours, theirs = (values.clone().requires_grad_() for _ in range(2))
    FirstMaxPool2d.apply(ours).backward(gradient)
    windows = theirs.permute(0, 2, 3, 4, 1).reshape(-1, 1, 2, 2)
    nn.functional.max_pool2d(windows, 2).backward(gradient.reshape(-1, 1, 1, 1))
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_unknown_names_and_heads_are_refused_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'darkcovidnet'"):
        models.create_model(Model(arch="darkcovnet"), 3, (64, 64))
    with pytest.raises(UsageError, match=r"model\.head: darkcovidnet has no head 'flat'; it has: flatten, gap"):
        models.create_model(Model(head="flat"), 3, (64, 64))


def test_the_layer_table_adds_up_to_the_network():
    summary = summarize_model("darkcovidnet", 3, 256, "flatten")
    assert summary["parameters"] == summary["trainable_parameters"] == 1_167_586
    assert sum(layer["parameters"] for layer in summary["layers"]) == 1_167_586
    assert summary["layers"][-1]["output"] == [3]
    assert [row["name"] for row in model_table()] == models.list_models()
