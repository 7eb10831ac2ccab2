"""Commands on a fitted model: predict, export, serve."""

from pathlib import Path
from typing import Annotated, Any

import typer

from darkcovid.cli.common import emit, with_fastai
from darkcovid.cli.options import DataRoot, Device, Json
from darkcovid.errors import DataError

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or an arm's folder in it.")]
Arm = Annotated[str | None, typer.Option("--arm", metavar="NAME", help="Which arm; the best on its validation side by default.")]


def predict(
    run: Run,
    target: Annotated[Path, typer.Argument(metavar="IMAGE|FOLDER|MANIFEST", help="A PNG, JPEG or DICOM, a folder, or a CSV.")],
    arm: Arm = None,
    explain: Annotated[Path | None, typer.Option(metavar="DIR", help="Write Grad-CAM overlays there.")] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the answers as CSV.")] = None,
    data_root: DataRoot = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Ask a fitted model what it sees in images. Research software, never a diagnosis."""

    def work() -> list[dict[str, Any]]:
        from darkcovid.data.images import find_images
        from darkcovid.report.progress import counting
        from darkcovid.serving.answers import answer_images, write_csv
        from darkcovid.serving.predict import load_predictor

        images, predictor = find_images(target, data_root), load_predictor(run, arm, device)
        typer.echo(f"asking {predictor.model.fit} of {predictor.model.run.name}", err=True)
        with counting("predicting", len(images)) as show:
            answers = answer_images(predictor, images, explain, show)
        if csv is not None:
            write_csv(answers, csv)
        return answers

    answers = with_fastai(work)
    emit(answers, json_, lambda: _show(answers))
    if not any(answer["label"] for answer in answers):
        raise DataError(f"{target}: no image could be read; the first is {answers[0]['image']} ({answers[0]['warnings'][0]})")


def _show(answers: list[dict[str, Any]]) -> None:
    from rich.console import Console

    from darkcovid.report.tables import RESEARCH_ONLY, answer_table

    console = Console(highlight=False)
    console.print(answer_table(answers))
    console.print(RESEARCH_ONLY, markup=False)
