"""The audit of what was made elsewhere: predictions or a model of any framework."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from darkcovid.cli.helpers import cache_folder, print_result
from darkcovid.cli.options import CacheDir, DataRoot, Dataset, Device, Json, RunsDir
from darkcovid.core.errors import UsageError
from darkcovid.core.warnings import silence_known_warnings

if TYPE_CHECKING:
    from darkcovid.experiment.audit_run import AuditRun

READING, PLACE, RESULT, MODEL = "How predictions are read", "Images", "Result", "The model"


def audit(
    predictions: Annotated[
        list[Path],
        typer.Option("--predictions", metavar="CSV", help="Predictions, a row per image; several files are compared."),
    ] = [],  # noqa: B006
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="FILE.onnx, .keras or TorchScript (.pt), module:function, or http://HOST/v1/models/NAME."
        ),
    ] = None,
    manifest: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="The images: path, label, patient_id.", rich_help_panel=PLACE),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="The images that were trained on, for leaks.", rich_help_panel=PLACE),
    ] = None,
    dataset: Dataset = None,
    data_root: DataRoot = None,
    pixels: Annotated[
        bool,
        typer.Option("--pixels/--no-pixels", help="Whether image files that are there are looked at.", rich_help_panel=PLACE),
    ] = True,
    image_column: Annotated[str, typer.Option(metavar="NAME", help="Column of the images' names.", rich_help_panel=READING)] = "",
    row_column: Annotated[
        str, typer.Option(metavar="NAME", help="Column of row numbers of the manifest.", rich_help_panel=READING)
    ] = "",
    first_row: Annotated[
        int | None, typer.Option(min=0, max=1, help="What --row-column calls the first row.", rich_help_panel=READING)
    ] = None,
    in_order: Annotated[bool, typer.Option("--in-order", help="Row i is the manifest's row i.", rich_help_panel=READING)] = False,
    label_column: Annotated[str, typer.Option(metavar="NAME", help="Column of the true labels.", rich_help_panel=READING)] = "",
    predicted_column: Annotated[
        str, typer.Option(metavar="NAME", help="Column of the predicted labels.", rich_help_panel=READING)
    ] = "",
    probability: Annotated[
        list[str],
        typer.Option("--probability", metavar="CLASS=COLUMN", help="The scores of a class.", rich_help_panel=READING),
    ] = [],  # noqa: B006
    classes: Annotated[
        str,
        typer.Option(
            metavar="NAMES", help="What labels and numbers mean: 0=covid,1=rest, or a JSON or YAML file.", rich_help_panel=READING
        ),
    ] = "",
    positive: Annotated[
        str, typer.Option(metavar="CLASS", help="The class of a single column of scores.", rich_help_panel=READING)
    ] = "",
    scores: Annotated[
        Literal["auto", "probabilities", "percent", "logits", "per-finding", "largest"],
        typer.Option(help="What the numbers are; `largest`: classes compete without adding up to 1.", rich_help_panel=READING),
    ] = "auto",
    match_by: Annotated[
        Literal["path", "name", "stem"],
        typer.Option(help="How images are told apart: by path, file name, or that without extension.", rich_help_panel=READING),
    ] = "path",
    strip_prefix: Annotated[
        str, typer.Option(metavar="TEXT", help="Taken off the beginning of each name.", rich_help_panel=READING)
    ] = "",
    ignore_case: Annotated[
        bool, typer.Option("--ignore-case", help="Pass over capitals in names.", rich_help_panel=READING)
    ] = False,
    truth: Annotated[
        Literal["manifest", "predictions"] | None,
        typer.Option(help="Whose labels count where they differ; refused without.", rich_help_panel=READING),
    ] = None,
    duplicates: Annotated[
        Literal["refuse", "mean"], typer.Option(help="What several rows of one image are.", rich_help_panel=READING)
    ] = "refuse",
    skip_unusable: Annotated[
        bool,
        typer.Option("--skip-unusable", help="Leave out, and count, rows without image or number.", rich_help_panel=READING),
    ] = False,
    leave_out: Annotated[
        list[str], typer.Option(metavar="LABEL", help="Do not score images of this label.", rich_help_panel=READING)
    ] = [],  # noqa: B006
    size: Annotated[
        str, typer.Option(metavar="HxW", help="The model's input in pixels, where it does not say.", rich_help_panel=MODEL)
    ] = "",
    channels: Annotated[int | None, typer.Option(min=1, max=3, help="1, or 3 equal ones.", rich_help_panel=MODEL)] = None,
    layout: Annotated[Literal["nchw", "nhwc"] | None, typer.Option(help="The order of axes.", rich_help_panel=MODEL)] = None,
    normalize: Annotated[
        str,
        typer.Option(
            metavar="HOW", help="0..1, 0..255, -1..1, imagenet, per-image, or MEAN,STD of pixels in 0..1.", rich_help_panel=MODEL
        ),
    ] = "",
    letterbox: Annotated[bool, typer.Option("--letterbox", help="Keep the images' aspect.", rich_help_panel=MODEL)] = False,
    output: Annotated[str, typer.Option(metavar="NAME", help="Which of several outputs.", rich_help_panel=MODEL)] = "",
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Whether lungs are hidden and maps drawn.", rich_help_panel=MODEL)
    ] = True,
    model_memory: Annotated[
        float, typer.Option(min=0.5, metavar="GB", help="That the model may have.", rich_help_panel=MODEL)
    ] = 8.0,
    model_seconds: Annotated[
        int, typer.Option(min=1, metavar="S", help="That the model may take for each answer.", rich_help_panel=MODEL)
    ] = 600,
    device: Device = "auto",
    fail_on: Annotated[
        Literal["never", "fail", "warn"],
        typer.Option(help="Exit with code 1 where a check failed, or failed or warned.", rich_help_panel=RESULT),
    ] = "never",
    ignore: Annotated[
        list[int], typer.Option(metavar="NUMBER", help="A check that --fail-on passes over.", rich_help_panel=RESULT)
    ] = [],  # noqa: B006
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Whether radiographs are shown in the report.", rich_help_panel=RESULT)
    ] = True,
    json_: Json = False,
    runs_dir: RunsDir = Path("runs"),
    cache_dir: CacheDir = None,
) -> None:
    """Audit predictions or a model of any framework: metrics with intervals over patients, leaks, confounders, calibration,
    subgroups, of a model also shortcuts, and a verdict, in a report like a run's. Exit code 1 where `--fail-on` says so."""
    if bool(predictions) == bool(model):
        both = (
            "--predictions and --model exclude each other"
            if model
            else "nothing to audit: give --predictions CSV or --model MODEL"
        )
        raise UsageError(f"{both}, and --manifest PATH; see darkcovid audit --help")
    if manifest is None:
        raise UsageError("audit: give --manifest PATH, a CSV of the images with path, label and patient_id")

    def work() -> "AuditRun":
        from darkcovid.cli.helpers import manifest_rows
        from darkcovid.core.cpu_threads import choose_cpu_threads
        from darkcovid.core.slow_progress import slow_step
        from darkcovid.data.predictions.class_names import read_class_names
        from darkcovid.data.predictions.columns import ColumnChoice
        from darkcovid.data.predictions.join import JoinRule
        from darkcovid.data.predictions.options import PredictionOptions
        from darkcovid.data.predictions.table import read_text_table
        from darkcovid.data.predictions.training_list import read_training_list

        options = PredictionOptions(
            columns=ColumnChoice(image_column, row_column, label_column, predicted_column, _columns(probability)),
            rule=JoinRule(match_by, strip_prefix, ignore_case),
            class_names=read_class_names(classes) if classes else {},
            scores=scores,
            positive=positive,
            truth=truth or "",
            first_row=first_row,
            in_order=in_order,
            mean_of_duplicates=duplicates == "mean",
            skip_unusable=skip_unusable,
            leave_out=tuple(leave_out),
        )
        listed = manifest_rows(Path(manifest), data_root, dataset)
        trained = read_training_list(train, listed, options.rule, image_column) if train else None
        cache = cache_folder(cache_dir)
        choose_cpu_threads()
        with slow_step("loading torch"):
            from darkcovid.experiment.audit_predictions import audit_predictions
            from darkcovid.experiment.audit_run import write_audit
        if model:
            from darkcovid.experiment.audit_model_run import AuditedModel, audit_and_write
            from darkcovid.inference.foreign.inputs import DeclaredInput, parse_size

            declared = DeclaredInput(parse_size(size) if size else None, channels, layout, normalize, letterbox)
            asked = AuditedModel(model, declared, output, model_memory, model_seconds)
            return audit_and_write(asked, listed, options, trained, device, cache, runs_dir, controls, images)
        tables = {name: read_text_table(path) for name, path in _named(predictions).items()}
        found = audit_predictions(tables, listed, options, trained, cache if pixels else None)
        return write_audit(found, runs_dir, images)

    silence_known_warnings()
    run = work()
    print_result(run.as_dict(), json_, lambda: _show(run))
    stops = run.stops(fail_on, ignore)
    if stops:
        typer.echo(f"--fail-on {fail_on}: {', '.join(f'{row.number} {row.name}' for row in stops)}", err=True)
        raise typer.Exit(1)


def _columns(pairs: list[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for pair in pairs:
        name, equals, column = (part.strip() for part in pair.partition("="))
        if not (name and equals and column) or name in columns:
            raise UsageError(f"--probability {pair}: write CLASS=COLUMN, once for each class")
        columns[name] = column
    return columns


def _named(files: list[Path]) -> dict[str, Path]:
    """A name for each file that is also a folder's: its own, or its folder's where several are called the same."""
    stems = [file.stem for file in files]
    names = [_as_folder(file.stem if stems.count(file.stem) == 1 else file.absolute().parent.name) for file in files]
    again = [name if names.count(name) == 1 else f"{name}-{number}" for number, name in enumerate(names, 1)]
    return dict(zip(again, files, strict=True))


def _as_folder(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "predictions"


def _show(run: "AuditRun") -> None:
    from rich.console import Console

    from darkcovid.report.tables import comparison_tables

    console = Console(highlight=False, soft_wrap=True)
    evidence = run.audit.evidence
    for name, notes in evidence.subject.notes.items() if evidence.subject else ():
        console.print(f"{name}: {'; '.join(notes)}", markup=False)
    for name, reasons in evidence.subject.left_out.items() if evidence.subject else ():
        for reason, count in reasons.items():
            console.print(f"{name}: not scored: {count} {reason}", markup=False)
    console.print()
    for table in comparison_tables(evidence.comparison, console.width):
        console.print(table)
    for pair in evidence.comparison.pairs:
        console.print(pair.sentence, markup=False)
    console.print()
    for sentence in run.verdict:
        console.print(sentence, markup=False)
    for row in run.checks:
        if row.status == "warn":
            console.print(f"caution: {row.name}: {row.words}", markup=False)
    console.print(f"report: {run.path / 'report.html'}", markup=False)
