"""The service of run folders: their models by name, on a socket."""

import re
from collections.abc import Sequence
from pathlib import Path

from darkcovid.core.errors import UsageError
from darkcovid.core.log import logger
from darkcovid.inference.predictor import InferencePipeline, load_pipeline
from darkcovid.recipe.sections import NAME
from darkcovid.serving.app import create_app
from darkcovid.serving.socket_server import Address, bind, serve_app


def serve_runs(runs: Sequence[str], arm: str | None, address: Address, token: str | None, device: str) -> None:
    """Serve run folders until SIGINT or SIGTERM.

    Args:
        runs: Each as its path or as NAME=PATH.
        arm: Whose weights; None takes the only arm.
        address: Where to listen.
        token: Bearer token that clients must send; None asks for none.
        device: "auto", "cpu" or "cuda".

    Raises:
        UsageError: Two models of one name, or an address that cannot be had; and as `load_pipeline` does.
    """
    predictors: dict[str, InferencePipeline] = {}
    for name, path in map(_parse_model_spec, runs):
        predictor = load_pipeline(path, arm, device)
        name = name or predictor.model.recipe.name
        if name in predictors:
            raise UsageError(f"{path}: a model called {name!r} is served already; give another name, as in NAME={path}")
        predictors[name] = predictor
    listening = bind(address)
    port = listening.getsockname()[1]
    for name, predictor in predictors.items():
        logger.info(f"{name}: {predictor.model.fit} of {predictor.model.run}")
    logger.info(f"http://{address.host}:{port}/ is ready; stop it with Ctrl-C. Research software, never a diagnosis.")
    if not address.loopback and token is None:
        logger.warning("other machines can reach it, and no token is asked for; see --token-file")
    serve_app(create_app(predictors, token=token, hosts=address.host_headers), listening)


def _parse_model_spec(given: str) -> tuple[str | None, Path]:
    name, equals, path = given.partition("=")
    if equals and not Path(given).exists():
        if not re.match(NAME, name):
            raise UsageError(f"{given}: {name!r} cannot be a model's name; use letters, digits, dots, dashes and underscores")
        return name, Path(path)
    return None, Path(given)
