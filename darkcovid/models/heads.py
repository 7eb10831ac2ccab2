"""What turns a backbone's feature map into logits: the endings of the published transfer learners."""

from collections.abc import Callable

from torch import nn

from darkcovid.models.keras_init import init_keras_
from darkcovid.models.probes import LinearProbe, NearestNeighbors
from darkcovid.recipe import Model

Head = Callable[[int, tuple[int, int], Model, int], nn.Module]


def mlp(features: int, model: Model, outputs: int, hidden: int, dropout: float) -> list[nn.Module]:
    """Linear, ReLU, dropout, Linear; without the first two when `hidden` is 0.

    Args:
        features: In.
        model: The recipe's section, whose own numbers come first.
        outputs: Logits per image.
        hidden: Width of the first Linear.
        dropout: 0..1.

    Returns:
        The layers.
    """
    hidden = hidden if model.hidden is None else model.hidden
    dropout = dropout if model.dropout is None else model.dropout
    first = [nn.Linear(features, hidden), nn.ReLU()] if hidden else []
    between = [nn.Dropout(dropout)] if dropout else []
    return [*first, *between, nn.Linear(hidden or features, outputs)]


def avgpool_dense(channels: int, size: tuple[int, int], model: Model, outputs: int) -> nn.Module:
    """Global average pooling, then dense layers (system F).

    Args:
        channels: Of the feature map.
        size: (height, width) of the feature map.
        model: The recipe's section.
        outputs: Logits per image.

    Returns:
        The head.
    """
    return init_keras_(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *mlp(channels, model, outputs, 0, 0.0)))


def avgpool4_dense(channels: int, size: tuple[int, int], model: Model, outputs: int) -> nn.Module:
    """Average pooling over 4x4 windows, flattened, dense 64, dropout 0.5 (system C, experiment 4).

    Args:
        channels: Of the feature map.
        size: (height, width) of the feature map.
        model: The recipe's section.
        outputs: Logits per image.

    Returns:
        The head.
    """
    features = channels * (size[0] // 4) * (size[1] // 4)
    return init_keras_(nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), *mlp(features, model, outputs, 64, 0.5)))


def flatten_dense(channels: int, size: tuple[int, int], model: Model, outputs: int) -> nn.Module:
    """The map flattened, dense 256 (system E).

    Args:
        channels: Of the feature map.
        size: (height, width) of the feature map.
        model: The recipe's section.
        outputs: Logits per image.

    Returns:
        The head.
    """
    return init_keras_(nn.Sequential(nn.Flatten(), *mlp(channels * size[0] * size[1], model, outputs, 256, 0.0)))


def concat_pool(channels: int, size: tuple[int, int], model: Model, outputs: int) -> nn.Module:
    """fastai's own head: average and maximum pooled side by side, BatchNorm, dropout, dense 512 (`create_head`).

    Args:
        channels: Of the feature map.
        size: (height, width) of the feature map.
        model: The recipe's section.
        outputs: Logits per image.

    Returns:
        The head.
    """
    from fastai.vision.learner import create_head

    hidden = 512 if model.hidden is None else model.hidden
    dropout = 0.5 if model.dropout is None else model.dropout
    return create_head(channels, outputs, lin_ftrs=[hidden] if hidden else [], ps=dropout)


HEADS: dict[str, Head] = {
    "concat-pool": concat_pool,
    "avgpool-dense": avgpool_dense,
    "avgpool4-dense": avgpool4_dense,
    "flatten-dense": flatten_dense,
    "linear-probe": lambda channels, size, model, outputs: LinearProbe(channels, outputs),
    "nearest-neighbors": lambda channels, size, model, outputs: NearestNeighbors(channels, outputs),
}
