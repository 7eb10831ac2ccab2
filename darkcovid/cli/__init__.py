"""The `darkcovid` command. Nothing heavy is imported until a command needs it, so `--help` answers at once."""

import errno
import os
import re
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from darkcovid import __version__
from darkcovid.cli.audit import audit
from darkcovid.cli.board import board
from darkcovid.cli.data import data_app
from darkcovid.cli.deprecated import current_spelling
from darkcovid.cli.doctor import doctor
from darkcovid.cli.init import init
from darkcovid.cli.lungs import lungs_app
from darkcovid.cli.measure import bench, lr_find
from darkcovid.cli.models import models_app
from darkcovid.cli.recipe import recipe_app
from darkcovid.cli.results import compare, report, reproduce, track
from darkcovid.cli.runs import runs_app
from darkcovid.cli.serving import export, predict, serve
from darkcovid.cli.sweep import sweep, sweep_worker
from darkcovid.cli.train import aggregate, run
from darkcovid.core.credentials import without_credentials
from darkcovid.core.errors import DarkCovidError, UsageError, one_line
from darkcovid.core.log import configure_logging
from darkcovid.core.warnings import silence_known_warnings
from darkcovid.core.words import printable

QUOTED_OPTION = r"^'(--[a-z-]+)'"

app = typer.Typer(
    name="darkcovid",
    help="Rapid, honest experiments on covid chest radiographs. Research software, never a diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(init)
app.command()(run)
app.command()(sweep)
app.command("sweep-worker", hidden=True)(sweep_worker)
app.command()(audit)
app.command()(aggregate)
app.command()(compare)
app.command()(report)
app.command()(reproduce)
app.command()(track)
app.command("lr-find")(lr_find)
app.command()(bench)
app.command()(predict)
app.command()(export)
app.command()(serve)
app.command()(board)
app.command()(doctor)
app.add_typer(runs_app, name="runs")
app.add_typer(lungs_app, name="lungs")
app.add_typer(data_app, name="data")
app.add_typer(models_app, name="models")
app.add_typer(recipe_app, name="recipe")


@dataclass
class Settings:
    """What the options before the command say."""

    debug: bool = False


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"darkcovid {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr; warnings and errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what darkcovid and its libraries log.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """What every command takes."""
    if quiet and verbose:
        raise UsageError("--quiet and --verbose exclude each other; give one of them")
    context.ensure_object(Settings).debug = debug
    configure_logging(quiet, verbose)


def main() -> None:
    """Run the command; every failure is one line on stderr and the right exit code."""
    silence_known_warnings()
    settings = Settings()
    try:
        arguments = current_spelling(sys.argv[1:])
        sys.exit(app(arguments, standalone_mode=False, prog_name="darkcovid", obj=settings) or 0)
    except DarkCovidError as error:
        _fail(str(error), error.exit_code, settings.debug)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130, debug=False)
    except BrokenPipeError:
        os._exit(1)
    except OSError as error:
        _fail(_disk(error), 1, settings.debug)
    except Exception as error:  # noqa: BLE001 (the last line of defence: no traceback without --debug)
        exit_code = getattr(error, "exit_code", None)
        if hasattr(error, "format_message") and exit_code is not None:
            _fail(_misuse(error), exit_code, settings.debug)
        _fail(f"unexpected {type(error).__name__}: {one_line(error)}; --debug shows where", 1, settings.debug)


def _misuse(error: Any) -> str:
    """What click says of a wrong command line, and which help to read."""
    command = error.ctx.command_path if getattr(error, "ctx", None) else "darkcovid"
    message = one_line(error.format_message()).removeprefix("Invalid value for ").replace("Value error, ", "")
    message = re.sub(QUOTED_OPTION, r"\1", message).rstrip(".")
    return f"{message}; see {command} --help"


def _disk(error: OSError) -> str:
    """What the system refused, where, and what to do."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}the disk is full; make room, then repeat the command (`run`: with --resume)"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where}not allowed ({error.strerror}); give the folder's rights, or name another folder"
    return f"{where}{error.strerror or one_line(error)}; --debug shows where"


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        import traceback

        print(without_credentials(traceback.format_exc()), end="", file=sys.stderr)
    print(f"error: {printable(without_credentials(message))}", file=sys.stderr)
    sys.exit(code)
