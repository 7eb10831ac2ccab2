"""Every network: published counts, its logits, its weights from files, and what is refused."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from darkcovid import models
from darkcovid.core.errors import DataError, UsageError
from darkcovid.core.io import sha256_file
from darkcovid.models.summary import count_multiply_adds, summarize_model
from darkcovid.recipe import Model


class ThreeChannels(nn.Module):
    def forward(self, x):
        return x.expand(-1, 3, -1, -1)


SMALL_TIMM = "timm/mobilenetv3_small_050"


def built(outputs=3, size=(96, 96), channels=1, **model):
    torch.manual_seed(0)
    return models.create_model(Model(**model), outputs, size, channels).eval()


@pytest.mark.parametrize(
    ("arch", "side", "parameters"),
    [
        ("basic_cnn_1", 180, 156_417),
        ("basic_cnn_2", 224, 287_489),
        ("basic_cnn_3", 224, 287_489),
        ("three_layer_cnn", 150, 1_212_513),
    ],
)
def test_the_published_counts_of_networks_from_scratch(arch, side, parameters):
    network = built(1, (side, side), arch=arch)
    assert models.parameter_counts(network) == (parameters, parameters)


@pytest.mark.parametrize(
    ("head", "side", "outputs", "trainable"),
    [("avgpool4-dense", 224, 1, 32_897), ("flatten-dense", 150, 1, 2_097_665), ("flatten-dense", 150, 4, 2_098_436)],
)
def test_the_published_counts_of_vgg16_with_its_features_frozen(head, side, outputs, trainable):
    network = built(outputs, (side, side), arch="vgg16", head=head)
    assert models.parameter_counts(network.head)[0] == trainable
    assert models.parameter_counts(network.body)[0] == 14_714_688


def test_thirteen_convolutions():
    network = built(arch="cnn13", size=(64, 64))
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in network.modules()) == 13


@pytest.mark.parametrize("head", ["concat-pool", "avgpool-dense", "avgpool4-dense", "flatten-dense"])
@pytest.mark.parametrize("arch", ["resnet18", SMALL_TIMM])
def test_any_head_on_any_backbone_and_any_shape(arch, head):
    network = built(2, (128, 160), arch=arch, head=head, hidden=16, dropout=0.1)
    assert network(torch.randn(2, 1, 128, 160)).shape == (2, 2)


@pytest.mark.parametrize("arch", ["timm/vit_tiny_patch16_224", "timm/resnet10t"])
def test_token_networks_and_others_of_timm(arch):
    assert built(arch=arch, size=(64, 96))(torch.randn(1, 1, 64, 96)).shape == (1, 3)


def test_a_gray_picture_gives_the_same_through_one_channel_as_through_three():
    three, one = built(arch="resnet18"), built(arch="resnet18", grayscale=True)
    torch.testing.assert_close(one.body.layers[0].weight, three.body.layers[0].weight.sum(1, keepdim=True))
    one.head.load_state_dict(three.head.state_dict())
    gray = torch.randn(2, 1, 96, 96)
    torch.testing.assert_close(three(gray), one(gray), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("arch", ["darkcovidnet", "resnet18", "three_layer_cnn"])
def test_of_two_channels_the_second_counts_twice(arch):
    network = built(arch=arch, channels=2)
    two = torch.randn(2, 2, 96, 96)
    torch.testing.assert_close(network(two), network(two[:, [0, 1, 1]]), atol=1e-4, rtol=1e-4)


def test_a_network_for_one_channel_takes_no_context():
    with pytest.raises(UsageError, match=r"lungs\.context_channel: this network takes images of one channel"):
        built(channels=2, arch="basic_cnn_1")


def test_a_stem_for_crop_and_context_gives_the_gray_output_for_two_equal_channels():
    gray, two = built(arch="resnet18", grayscale=True), built(arch="resnet18", grayscale=True, channels=2)
    assert two.body.layers[0].weight.shape[1] == 2
    two.head.load_state_dict(gray.head.state_dict())
    image = torch.randn(2, 1, 96, 96)
    torch.testing.assert_close(two(image.expand(-1, 2, -1, -1)), gray(image), atol=1e-4, rtol=1e-4)


def test_offset_norm_has_an_offset_and_no_scale():
    names = [name for name, _ in built(1, (96, 96), arch="basic_cnn_3").named_parameters()]
    assert sum(name.endswith("offset") for name in names) == 4


def library_weights(tmp_path, suffix, name="w"):
    """A resnet18 file as torchvision publishes it, of random numbers."""
    from torchvision.models import resnet18

    torch.manual_seed(1)
    tensors = resnet18().state_dict()
    path = tmp_path / f"{name}{suffix}"
    if suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path, tensors


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("grayscale", [False, True])
def test_a_librarys_file_fills_the_backbone_and_leaves_the_head_fresh(tmp_path, suffix, grayscale):
    path, tensors = library_weights(tmp_path, suffix)
    network = built(arch="resnet18", weights=str(path), grayscale=grayscale)
    first = tensors["conv1.weight"].sum(1, keepdim=True) if grayscale else tensors["conv1.weight"]
    torch.testing.assert_close(network.body.layers[0].weight, first)
    torch.testing.assert_close(network.body.layers[7][1].conv2.weight, tensors["layer4.1.conv2.weight"])


def test_our_own_files_fill_the_whole_network(tmp_path):
    before = built(arch="basic_cnn_1")
    save_file(before.state_dict() | {"normaliser.mean": torch.zeros(1)}, tmp_path / "own.safetensors")
    torch.manual_seed(9)
    after = models.create_model(Model(arch="basic_cnn_1", weights=str(tmp_path / "own.safetensors")), 3, (96, 96))
    assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())


def test_torchvisions_cache_is_used_without_a_network(tmp_path, monkeypatch):
    from torchvision.models import ResNet18_Weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    published = ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[1]
    path, tensors = library_weights(folder, ".pth", published.removesuffix(".pth"))
    assert path.name == published
    own = path.rename(folder / f"resnet18-{sha256_file(path)[:8]}.pth")
    monkeypatch.setattr("darkcovid.models.pretrained._torchvision_url", lambda name: f"https://nowhere/{own.name}")
    network = built(arch="resnet18", weights="imagenet")
    torch.testing.assert_close(network.body.layers[0].weight, tensors["conv1.weight"])


@pytest.mark.parametrize("arch", ["resnet18", SMALL_TIMM])
def test_weights_that_cannot_be_had_are_said_to_be_so(tmp_path, monkeypatch, arch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request._opener", None)  # it keeps the proxies of its first use, also for later tests
    with pytest.raises(
        DataError, match=r"not in the cache and could not be fetched .* belongs into .*model\.weights=none"
    ) as caught:
        built(arch=arch, weights="imagenet")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("model", "error", "said"),
    [
        ({"arch": "resnet81"}, UsageError, r"model\.arch: no architecture is called 'resnet81'; did you mean 'resnet18'\?"),
        ({"arch": "timm/resnet18x"}, UsageError, r"model\.arch: timm has no network called 'resnet18x'; nearest: resnet18"),
        ({"arch": "resnet18", "head": "gap"}, UsageError, r"model\.head: resnet18 has no head 'gap'; it has: concat-pool"),
        ({"arch": "cnn13", "weights": "imagenet"}, UsageError, r"model\.weights: there are no ImageNet weights for cnn13"),
        ({"weights": "absent.pth"}, DataError, r"model\.weights: absent\.pth: no such file"),
    ],
)
def test_what_cannot_be_built_is_refused(model, error, said):
    with pytest.raises(error, match=said):
        built(**model)


@pytest.mark.parametrize(("arch", "side"), [("basic_cnn_1", 60), ("inception_v3", 64), ("vgg16", 32)])
def test_an_input_too_small_for_the_network_is_refused(arch, side):
    head = {"head": "avgpool4-dense"} if arch == "vgg16" else {}
    with pytest.raises(UsageError, match=rf"^data\.image_size: {side}x{side} does not fit {arch}, which was made for [^\n]*$"):
        built(arch=arch, size=(side, side), **head)


def test_weights_of_another_network_name_the_keys_that_differ(tmp_path):
    path, _ = library_weights(tmp_path, ".pth")
    with pytest.raises(DataError, match=r"weights of another network \(\d+ missing: .*features.*; \d+ unknown: "):
        built(arch="densenet121", weights=str(path))


def test_a_pickle_that_runs_code_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"w": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(DataError, match="refused"):
        built(arch="resnet18", weights=str(tmp_path / "evil.pth"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("side", "published"), [(256, 290_332_913), (224, 232_234_256), (160, 136_083_332), (128, 98_031_065)])
def test_the_multiply_adds_of_system_a(side, published):
    """Of three equal channels, as its authors feed it; ours sees one, and its stem works on the picture's four phases."""
    reference = models.get_architecture("darkcovidnet").published(Model(), 3, (side, side)).eval()
    counted = count_multiply_adds(nn.Sequential(ThreeChannels(), reference), side)
    stem, own_stem = side**2 * 8 * 27, (side // 2) ** 2 * 32 * 16
    assert counted == published
    assert count_multiply_adds(built(size=(side, side)), side) == published - stem + own_stem


def test_the_summary_of_a_transfer_learner():
    summary = summarize_model("resnet18", 3, 64, "avgpool-dense")
    assert summary["parameters"] == 11_176_512 + 3 * 513
    assert summary["layers"][0]["kind"] == "Conv2d"
    assert summary["layers"][-1]["output"] == [3]


@pytest.mark.parametrize("arch", ["cnn13", "basic_cnn_1", "three_layer_cnn"])
def test_networks_written_in_keras_begin_as_keras_begins_them(arch):
    network = models.create_model(Model(arch=arch), 3, (160, 160))
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            area = layer.weight[0][0].numel()
            bound = (6 / (area * (layer.weight.shape[0] + layer.weight.shape[1]))) ** 0.5
            assert 0.9 * bound < layer.weight.abs().max() <= bound
            assert layer.bias is None or not layer.bias.any()
    pictures = torch.rand(4, 1, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert network.eval()(pictures).std() > 1e-5  # the signal arrives; with PyTorch's own first weights it is a thousandth
