"""The `darkcovid` command. Nothing heavy is imported until a command needs it, so `--help` answers at once."""

import errno
import os
import sys
from typing import Annotated

import typer

from darkcovid import __version__
from darkcovid.cli.data import data_app
from darkcovid.cli.doctor import doctor
from darkcovid.cli.lungs import lungs_app, segment
from darkcovid.cli.models import models_app
from darkcovid.cli.recipe import recipe_app
from darkcovid.cli.results import compare, report, reproduce
from darkcovid.cli.serving import export, predict, serve
from darkcovid.cli.train import bench, collect, lr_find, run
from darkcovid.core.errors import DarkCovidError, one_line
from darkcovid.core.warnings import silence_known_warnings

app = typer.Typer(
    name="darkcovid",
    help="Rapid, honest experiments on covid chest radiographs. Research software, never a diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(collect)
app.command()(compare)
app.command()(report)
app.command()(reproduce)
app.command("lr-find")(lr_find)
app.command()(bench)
app.command()(predict)
app.command()(export)
app.command()(serve)
app.command()(segment)
app.command()(doctor)
app.add_typer(lungs_app, name="lungs")
app.add_typer(data_app, name="data")
app.add_typer(models_app, name="models")
app.add_typer(recipe_app, name="recipe")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"darkcovid {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """What every command takes."""


def main() -> None:
    """Run the command; every failure is one line on stderr and the right exit code."""
    silence_known_warnings()
    debug = "--debug" in sys.argv
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    try:
        sys.exit(app(arguments, standalone_mode=False, prog_name="darkcovid") or 0)
    except DarkCovidError as error:
        _fail(str(error), error.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130, debug=False)
    except BrokenPipeError:
        os._exit(1)
    except OSError as error:
        _fail(_disk(error), 1, debug)
    except Exception as error:  # noqa: BLE001 (the last line of defence: no traceback without --debug)
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(error.exit_code)
        _fail(f"unexpected {type(error).__name__}: {one_line(error)}; --debug shows where", 1, debug)


def _disk(error: OSError) -> str:
    """What the system refused, where, and what to do."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}the disk is full; make room, and go on with the same command (`run`: with --resume)"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where}not allowed ({error.strerror}); give the folder's rights, or name another folder"
    return f"{where}{error.strerror or one_line(error)}; --debug shows where"


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
