"""The board on a socket."""

from pathlib import Path

from darkcovid.core.errors import UsageError
from darkcovid.core.log import logger
from darkcovid.core.words import counted
from darkcovid.serving.board.app import create_board
from darkcovid.serving.socket_server import Address, bind, serve_app


def serve_board(runs_dir: Path, address: Address, token: str | None, images: bool) -> None:
    """Show the runs of a folder until SIGINT or SIGTERM.

    Args:
        runs_dir: The folder of all runs.
        address: Where to listen.
        token: What clients must send; None asks for none, which only this machine's own addresses allow.
        images: Whether radiographs are shown.

    Raises:
        UsageError: No such folder, an address that cannot be had, or one that other machines reach without a token.
    """
    if not address.loopback and token is None:
        raise UsageError(
            f"--host {address.host}: other machines can reach it; put a long random word into a file and add --token-file FILE"
        )
    app = create_board(runs_dir, token, address.host_headers, images)
    runs = app.state.board.index.runs()
    listening = bind(address)
    host = f"[{address.host}]" if ":" in address.host else address.host
    logger.info(f"{counted(len(runs), 'run')} in {runs_dir}{', with radiographs' if images else ''}")
    logger.info(
        f"http://{host}:{listening.getsockname()[1]}/ is ready; stop it with Ctrl-C. Research software, never a diagnosis."
    )
    serve_app(app, listening)
