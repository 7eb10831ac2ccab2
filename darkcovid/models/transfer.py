"""Transfer learners: a backbone that torchvision or timm knows, ImageNet weights if wanted, and a head of our choice.

Backbones: VGG16 (Simonyan and Zisserman 2015), ResNet (He et al. 2016), DenseNet121 (Huang et al. 2017), InceptionV3
(Szegedy et al. 2016), EfficientNet-B0 (Tan and Le 2019), ConvNeXt-Tiny (Liu et al. 2022), and any of timm's.
"""

import difflib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from darkcovid.core.errors import DataError, UsageError, one_line
from darkcovid.models.heads import HEADS
from darkcovid.models.input_channels import to_channels
from darkcovid.models.registry import TIMM, Architecture, Size, register_model, register_prefix
from darkcovid.models.weights import load_state_dict_strict
from darkcovid.recipe import Model

FeatureExtractor = Callable[[nn.Module], nn.Module]
DEFAULT_HEAD = "concat-pool"


class TransferClassifier(nn.Module):
    """A backbone and a head: (b, 1 to 3, h, w) normalized pixels to (b, outputs) logits.

    Args:
        body: The backbone.
        head: Takes its feature map.
        imagenet: Gives ImageNet weights under the library's own names.
    """

    def __init__(self, body: "Backbone", head: nn.Module, imagenet: Callable[[], dict[str, torch.Tensor]]):
        super().__init__()
        self.body, self.head = body, head
        self._imagenet = imagenet

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))

    def load_imagenet(self) -> None:
        """Load the backbone's ImageNet weights.

        Raises:
            DataError: They are neither in the library's cache nor to be fetched.
        """
        self.load_body(self._imagenet(), "imagenet")

    def load_body(self, tensors: dict[str, torch.Tensor], where: str) -> None:
        """Load the backbone's weights.

        Args:
            tensors: Under the library's own names; its classifier's are left out.
            where: They come from, for messages.

        Raises:
            DataError: They are another network's.
        """
        self.body.load(tensors, where)


class Backbone(nn.Module):
    """The part of a library's network that ends in a feature map, and how that library names its weights.

    Args:
        network: The library's.
        cut: Takes the part that is used.
        channels: Of its input; a gray image is repeated in three unless this is 1.
        classifier: How the names of the part left out begin.
    """

    def __init__(self, network: nn.Module, cut: FeatureExtractor, channels: int, classifier: tuple[str, ...]):
        super().__init__()
        self.layers, self.channels = cut(network), channels
        theirs = {id(value): name for name, value in network.state_dict(keep_vars=True).items()}
        self._names = {name: theirs[id(value)] for name, value in self.layers.state_dict(keep_vars=True).items()}
        self._classifier = classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(to_channels(x, self.channels))

    def load(self, tensors: dict[str, torch.Tensor], where: str) -> None:
        """Load weights under the library's names, three input channels summed where this takes one.

        Args:
            tensors: By name.
            where: They come from, for messages.

        Raises:
            DataError: They are another network's.
        """
        backbone_tensors = {name: value for name, value in tensors.items() if not name.startswith(self._classifier)}
        first, own = next((item for item in self.layers.state_dict().items() if item[1].dim() == 4), ("", None))
        theirs = self._names.get(first)
        if own is not None and theirs in backbone_tensors and backbone_tensors[theirs].shape[1] == 3 and own.shape[1] == 1:
            backbone_tensors[theirs] = backbone_tensors[theirs].sum(1, keepdim=True)
        load_state_dict_strict(self.layers, backbone_tensors, where, self._names)


@dataclass(frozen=True)
class BackboneSource:
    """A library's network.

    Attributes:
        make: Makes it, randomly initialized, for a size.
        cut: Takes the part that ends in the feature map.
        classifier: How the names of what follows begin.
        imagenet: Gives its ImageNet weights for a size.
    """

    make: Callable[[Size], nn.Module]
    cut: FeatureExtractor
    classifier: tuple[str, ...]
    imagenet: Callable[[Size], dict[str, torch.Tensor]]

    def build(self, model: Model, outputs: int, size: Size) -> TransferClassifier:
        """A transfer learner on this backbone.

        Args:
            model: The recipe's section.
            outputs: Logits per image.
            size: (height, width) of the input in pixels.

        Returns:
            The network, randomly initialized.
        """
        network = self.make(size)
        channels = 1 if model.grayscale else 3
        if model.grayscale:
            to_grayscale_input(network)
        body = Backbone(network, self.cut, channels, self.classifier)
        head = HEADS[model.head or DEFAULT_HEAD](*feature_shape(body, size), model, outputs)
        return TransferClassifier(body, head, lambda: self.imagenet(size))


def feature_shape(body: Backbone, size: Size) -> tuple[int, Size]:
    """The shape of a backbone's feature map.

    Args:
        body: The backbone.
        size: (height, width) of the input in pixels.

    Returns:
        Channels, and (height, width).
    """
    device = next(body.parameters()).device
    training = body.training
    with torch.inference_mode():
        shape = body.eval()(torch.zeros(1, 1, *size, device=device)).shape
    body.train(training)
    return shape[1], (shape[2], shape[3])


def to_grayscale_input(network: nn.Module) -> None:
    """Replace the first convolution by one for a single channel, its weights summed over three: the same outputs for a
    gray image at a third of the work."""
    for parent in network.modules():
        for name, conv in parent.named_children():
            if isinstance(conv, nn.Conv2d):
                (height, width), (down, across) = conv.kernel_size, conv.stride
                padding = conv.padding if isinstance(conv.padding, str) else (conv.padding[0], conv.padding[1])
                bias = conv.bias is not None
                gray = nn.Conv2d(1, conv.out_channels, (height, width), (down, across), padding, bias=bias)
                with torch.no_grad():
                    gray.weight.copy_(conv.weight.sum(1, keepdim=True))
                    if conv.bias is not None and gray.bias is not None:
                        gray.bias.copy_(conv.bias)
                setattr(parent, name, gray)
                return


def features(network: nn.Module) -> nn.Module:
    """The part of a torchvision network that is called `features`."""
    return network.get_submodule("features")


def drop_last_children(count: int) -> FeatureExtractor:
    """The children of a network but for the last `count`, in a row."""
    return lambda network: nn.Sequential(*list(network.children())[:-count])


def densenet_features(network: nn.Module) -> nn.Module:
    """DenseNet's `features`, and the ReLU that its forward pass adds."""
    return nn.Sequential(features(network), nn.ReLU())


def vgg16(size: Size) -> nn.Module:
    """torchvision's, without memory for the classifier that is left out: 495 MB."""
    from torchvision.models import vgg16 as make

    with torch.device("meta"):
        network = make(weights=None, init_weights=False)
    network.features.to_empty(device="cpu")
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def torchvision_source(
    name: str, cut: FeatureExtractor, classifier: tuple[str, ...], make: Callable | None = None, **options
) -> BackboneSource:
    """One of torchvision's networks.

    Args:
        name: As torchvision registers it.
        cut: Takes the part that ends in the feature map.
        classifier: How the names of what follows begin.
        make: Makes it for a size; None: as torchvision does.
        **options: Of torchvision's constructor.

    Returns:
        The source.
    """

    def fresh(size: Size) -> nn.Module:
        from torchvision.models import get_model

        return get_model(name, weights=None, **options)

    return BackboneSource(make or fresh, cut, classifier, lambda size: _torchvision_weights(name))


RESNET, CLASSIFIER = (drop_last_children(2), ("fc.",)), ("classifier.",)
INCEPTION = torchvision_source("inception_v3", drop_last_children(3), ("fc.", "AuxLogits."), aux_logits=False, init_weights=False)
TORCHVISION: dict[str, tuple[BackboneSource, int, str]] = {
    "vgg16": (torchvision_source("vgg16", features, CLASSIFIER, vgg16), 224, "Simonyan and Zisserman 2015"),
    "resnet18": (torchvision_source("resnet18", *RESNET), 224, "He et al. 2016"),
    "resnet34": (torchvision_source("resnet34", *RESNET), 224, "He et al. 2016"),
    "resnet50": (torchvision_source("resnet50", *RESNET), 224, "He et al. 2016"),
    "densenet121": (torchvision_source("densenet121", densenet_features, CLASSIFIER), 224, "Huang et al. 2017"),
    "inception_v3": (INCEPTION, 299, "Szegedy et al. 2016"),
    "efficientnet_b0": (torchvision_source("efficientnet_b0", features, CLASSIFIER), 224, "Tan and Le 2019"),
    "convnext_tiny": (torchvision_source("convnext_tiny", features, CLASSIFIER), 224, "Liu et al. 2022"),
}


def timm_architecture(name: str) -> Architecture:
    """The architecture `timm/<name>`.

    Raises:
        UsageError: timm has no such network; the nearest names are given.
    """
    import timm

    short = name.removeprefix(TIMM)
    if not timm.is_model(short):
        close = difflib.get_close_matches(short, timm.list_models(), n=3, cutoff=0.4)
        raise UsageError(f"model.arch: timm has no network called {short!r}; nearest: {', '.join(close) or 'none'}")
    known = timm.get_pretrained_cfg(short)

    def make(size: Size, pretrained: bool = False) -> nn.Module:
        sized: dict[str, Any] = {"img_size": size} if known is not None and known.fixed_input_size else {}
        return timm.create_model(short, pretrained=pretrained, num_classes=0, global_pool="", **sized)

    source = BackboneSource(make, TokensToFeatureMap, (), lambda size: _timm_weights(short, lambda: make(size, pretrained=True)))
    side = known.input_size[-1] if known is not None else 224
    return Architecture(name, "timm", side, tuple(HEADS), source.build, pretrained=True)


class TokensToFeatureMap(nn.Module):
    """timm's unpooled features as (b, c, h, w): tokens become a column, and channels that come last are moved forward."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.network(x)
        if features.dim() == 3:
            return features[:, getattr(self.network, "num_prefix_tokens", 0) :].transpose(1, 2).unsqueeze(-1)
        if features.shape[1] != self.network.num_features and features.shape[-1] == self.network.num_features:
            return features.permute(0, 3, 1, 2)
        return features


def _torchvision_weights(name: str) -> dict[str, torch.Tensor]:
    from torchvision.models import get_model_weights

    chosen = get_model_weights(name).DEFAULT
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(chosen.url).name
    try:
        return torch.hub.load_state_dict_from_url(chosen.url, map_location="cpu", progress=False, weights_only=True)
    except Exception as error:  # noqa: BLE001 (a network fails in many ways)
        raise _unavailable(name, error, f"{Path(chosen.url).name} belongs into {file.parent}") from None


def _timm_weights(short: str, make: Callable[[], nn.Module]) -> dict[str, torch.Tensor]:
    import timm
    from huggingface_hub.constants import HF_HUB_CACHE

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make().state_dict()
    except Exception as error:  # noqa: BLE001 (a network fails in many ways)
        known = timm.get_pretrained_cfg(short)
        source = (known.hf_hub_id if known is not None else None) or short
        where = f"model.safetensors of {source} belongs into {HF_HUB_CACHE}, as huggingface_hub lays it out"
        raise _unavailable(f"{TIMM}{short}", error, where) from None


def _unavailable(name: str, error: Exception, where: str) -> DataError:
    return DataError(
        f"model.weights: the ImageNet weights of {name} are not in the cache and could not be fetched "
        f"({one_line(error)[:100]}); {where}; or use model.weights=none or a .safetensors or .pth file"
    )


for _name, (_source, _size, _authors) in TORCHVISION.items():
    register_model(Architecture(_name, f"{_authors}; torchvision", _size, tuple(HEADS), _source.build, pretrained=True))
register_prefix(TIMM, timm_architecture)
