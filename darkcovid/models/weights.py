"""Where do a network's first weights come from? Random, ImageNet's, or a file; and what of it was used?"""

from pathlib import Path

import torch
from torch import nn

from darkcovid.core.errors import UsageError
from darkcovid.core.initial_weights import InitialWeights
from darkcovid.models.state_dict import (
    Match,
    check_whole,
    has_no_statistics,
    is_statistic,
    load_state_dict_file,
    load_state_dict_strict,
    match_tensors,
)
from darkcovid.recipe import Model

BODY, HEAD = "body.", "head."


def initial_weights(network: nn.Module) -> InitialWeights | None:
    """What a network of `create_model` began with; None for random weights."""
    return getattr(network, "initial_weights", None)


def load_weights(network: nn.Module, model: Model, pretrained: bool) -> InitialWeights | None:
    """Put the weights that `model.weights` names into a network.

    Args:
        network: Changed in place.
        model: The recipe's section.
        pretrained: Whether the architecture knows ImageNet weights.

    Returns:
        What was taken; None for random weights.

    Raises:
        UsageError: ImageNet weights of a network that has none.
        DataError: A file that is missing, not readable or of another network, or ImageNet weights that cannot be fetched.
    """
    if model.weights == "none":
        return None
    if model.weights == "imagenet":
        if not pretrained:
            raise UsageError(f"model.weights: there are no ImageNet weights for {model.arch}; use none, or name a file")
        load_imagenet = getattr(network, "load_imagenet")  # noqa: B009 (a transfer learner's, which imports this module)
        return load_imagenet()
    given = load_state_dict_file(Path(model.weights))
    tensors = {name: value for name, value in given.items() if not name.startswith("normaliser.")}
    load_body = getattr(network, "load_body", None)
    if load_body is None:
        load_state_dict_strict(network, tensors, model.weights)
        return InitialWeights(model.weights, len(tensors), (), ())
    if tensors and all(name.startswith((BODY, HEAD)) for name in tensors):
        return _load_own(network, tensors, model.weights)
    return load_body(tensors, model.weights)


def load_matched(network: nn.Module, match: Match, where: str, initialized: tuple[str, ...]) -> InitialWeights:
    """Load what was found in a file into a network.

    Args:
        network: Whose names `match` has; changed in place.
        match: Of the file.
        where: The weights come from, for messages.
        initialized: Names of what else the whole network has.

    Returns:
        What was taken.
    """
    network.load_state_dict(match.tensors, strict=False)
    state = "missing" if has_no_statistics(match) else "loaded"
    return InitialWeights(where, len(match.tensors), match.unused, initialized, match.in_order, state)


def _load_own(network: nn.Module, tensors: dict[str, torch.Tensor], where: str) -> InitialWeights:
    """Weights of a fitted transfer learner: all of them, or the backbone's where the head is another."""
    state = network.state_dict()
    head = {name: value for name, value in tensors.items() if name.startswith(HEAD)}
    own_head = {name: value for name, value in state.items() if name.startswith(HEAD)}
    if {name: value.shape for name, value in head.items()} == {name: value.shape for name, value in own_head.items()}:
        load_state_dict_strict(network, tensors, where)
        return InitialWeights(where, len(tensors), (), ())
    body = {name: value for name, value in state.items() if name.startswith(BODY)}
    match = match_tensors(body, tensors, getattr(network, "stems", ()))
    check_whole(match, where, is_statistic, (HEAD,))
    return load_matched(network, match, where, tuple(own_head))
