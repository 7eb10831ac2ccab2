"""Mistakes in a notebook are named by the argument that was given, not by the recipe's key behind it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from darkcovid.core.errors import DarkCovidError

LOADERS = {
    "data.manifest": "manifest",
    "data.split.valid": "valid_pct",
    "data.split.seed": "seed",
    "data.image_size": "size",
    "training.batch_size": "bs",
    "training.seed": "seed",
    "training.device": "device",
    "training.precision": "precision",
    "data": "",  # further keys are given by their own names
}
LEARNER = {"model.arch": "arch", "model.weights": "weights"}


@contextmanager
def keys_as_arguments(arguments: Mapping[str, str]) -> Iterator[None]:
    """Rename the recipe's key with which an error begins.

    Args:
        arguments: Key to argument; a key stands for all below it, and goes without its prefix where the argument is ''.

    Raises:
        DarkCovidError: As it was raised inside, of the same kind.
    """
    try:
        yield
    except DarkCovidError as error:
        message = str(error)
        key = next((key for key in arguments if message.startswith((f"{key}:", f"{key}."))), None)
        if key is None:
            raise
        rest = message.removeprefix(key)
        raise type(error)(arguments[key] + rest if arguments[key] else rest.lstrip(".: ")) from None
