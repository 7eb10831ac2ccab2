"""Commands on finished runs: compare, report, reproduce."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from darkcovid.cli.helpers import cache_folder, print_result, run_heavy
from darkcovid.cli.options import CacheDir, Json, RunsDir, Tracker, TrackingUri, output_option
from darkcovid.core.errors import UsageError

if TYPE_CHECKING:
    from darkcovid.experiment.reproduce import Reproduction


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    force: Annotated[bool, typer.Option("--force", help="Compare even if the validation sets differ.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    json_: Json = False,
) -> None:
    """Show the arms of several runs side by side; refused when they were validated on different patients."""
    from darkcovid.experiment.compare import compare_runs

    comparison = compare_runs(runs, force)

    def show() -> None:
        if markdown:
            from darkcovid.evaluation.results import parse_comparison
            from darkcovid.report.tables import comparison_markdown

            typer.echo(comparison_markdown(parse_comparison(comparison)))
        else:
            show_comparison(comparison)

    print_result(comparison, json_, show)


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    images: Annotated[bool, typer.Option("--images/--no-images", help="Whether radiographs are shown in it.")] = True,
    sheet: Annotated[
        Literal["claim", "tripod-ai", "probast-ai", "model-card"] | None,
        typer.Option(help="Write this instead: a reporting guideline, or a model card as Hugging Face's hub wants it."),
    ] = None,
    form: Annotated[Literal["md", "docx"], typer.Option("--format", help="Of a guideline: Markdown or Word.")] = "md",
    output: Annotated[Path | None, output_option("FILE", "The sheet's file; in the run folder by default.")] = None,
    json_: Json = False,
) -> None:
    """Write a run's `report.html` again, one self-contained page; or a sheet of it: a filled-in guideline, a model card."""
    if sheet is None and (output is not None or form != "md"):
        raise UsageError("--output and --format are of a sheet; name one with --sheet")
    if sheet == "model-card":
        _write_model_card(run, form, output, json_)
        return
    if sheet is not None:
        from darkcovid.audits.checks import run_checks
        from darkcovid.report.guideline_files import write_guideline
        from darkcovid.report.html import read_evidence

        evidence, file = read_evidence(run), output or run / f"{sheet}.{form}"
        if (file.suffix.lower() == ".docx") != (form == "docx"):
            raise UsageError(f"--output {file}: with --format docx, and only then, its name ends with .docx")
        counts = write_guideline(evidence, run_checks(evidence), sheet, file)
        said = ", ".join(f"{count} {status}" for status, count in counts.items())
        print_result({"sheet": str(file), "items": counts}, json_, lambda: typer.echo(f"{file}: {said}"))
        return
    from darkcovid.report.html import write_report

    path = write_report(run, images)
    print_result({"report": str(path)}, json_, lambda: typer.echo(str(path)))


def _write_model_card(run: Path, form: str, output: Path | None, as_json: bool) -> None:
    if form != "md":
        raise UsageError("--sheet model-card: the hub takes Markdown; leave --format out")

    def work() -> Path:
        from darkcovid.core.io import write_text
        from darkcovid.inference.load import load_fitted
        from darkcovid.inference.model_card import hub_model_card

        model = load_fitted(run)
        file = output or model.run / "model-card.md"
        write_text(file, hub_model_card(model))
        return file

    file = run_heavy(work)
    print_result({"sheet": str(file)}, as_json, lambda: typer.echo(str(file)))


def track(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder.")],
    to: Annotated[Tracker, typer.Option("--to", help="Where to.")],
    tracking_uri: TrackingUri = None,
    images: Annotated[bool, typer.Option("--images", help="With radiographs in the report.")] = False,
    json_: Json = False,
) -> None:
    """Write a finished run into TensorBoard, MLflow or Weights & Biases: recipe, epochs, final metrics, plots and report."""

    def work() -> str:
        from darkcovid.core.credentials import without_credentials
        from darkcovid.experiment.trackers.tracker import make_tracker, track_finished

        tracker = make_tracker(to, tracking_uri)
        track_finished(run, tracker, images)
        return without_credentials(tracker.where)

    where = run_heavy(work)
    print_result({"run_dir": str(run), "to": to}, json_, lambda: typer.echo(f"{run}: written to {to} ({where})"))


def reproduce(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder.")],
    json_: Json = False,
    runs_dir: RunsDir = Path("runs"),
    cache_dir: CacheDir = None,
) -> None:
    """Run a finished run's recipe again and compare every number with the first one's. Exit code 1 if they differ."""

    def work() -> "Reproduction":
        from darkcovid.experiment.reproduce import reproduce as again
        from darkcovid.experiment.runner import RunPaths
        from darkcovid.report.progress import Progress

        return again(run, RunPaths(runs_dir, cache_folder(cache_dir)), Progress())

    reproduction = run_heavy(work)
    print_result(reproduction.as_dict(), json_, lambda: _show_reproduced(reproduction))
    if not reproduction.same:
        raise typer.Exit(1)


def _show_reproduced(reproduction: "Reproduction") -> None:
    for what, (then, now) in reproduction.environment.items():
        typer.echo(f"{what}: {then} then, {now} now")
    for name, fit in reproduction.fits.items():
        if fit.same:
            typer.echo(f"{name}: the same, to the last digit")
            continue
        parts = [
            f"split {'the same' if fit.split else 'other rows'}",
            f"history {_how_far(fit.history_difference)}",
            f"predictions {_how_far(fit.predictions_difference)}",
        ]
        typer.echo(f"{name}: {', '.join(parts)}; metrics that differ: {', '.join(fit.metrics_differing) or 'none'}")
    typer.echo(f"run again in: {reproduction.again}")


def _how_far(difference: float | None) -> str:
    if difference is None:
        return "other rows"
    return f"differs by at most {difference:.2g}" if difference else "the same"


def show_comparison(json: dict[str, Any]) -> None:
    """json: as in `comparison.json`."""
    from rich.console import Console

    from darkcovid.evaluation.results import parse_comparison
    from darkcovid.report.tables import comparison_notes, comparison_tables, notice

    comparison, console = parse_comparison(json), Console(highlight=False)
    for index, table in enumerate(comparison_tables(comparison, console.width)):
        console.print(*[""] * bool(index), table, sep="\n")
    for number, run in comparison.runs.items():
        console.print(f"{number}: {run}", markup=False, soft_wrap=True)
    for note in comparison_notes(comparison):
        console.print(note, markup=False)
    for pair in comparison.pairs:
        console.print(pair.sentence, markup=False)
    console.print(f"\n{notice(comparison)}", markup=False, soft_wrap=True)
    for sentence in _verdict(Path(comparison.run_dir)):
        console.print(sentence, markup=False, soft_wrap=True)
    if not comparison.runs:
        console.print(f"run folder: {comparison.run_dir}", markup=False, soft_wrap=True)


def _verdict(run: Path) -> list[str]:
    """The first sentence of a run's verdict, the checks that failed, and where the rest is; nothing of several runs, or of lung
    segmenters."""
    from darkcovid.audits.checks import run_checks
    from darkcovid.audits.checks.registry import FAIL
    from darkcovid.report.html import read_evidence
    from darkcovid.report.verdict import verdict

    if not (run / "report.html").is_file():
        return []
    evidence = read_evidence(run)
    leaked = evidence.audit is not None and evidence.audit.leaks
    leaks = ["LEAKS: patients or copies are in two sets, which the recipe allowed"] * leaked
    checks = run_checks(evidence)
    first, failed = verdict(evidence, checks)[0], [check.name for check in checks if check.status == FAIL]
    unsaid = any(name not in first for name in failed)
    words = [first, *[f"Checks that failed: {', '.join(failed)}."] * unsaid, "The reasons are in report.html."]
    return [*leaks, " ".join(words)]
