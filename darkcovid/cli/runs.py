"""Commands on the runs of a folder: runs list, show, rm, prune, diff, best, tag, note, crate."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from darkcovid.cli.helpers import print_result
from darkcovid.cli.options import Json, output_option
from darkcovid.cli.run_tables import show_differences, show_list, show_rankings, show_run, size_text
from darkcovid.core.errors import UsageError
from darkcovid.core.words import counted, printable

if TYPE_CHECKING:
    from darkcovid.experiment.run_list import RunInfo


class Status(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    DONE = "done"


runs_app = typer.Typer(help="List, compare, tag and remove runs.", no_args_is_help=True)

SortKey = Literal["time", "name", "recipe", "accuracy", "minutes", "size", "status"]
RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="DIR", help="Folder of the runs.")]
OneRun = Annotated[Path, typer.Argument(metavar="RUN", help="A run's name in --runs-dir, or its path.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")]


@runs_app.command("list")
def list_(
    folder: Annotated[Path | None, typer.Argument(metavar="[RUNS_DIR]", help="As --runs-dir.")] = None,
    sort: Annotated[SortKey, typer.Option("--sort", help="Order; times and figures: the greatest first.")] = "time",
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    status: Annotated[list[Status], typer.Option("--status", help="Only runs that are so (may be repeated).")] = [],  # noqa: B006
    tag: Annotated[list[str], typer.Option("--tag", metavar="TAG", help="Only runs with this tag (may be repeated).")] = [],  # noqa: B006
    recipe: Annotated[str | None, typer.Option("--recipe", metavar="NAME", help="Only runs of this recipe.")] = None,
    json_: Json = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """List the runs of a folder, the newest first: what they were, how accurate, how long, how large, and how they stand."""
    from darkcovid.experiment.run_list import list_runs, sort_runs

    runs_dir = folder or runs_dir
    runs = [
        run
        for run in sort_runs(list_runs(runs_dir), sort, reverse)
        if (not status or run.status in status)
        and (not tag or set(tag) & set(run.notes.tags))
        and (recipe is None or run.recipe == recipe)
    ]
    print_result([run.as_dict() for run in runs], json_, lambda: show_list(runs, runs_dir))


@runs_app.command()
def show(run: OneRun, json_: Json = False, runs_dir: RunsDir = Path("runs")) -> None:
    """Show one run: its arms, how it stands, and what was said of it."""
    info = _read(run, runs_dir)
    print_result(info.as_dict(), json_, lambda: show_run(info))


@runs_app.command()
def rm(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Names in --runs-dir, or paths.")],
    yes: Yes = False,
    json_: Json = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Remove runs with all their files. Asks first; a running run, and what is not a run's folder, is refused."""
    chosen = list({info.path.resolve(): info for info in [_read(run, runs_dir) for run in runs]}.values())
    _remove(chosen, runs_dir, yes, json_)


@runs_app.command()
def prune(
    older_than: Annotated[str | None, typer.Option(metavar="AGE", help="Started longer ago: 12h, 30d, 2w.")] = None,
    larger_than: Annotated[str | None, typer.Option(metavar="SIZE", help="Larger: 500MB, 5GB.")] = None,
    status: Annotated[list[Status], typer.Option("--status", help="Only runs that are so (may be repeated).")] = [],  # noqa: B006
    tag: Annotated[list[str], typer.Option("--tag", metavar="TAG", help="Only runs with this tag (may be repeated).")] = [],  # noqa: B006
    keep_tag: Annotated[list[str], typer.Option(metavar="TAG", help="No run with this tag (may be repeated).")] = [],  # noqa: B006
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go; remove nothing.")] = False,
    json_: Json = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Remove the runs that meet every condition given. Shows them and asks first; running ones always stay."""
    from darkcovid.experiment.remove_runs import parse_duration, parse_size, select_runs
    from darkcovid.experiment.run_list import list_runs

    if not (older_than or larger_than or status or tag):
        raise UsageError("runs prune: say what goes: --older-than 30d, --larger-than 5GB, --status failed or --tag NAME")
    chosen = select_runs(
        list_runs(runs_dir),
        parse_duration(older_than, "--older-than") if older_than else None,
        parse_size(larger_than, "--larger-than") if larger_than else None,
        status,
        tag,
        keep_tag,
    )
    _remove(chosen, runs_dir, yes, json_, dry_run)


@runs_app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="A run's name in --runs-dir, or its path.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another's.")],
    json_: Json = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Show what differs between the resolved recipes of two runs, key by key."""
    from darkcovid.experiment.recipe_differences import recipe_differences
    from darkcovid.experiment.run_list import find_run

    folders = [find_run(run, runs_dir) for run in (first, second)]
    differences = recipe_differences(*folders)

    result = {"first": str(folders[0]), "second": str(folders[1]), "differences": differences}
    print_result(result, json_, lambda: show_differences(folders, differences))


@runs_app.command()
def best(
    by: Annotated[str, typer.Option("--by", metavar="METRIC", help="A metric: roc_auc, covid.recall, dice, train_seconds.")] = (
        "balanced_accuracy"
    ),
    top: Annotated[int, typer.Option("--top", min=1, help="Arms to show of each ranking.")] = 5,
    tag: Annotated[list[str], typer.Option("--tag", metavar="TAG", help="Only runs with this tag (may be repeated).")] = [],  # noqa: B006
    json_: Json = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Rank the arms of finished runs by a metric, only among those that were scored on the same images of the same patients."""
    from darkcovid.experiment.best_runs import advice, rank_runs
    from darkcovid.experiment.run_list import list_runs

    runs = [run for run in list_runs(runs_dir) if not tag or set(tag) & set(run.notes.tags)]
    rankings = rank_runs(runs, by)
    sentences = advice(rankings, by)
    result = {"by": by, "rankings": [ranking.as_dict() for ranking in rankings], "advice": sentences}
    print_result(result, json_, lambda: show_rankings(rankings, by, top, sentences))


@runs_app.command()
def tag(
    run: OneRun,
    tags: Annotated[list[str] | None, typer.Argument(metavar="[TAG...]", help="Words to add.")] = None,
    remove: Annotated[list[str], typer.Option("--remove", metavar="TAG", help="Remove this tag (may be repeated).")] = [],  # noqa: B006
    json_: Json = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Add tags to a run, by which `runs list`, `best` and `prune` choose; without a tag, show those it has."""
    from darkcovid.experiment.run_list import find_run
    from darkcovid.experiment.run_notes import change_tags

    folder = find_run(run, runs_dir)
    notes = change_tags(folder, tags or [], remove) if tags or remove else _read(folder, runs_dir).notes
    print_result({"run_dir": str(folder), "tags": list(notes.tags)}, json_, lambda: typer.echo(" ".join(notes.tags)))


@runs_app.command()
def note(
    run: OneRun,
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="The note; '' removes it.")] = None,
    json_: Json = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Write a note on a run, in place of the one it has; without a text, show it."""
    from darkcovid.experiment.run_list import find_run
    from darkcovid.experiment.run_notes import set_note

    folder = find_run(run, runs_dir)
    notes = _read(folder, runs_dir).notes if text is None else set_note(folder, text)
    print_result({"run_dir": str(folder), "note": notes.note}, json_, lambda: typer.echo(printable(notes.note)))


@runs_app.command()
def crate(
    run: OneRun,
    output: Annotated[Path, output_option("ZIP", "The RO-Crate.")],
    license_: Annotated[str | None, typer.Option("--license", metavar="URL", help="Under which readers may use it.")] = None,
    json_: Json = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Pack a run for its reviewers as an RO-Crate: recipe, figures, weights, predictions, report, all hashed; no radiographs."""
    from darkcovid.experiment.run_crate import write_run_crate
    from darkcovid.experiment.run_list import find_run

    files = write_run_crate(find_run(run, runs_dir), output, license_)
    print_result({"crate": str(output), "files": files}, json_, lambda: typer.echo(f"{output}: {counted(len(files), 'file')}"))


def _read(run: Path, runs_dir: Path) -> "RunInfo":
    from darkcovid.experiment.run_list import find_run, read_run

    return read_run(find_run(run, runs_dir))


def _remove(chosen: "list[RunInfo]", runs_dir: Path, yes: bool, as_json: bool, dry_run: bool = False) -> None:
    """Show runs, ask, and remove them; all are checked before the first goes."""
    from darkcovid.experiment.remove_runs import check_removable, finish_removals, remove_run

    for run in chosen:
        check_removable(run)
    total = sum(run.size for run in chosen)
    if not as_json:
        for run in chosen:
            tags = f"  {' '.join(run.notes.tags)}" if run.notes.tags else ""
            typer.echo(printable(f"{run.name}  {run.status}  {size_text(run.size)}{tags}"))
    if chosen and not yes and not dry_run:
        if as_json or not sys.stdin.isatty():
            raise UsageError(f"{counted(len(chosen), 'run')} would be removed, and nobody can be asked here; add --yes")
        if not typer.confirm(f"Remove {counted(len(chosen), 'run')}, {size_text(total)}?"):
            raise typer.Abort
    if not dry_run:
        for run in chosen:
            remove_run(run)
        for folder in {run.path.parent for run in chosen} | {runs_dir}:
            finish_removals(folder)
    result = {"removed": [] if dry_run else [str(run.path) for run in chosen], "bytes": total}
    result |= {"would_remove": [str(run.path) for run in chosen]} if dry_run else {}
    verb = "would be removed" if dry_run else "removed"
    print_result(result, as_json, lambda: typer.echo(f"{counted(len(chosen), 'run')} {verb}, {size_text(total)}"))
