"""Commands on a fitted model: predict, export, serve."""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from darkcovid.cli.helpers import cache_folder, print_result, run_heavy
from darkcovid.cli.options import CacheDir, DataRoot, Device, Json, output_option
from darkcovid.core.credentials import without_credentials
from darkcovid.core.errors import DarkCovidError, DataError, UsageError, one_line
from darkcovid.core.log import logger
from darkcovid.core.words import counted

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or an arm's folder in it.")]
Arm = Annotated[str | None, typer.Option("--arm", metavar="NAME", help="Which arm; the best on its validation set by default.")]


def predict(
    run: Run,
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE|FOLDER|MANIFEST|URL...", help="PNG, JPEG or DICOM files, folders, CSV files, or one DICOMweb study."
        ),
    ],
    arm: Arm = None,
    gradcam_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Write Grad-CAM overlays there.")] = None,
    explain_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write Grad-CAM, occlusion, RISE, integrated gradients there, and say if they agree."),
    ] = None,
    dicom_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write Grad-CAM, lungs and a report of DICOM files there, as DICOM.")
    ] = None,
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="Without names, dates and ids, and only the lungs' box of the image.")
    ] = False,
    store_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Send the files of --dicom-dir to this DICOMweb service too.")
    ] = None,
    output: Annotated[Path | None, output_option("CSV", "Write the predictions as CSV.")] = None,
    sensitivity: Annotated[
        float | None,
        typer.Option(help="Also name each class whose probability reaches this sensitivity's threshold (0.9 or 0.95)."),
    ] = None,
    data_root: DataRoot = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Ask a fitted model what it sees in images. Research software, never a diagnosis."""

    if dicom_dir is None and (deidentify or store_url is not None):
        raise UsageError("--deidentify and --store-url are of what --dicom-dir writes; name that folder too")

    def work() -> tuple[list[dict[str, Any]], list[Path]]:
        from darkcovid.core.log import progress_bar
        from darkcovid.inference.dicom_results.write import dicom_writer
        from darkcovid.inference.dicomweb import fetched_radiographs, is_address, parse_address, store_results
        from darkcovid.inference.image_files import find_images_of
        from darkcovid.inference.predict_files import predict_images, write_csv
        from darkcovid.inference.predictor import OF_PHANTOMS, load_pipeline

        if store_url is not None:
            parse_address(store_url)
        addresses = [target for target in targets if is_address(target)]
        if addresses and len(targets) > 1:
            raise UsageError("predict: a DICOMweb study is asked for alone, without further images")
        files = [Path(target) for target in targets]
        with fetched_radiographs(addresses[0]) if addresses else nullcontext(find_images_of(files, data_root)) as images:
            predictor = load_pipeline(run, arm, device, sensitivity)
            writer = dicom_writer(dicom_dir, predictor, deidentify) if dicom_dir is not None else None
            unseen = predictor.model.held_out_sources()
            without = f", trained without {' and '.join(unseen)}" if unseen else ""
            logger.info(f"predicting with {predictor.model.fit} of {predictor.model.run.name}{without}")
            if predictor.model.of_phantoms:
                logger.warning(f"{predictor.model.fit}: {OF_PHANTOMS}")
            with progress_bar("predicting", len(images)) as show:
                answers = predict_images(predictor, images, gradcam_dir, show, writer, explain_dir)
        for folder in filter(None, (gradcam_dir, explain_dir)):
            logger.info(f"{folder}: {counted(sum(answer['label'] is not None for answer in answers), 'picture')}")
        if output is not None:
            write_csv(answers, output)
        if writer is not None:
            logger.info(f"{dicom_dir}: {len(writer.written)} DICOM files")
            if store_url is not None:
                store_results(store_url, writer.written)
        return answers, writer.written if writer is not None else []

    answers, written = run_heavy(work)
    seen = [tuple(round(p, 3) for p in answer["probabilities"].values()) for answer in answers if answer["label"]]
    if len(seen) > 2 and len(set(seen)) == 1:
        logger.warning(f"all {len(seen)} images have the same probabilities: the network tells nothing apart; train it longer")
    print_result(answers, json_, lambda: _show(answers))
    named = without_credentials(targets[0])
    if not any(answer["label"] for answer in answers):
        raise DataError(f"{named}: no image could be read; the first is {answers[0]['image']} ({answers[0]['warnings'][0]})")
    if dicom_dir is not None and not written:
        raise DataError(f"{named}: no DICOM results; the first image is {answers[0]['image']} ({answers[0]['warnings'][-1]})")


def export(
    run: Run,
    form: Annotated[Literal["onnx", "torch"], typer.Option("--format", help="What to write.")] = "onnx",
    output: Annotated[Path, output_option("DIR", "Folder for the files.")] = Path("exported"),
    arm: Arm = None,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Also write it in 8-bit integers, calibrated on training images, and say what that costs."),
    ] = False,
    data_root: DataRoot = None,
    cache_dir: CacheDir = None,
    json_: Json = False,
) -> None:
    """Write a fitted model, and its lung U-Net, as single files for other programs."""
    if int8 and form != "onnx":
        raise UsageError("--int8: only ONNX files are quantized; leave --format out")

    def work() -> dict[str, Any]:
        from darkcovid.inference.export import export_model
        from darkcovid.inference.predictor import load_pipeline

        predictor = load_pipeline(run, arm, "cpu")
        about = export_model(predictor.model, predictor.segmenter, form, output)
        if not int8:
            return about
        from darkcovid.inference.int8 import add_int8

        return add_int8(predictor, about, output, cache_folder(cache_dir), data_root)

    about = run_heavy(work)

    def show() -> None:
        for key in ("classifier", "lungs"):
            typer.echo(
                f"{output / about[key]['file']}: differs from the network by at most {about[key]['largest_difference']:.0e}"
            )
        if int8:
            loss = about["int8"]["validation"]
            accuracy = f"accuracy {loss['accuracy']['int8']:.3f}, {loss['accuracy']['exact']:.3f} without int8"
            typer.echo(
                f"{output / about['int8']['file']}: {accuracy} (on {loss['images']} validation images); "
                f"the same label for {loss['same_label']:.1%}; {loss['speedup']:.1f} times as fast on this machine"
            )
        typer.echo(f"{about['sidecar']}: classes, sizes, crop policy, checksums")

    print_result(about, json_, show)


def serve(
    runs: Annotated[list[str], typer.Argument(metavar="[NAME=]RUN...", help="Run folders; each is served under its name.")],
    arm: Arm = None,
    host: Annotated[str, typer.Option(help="Address to listen on; other machines are kept out by default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8501,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with the token that clients must send; or set DARKCOVID_TOKEN.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Serve fitted models over HTTP: TensorFlow Serving's REST form, and a page for a person."""

    def work() -> None:
        try:
            from darkcovid.serving.server import serve_runs
            from darkcovid.serving.socket_server import Address
        except ImportError as error:
            raise DarkCovidError(f"serve needs {error.name}; install `darkcovid[serve]`") from None
        serve_runs(runs, arm, Address(host, port), read_token(token_file), device)

    run_heavy(work)


def read_token(path: Path | None) -> str | None:
    """The token in a file, or in DARKCOVID_TOKEN. Raises UsageError: not readable, or empty."""
    if path is None:
        return os.environ.get("DARKCOVID_TOKEN") or None
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"--token-file {path}: cannot be read ({one_line(error)})") from None
    if not token:
        raise UsageError(f"--token-file {path}: it is empty; put a long random word into it")
    return token


def _show(answers: list[dict[str, Any]]) -> None:
    from rich.console import Console

    from darkcovid.report.tables import RESEARCH_ONLY, numbered_warnings, prediction_table

    console = Console(highlight=False)
    console.print(prediction_table(answers))
    for warning, number in numbered_warnings(answers).items():
        console.print(f"{number}: {warning}", markup=False)
    console.print(RESEARCH_ONLY, markup=False)
