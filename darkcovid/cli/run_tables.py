"""Runs in a terminal: the list, one run, rankings, and what differs between two recipes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from darkcovid.core.words import counted, printable

if TYPE_CHECKING:
    from darkcovid.experiment.best_runs import Ranking
    from darkcovid.experiment.run_list import RunInfo

GAP = 2  # blanks between columns
RIGHT = ("accuracy of the best", "min", "size")  # columns of numbers
BESIDE_NAME = ("run", "kind", "time (UTC)", "tags")  # columns that are no part of the second line of a narrow terminal
VERDICTS = {  # of runs and of sweeps, by how the sentence begins
    "Not as it stands": "not as it stands",
    "Not audited": "not audited",
    "With care": "with care",
    "Nothing that": "passes",
    "The winner is": "winner {}",
    "No difference": "no difference",
    "No value tried": "no winner",
}


def show_list(runs: "list[RunInfo]", runs_dir: Path) -> None:
    """Runs as a table; in a narrow terminal each takes two lines. Below it a line for each damaged one."""
    if not runs:
        typer.echo(printable(f"no such runs in {runs_dir}"))
        return
    columns = {
        "run": [printable(run.name) for run in runs],
        "kind": [run.kind for run in runs],
        "time (UTC)": [f"{run.started:%Y-%m-%d %H:%M}" for run in runs],
        "status": [run.status for run in runs],
        "arms": [str(len(run.summary.arms)) if run.summary else "-" for run in runs],
        "accuracy of the best": [_accuracy(run, run.best_arm) for run in runs],
        "min": [_minutes(run) for run in runs],
        "size": [size_text(run.size) for run in runs],
        "verdict": [_short_verdict(run) for run in runs],
        "tags": [printable(" ".join(run.notes.tags)) for run in runs],
    }
    console = wide_console()
    if sum(max(map(len, [title, *texts])) + GAP for title, texts in columns.items()) <= console.width + GAP:
        console.print(_one_line_each(columns))
    else:
        typer.echo(_two_lines_each(columns))
    for run in runs:
        if run.damage:
            typer.echo(printable(f"damaged: {run.name}: {run.damage}"))


def _one_line_each(columns: dict[str, list[str]]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for title in columns:
        right = title in RIGHT
        table.add_column(title, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(table_cell, row))
    return table


def _two_lines_each(columns: dict[str, list[str]]) -> str:
    """The name, with what kind it is where that is no run, and its tags; below it figures, under titles that are said once."""
    inner = {title: [title, *texts] for title, texts in columns.items() if title not in BESIDE_NAME}
    widths = {title: max(map(len, texts)) for title, texts in inner.items()}
    padded = [
        [text.rjust(widths[title]) if title in RIGHT else text.ljust(widths[title]) for text in texts]
        for title, texts in inner.items()
    ]
    figures = ["  " + (" " * GAP).join(cells).rstrip() for cells in zip(*padded, strict=True)]
    lines = ["run", figures[0]]
    for name, kind, tags, row in zip(columns["run"], columns["kind"], columns["tags"], figures[1:], strict=True):
        beside = "  ".join(filter(None, [kind if kind != "run" else "", tags]))
        lines += [f"{name}  {beside}".rstrip(), row]
    return "\n".join(lines)


def show_run(run: "RunInfo") -> None:
    """One run, line by line."""
    what = "an audit" if run.kind == "audit" else f"recipe: {run.recipe or '-'}"
    lines = [
        f"{run.name}: {run.status}{f' ({run.reason})' if run.reason else ''}",
        f"folder: {run.path}, {size_text(run.size)}",
        f"{what}, started {run.started:%Y-%m-%d %H:%M} UTC",
    ]
    if run.damage:
        lines.append(f"damaged: {run.damage}")
    if run.notes.tags:
        lines.append(f"tags: {' '.join(run.notes.tags)}")
    if run.notes.note:
        lines.append(f"note: {run.notes.note}")
    if run.summary:
        for name, arm in run.summary.arms.items():
            seconds = arm.metrics.get("train_seconds")
            cost = "" if seconds is None else f", {seconds / 60:.1f} min of training"
            lines.append(f"{name}: {arm.headline} {_accuracy(run, name)}{cost}")
        if run.summary.verdict:
            lines.append(run.summary.verdict)
        final = run.summary.facts.get("final_run", run.path)
        in_full = run.path / "report.html" if run.kind == "audit" else f"darkcovid compare {final}"
        lines.append(f"in full: {in_full}")
    elif run.status == "interrupted":
        command = "sweep" if (run.path / "study.db").is_file() else "run"
        lines.append(f"`darkcovid {command} RECIPE --resume`, with the recipe and options of then, continues it")
    typer.echo("\n".join(map(printable, lines)))


def show_rankings(rankings: "list[Ranking]", by: str, top: int, sentences: list[str]) -> None:
    """A table for each set of images that arms were scored on, then what the tables do not say."""
    from rich.table import Table

    for ranking in rankings:
        scored = ranking.scored
        where = {"valid": "validation", "test": "test"}.get(scored.set, "")
        title = f"{counted(scored.images, 'image')} of {counted(scored.patients, 'patient')}, {where} set"
        typer.echo(title if scored.images else "scored on images that are not known")
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 2))
        for column in ("run", "arm"):
            table.add_column(column, overflow="fold")
        table.add_column(table_cell(by), justify="right", no_wrap=True)
        table.add_column("95 % interval", justify="right", no_wrap=True)
        for ranked in ranking.arms[:top]:
            table.add_row(
                table_cell(ranked.run.name), table_cell(ranked.arm), f"{ranked.value:.4g}", _interval(ranked.interval) or "-"
            )
        wide_console().print(table)
        if len(ranking.arms) > top:
            typer.echo(f"  and {counted(len(ranking.arms) - top, 'more arm')}")
    for sentence in sentences:
        typer.echo(sentence)


def _accuracy(run: "RunInfo", name: str | None) -> str:
    """`0.886 [0.84, 0.92]`, of the validation set, or with the word `test` of the test set, which a held-out source is, too."""
    if run.summary is None or name is None:
        return "-"
    arm = run.summary.arms[name]
    value = arm.metrics.get(arm.headline)
    if value is None:
        return "-"
    interval = _interval(arm.intervals.get(arm.headline))
    on_test = "test" if arm.scored is not None and arm.scored.set == "test" else ""
    return " ".join(filter(None, [f"{value:.3f}", interval, on_test]))


def _minutes(run: "RunInfo") -> str:
    return "-" if run.summary is None or run.summary.minutes is None else f"{run.summary.minutes:.1f}"


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"({interval[0]:.3f} to {interval[1]:.3f})"


def _short_verdict(run: "RunInfo") -> str:
    sentence = run.summary.verdict if run.summary else ""
    better = "better" if sentence.startswith("The winner is better") else "worse"
    short = next((short for start, short in VERDICTS.items() if sentence.startswith(start)), printable(sentence) or "-")
    return short.format(better)


def size_text(size: int) -> str:
    """`17.9 MB`, by powers of ten."""
    number, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 1000:
            break
        number, unit = number / 1000, larger
    return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"


def table_cell(text: str) -> Any:
    """A text from a file as rich shows it, without markup."""
    from rich.text import Text

    return Text(printable(text))


def wide_console() -> Any:
    """As wide as the terminal; in a file as wide as it needs to be."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 400
    return console


def show_differences(folders: list[Path], differences: dict[str, list[Any]]) -> None:
    """What differs between the recipes of two runs, key by key."""
    if not differences:
        typer.echo("the same recipe")
        return
    import yaml
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for title in ("key", *(folder.name for folder in folders)):
        table.add_column(printable(title), overflow="fold")
    for key, values in differences.items():
        texts = [yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1000) for value in values]
        table.add_row(table_cell(key), *(table_cell(text.removesuffix("\n...\n").strip()) for text in texts))
    wide_console().print(table)
