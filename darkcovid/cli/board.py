"""The command `board`: all runs of a folder on a local page."""

from pathlib import Path
from typing import Annotated

import typer

from darkcovid.cli.serving import read_token
from darkcovid.core.errors import DarkCovidError


def board(
    runs_dir: Annotated[Path, typer.Argument(metavar="[RUNS_DIR]", help="Folder of the runs.")] = Path("runs"),
    host: Annotated[str, typer.Option(help="Address to listen on; one that other machines reach needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8502,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with the token that is asked for; or set DARKCOVID_TOKEN.")
    ] = None,
    images: Annotated[bool, typer.Option("--images", help="Show radiographs: thumbnails, and pictures in reports.")] = False,
) -> None:
    """Show all runs of a folder on a local page: a table, live curves, comparisons and reports. It only reads."""
    try:
        from darkcovid.serving.board.server import serve_board
        from darkcovid.serving.socket_server import Address
    except ImportError as error:
        raise DarkCovidError(f"board needs {error.name}; install `darkcovid[serve]`") from None
    serve_board(runs_dir, Address(host, port), read_token(token_file), images)
