"""Transfer learners: a backbone that torchvision or timm knows, ImageNet weights if wanted, and a head of our choice.

Backbones: VGG16 (Simonyan and Zisserman 2015), ResNet (He et al. 2016), DenseNet121 (Huang et al. 2017), InceptionV3
(Szegedy et al. 2016), EfficientNet-B0 (Tan and Le 2019), ConvNeXt-Tiny (Liu et al. 2022), and any of timm's.
"""

import copy
import difflib
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from darkcovid.core.errors import UsageError
from darkcovid.core.initial_weights import InitialWeights
from darkcovid.data.input_channels import to_channels
from darkcovid.models.heads import HEADS
from darkcovid.models.pretrained import (
    PACKAGES,
    timm_file,
    timm_weights,
    torchvision_file,
    torchvision_input,
    torchvision_weights,
)
from darkcovid.models.registry import TIMM, Architecture, PretrainedInput, Size, register_model, register_prefix
from darkcovid.models.state_dict import check_whole, fill_shared, is_statistic, match_tensors, to_stem_channels
from darkcovid.models.weights import HEAD, load_matched
from darkcovid.recipe import Model

FeatureExtractor = Callable[[nn.Module], nn.Module]
Converter = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
DEFAULT_HEAD = "concat-pool"
AFTER_POOLING = re.compile(r"(^|\.)fc_norm\.")


class TransferClassifier(nn.Module):
    """A backbone and a head: (b, 1 to 3, h, w) normalized pixels to (b, outputs) logits.

    Args:
        body: The backbone.
        head: Takes its feature map.
        imagenet: Gives ImageNet weights under the library's own names, and where they were found.
    """

    def __init__(self, body: "Backbone", head: nn.Module, imagenet: Callable[[], tuple[dict[str, torch.Tensor], str]]):
        super().__init__()
        self.body, self.head = body, head
        self._imagenet = imagenet

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the weights of the convolutions that take the image."""
        return tuple(f"body.layers.{name}" for name in self.body.stems)

    def set_input_channels(self, channels: int) -> None:
        """Let the backbone take 1 or 2 channels instead of three: the same outputs as before for equal channels. One that takes
        the image in other ways than by a convolution goes on with three, the gray image repeated."""
        self.body.set_input_channels(channels)

    def load_imagenet(self) -> InitialWeights:
        """Load the backbone's ImageNet weights.

        Returns:
            What was taken.

        Raises:
            DataError: They are neither in the library's cache nor to be fetched.
        """
        return self.load_body(*self._imagenet())

    def load_body(self, tensors: dict[str, torch.Tensor], where: str) -> InitialWeights:
        """Load the backbone's weights.

        Args:
            tensors: Under the library's own names, behind any prefix; or under others, in the library's order. A classifier
                is left out.
            where: They come from, for messages.

        Returns:
            What was taken.

        Raises:
            DataError: They are another network's.
        """
        return self.body.load(tensors, where, tuple(name for name in self.state_dict() if name.startswith(HEAD)))


class Backbone(nn.Module):
    """The part of a library's network that ends in a feature map, and how that library names its weights.

    Args:
        network: The library's.
        cut: Takes the part that is used.
        channels: Of its input; a gray image is repeated in three unless this is 1.
        classifier: How the names of the part left out begin.
        convert: Brings weights in the form of other programs into the library's, such as timm's `checkpoint_filter_fn`.
    """

    def __init__(
        self, network: nn.Module, cut: FeatureExtractor, channels: int, classifier: tuple[str, ...], convert: Converter | None
    ):
        super().__init__()
        self.layers, self.channels = cut(network), channels
        self.stems: tuple[str, ...] = ()
        theirs: dict[int, list[str]] = {}
        for name, value in network.state_dict(keep_vars=True).items():
            theirs.setdefault(id(value), []).append(name)
        self._shared = [tuple(names) for names in theirs.values() if len(names) > 1]
        own = self.layers.state_dict(keep_vars=True)
        self._names = {name: _next_name(theirs[id(value)]) for name, value in own.items()}
        self._classifier, self._convert = classifier, convert

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(to_channels(x, self.channels))

    def set_input_channels(self, channels: int) -> None:
        """Replace the convolutions that take the image by ones for `channels`, where there are any."""
        if self.stems:
            self.channels = channels
        for name, layer in self.layers.named_modules():
            if isinstance(layer, nn.Conv2d) and f"{name}.weight" in self.stems:
                replace_stem(layer, channels)

    def load(self, tensors: dict[str, torch.Tensor], where: str, initialized: tuple[str, ...]) -> InitialWeights:
        """Load weights under the library's names, the channels of the image summed or repeated where they differ.

        Args:
            tensors: By name.
            where: They come from, for messages.
            initialized: Names of what else the network has.

        Returns:
            What was taken.

        Raises:
            DataError: They are another network's.
        """
        state = self.layers.state_dict()
        expected = {self._names[name]: value for name, value in state.items()}
        stems = [self._names[name] for name in self.stems]
        match = fill_shared(match_tensors(expected, tensors, stems), self._shared)
        wanting = match.shapes or any(not is_statistic(name) for name in match.missing)
        if wanting and self._convert is not None:
            match = fill_shared(match_tensors(expected, self._convert(tensors), stems), self._shared)
        check_whole(match, where, is_statistic, self._classifier)
        ours = {name: match.tensors[library] for name, library in self._names.items() if library in match.tensors}
        return load_matched(self.layers, replace(match, tensors=ours), where, initialized)


def _next_name(names: list[str]) -> str:
    """The first of a tensor's names, taken from the list where there are more: some networks share a tensor among layers."""
    return names.pop(0) if len(names) > 1 else names[0]


@dataclass(frozen=True)
class BackboneSource:
    """A library's network.

    Attributes:
        make: Makes it, randomly initialized, for a size.
        cut: Takes the part that ends in the feature map.
        classifier: How the names of what follows begin.
        imagenet: Gives its ImageNet weights for a size, and where they were found.
        convert: As `Backbone` takes it, for a size.
    """

    make: Callable[[Size], nn.Module]
    cut: FeatureExtractor
    classifier: tuple[str, ...]
    imagenet: Callable[[Size], tuple[dict[str, torch.Tensor], str]]
    convert: Callable[[nn.Module], Converter | None] = lambda network: None

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
        body = Backbone(network, self.cut, 3, self.classifier, self.convert(network))
        body.stems = find_stems(body, size)
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
    shape = gray_features(body, size).shape
    return shape[1], (shape[2], shape[3])


def gray_features(body: Backbone, size: Size) -> torch.Tensor:
    """A backbone's features of a gray image that grows brighter downward, in evaluation.

    Args:
        body: The backbone.
        size: (height, width) of the image in pixels.

    Returns:
        (1, c, h, w).
    """
    device = next(body.parameters()).device
    training = body.training
    with torch.inference_mode():
        ramp = torch.linspace(0, 1, size[0] * size[1], device=device).view(1, 1, *size)
        features = body.eval()(ramp)
    body.train(training)
    return features


def find_stems(body: Backbone, size: Size) -> tuple[str, ...]:
    """Names of the weights of the convolutions that take the image; none where the features of a gray image would not be the same
    through one channel, as where pixels are moved into channels first, or weights are standardized over them.

    Args:
        body: The backbone, of three channels.
        size: (height, width) of the input in pixels.

    Returns:
        Names within `body.layers`, in the order of their use.
    """
    found: list[str] = []

    def look(name: str, layer: nn.Conv2d, inputs: tuple) -> None:
        if layer.in_channels == body.channels and all(inputs[0][:, :1].equal(inputs[0][:, one : one + 1]) for one in (1, 2)):
            found.append(f"{name}.weight")

    convolutions = [(name, layer) for name, layer in body.layers.named_modules() if isinstance(layer, nn.Conv2d)]
    hooks = [layer.register_forward_pre_hook(partial(look, name)) for name, layer in convolutions]
    features = gray_features(body, size)
    for hook in hooks:
        hook.remove()
    if not found:
        return ()
    gray = copy.deepcopy(body)
    gray.stems = tuple(found)
    gray.set_input_channels(1)
    try:
        difference = (gray_features(gray, size) - features).abs().max()
    except RuntimeError:  # a layer after them needs three channels
        return ()
    return gray.stems if difference <= 1e-3 * features.abs().max() else ()


def replace_stem(conv: nn.Conv2d, channels: int) -> nn.Conv2d:
    """Make a convolution one for fewer channels: the same outputs for equal channels, at less work.

    Args:
        conv: Changed in place.
        channels: Of the input.

    Returns:
        `conv`.
    """
    wanted = conv.weight[:, :1].expand(-1, channels, -1, -1)
    conv.weight = nn.Parameter(to_stem_channels(conv.weight.detach(), wanted))
    conv.in_channels = channels
    return conv


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

    def imagenet(size: Size) -> tuple[dict[str, torch.Tensor], str]:
        return torchvision_weights(name), f"ImageNet ({torchvision_file(name).name})"

    return BackboneSource(make or fresh, cut, classifier, imagenet)


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
    classifier = _classifier_names(known.classifier if known is not None else None)

    def make(size: Size, pretrained: bool = False) -> nn.Module:
        options: dict[str, Any] = {"img_size": size} if known is not None and known.fixed_input_size else {}
        create = partial(timm.create_model, short, num_classes=0)
        try:
            network, always_pools = create(global_pool="", **options), False
        except (AssertionError, ValueError):
            network, always_pools = create(**options), True
        if pretrained:
            unpooled: dict[str, Any] = {} if always_pools else {"global_pool": ""}
            network = create(pretrained=True, **options, **unpooled)
        if always_pools:  # PiT's features are its class tokens alone, those of CoaT have the class token among the places
            network.forward = network.forward_features  # pyright: ignore
        return network

    def imagenet(size: Size) -> tuple[dict[str, torch.Tensor], str]:
        tensors = timm_weights(short, lambda: make(size, pretrained=True))
        return tensors, f"ImageNet ({timm_file(short).name})"

    def convert(network: nn.Module) -> Converter:
        to_timm = getattr(sys.modules[timm.model_entrypoint(short).__module__], "checkpoint_filter_fn", None)
        return partial(_converted, to_timm, network)

    source = BackboneSource(make, TokensToFeatureMap, classifier, imagenet, convert)
    side = known.input_size[-1] if known is not None else 224
    pretrained = None if known is None else partial(PretrainedInput, known.mean, known.std, known.interpolation)
    return Architecture(name, "timm", side, tuple(HEADS), source.build, pretrained=pretrained)


def _classifier_names(named: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """How the names of a timm network's classifier begin, and of what stands beside it in its head."""
    names = (named,) if isinstance(named, str) else named or ("fc", "classifier", "head")
    return tuple(f"{name.partition('.')[0]}." for name in names)


def _converted(to_timm: Callable | None, network: nn.Module, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights in the form in which authors published them, in timm's without a pooling; unchanged where timm does not know the
    form. The norm that some networks apply after pooling is applied before it here, under the name that it has there."""
    if to_timm is not None:
        with suppress(KeyError, ValueError, RuntimeError, AttributeError, TypeError, IndexError):
            tensors = to_timm(dict(tensors), network)
    if any(name.startswith("fc_norm.") for name in network.state_dict()):
        return tensors
    return {AFTER_POOLING.sub(r"\1norm.", name): value for name, value in tensors.items()}


class TokensToFeatureMap(nn.Module):
    """timm's unpooled features as (b, c, h, w): tokens become a column, and channels that come last are moved forward."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.network(x)
        if not torch.is_tensor(features):
            raise ValueError("its features are several maps, not one")
        if features.dim() == 3:
            return features[:, getattr(self.network, "num_prefix_tokens", 0) :].transpose(1, 2).unsqueeze(-1)
        if features.shape[1] != self.network.num_features and features.shape[-1] == self.network.num_features:
            return features.permute(0, 3, 1, 2)
        return features


for _name, (_source, _size, _authors) in TORCHVISION.items():
    _input = partial(torchvision_input, _name)
    register_model(Architecture(_name, f"{_authors}; torchvision", _size, tuple(HEADS), _source.build, pretrained=_input))
register_prefix(TIMM, timm_architecture, tuple(f"{TIMM}{short}" for short in PACKAGES))
