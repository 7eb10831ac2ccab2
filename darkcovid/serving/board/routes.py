"""The board's routes, which only read: the page, runs, their curves and trials, comparisons, disagreements, reports, pictures."""

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from darkcovid.core.io import read_regular_text
from darkcovid.experiment.run_list import RunInfo, read_run
from darkcovid.experiment.run_state import SWEEP, run_kind
from darkcovid.serving.board.curves import read_curves
from darkcovid.serving.board.reports import REPORT_HEADERS, report_page
from darkcovid.serving.board.run_index import run_signature
from darkcovid.serving.board.shared import Board
from darkcovid.serving.board.thumbnails import read_thumbnail
from darkcovid.serving.board.trials import read_trials
from darkcovid.serving.responses import HTTPError, json_response

SCRIPTS = ("board.js", "curves.js", "trials.js")
PAGE = {"": "text/html", "board.css": "text/css", **dict.fromkeys(SCRIPTS, "text/javascript")}
MAX_COMPARED = 6

router = APIRouter()


def get_board(request: Request) -> Board:
    """What the requests of the application share."""
    return request.app.state.board


SharedBoard = Annotated[Any, Depends(get_board)]


@router.get("/api/runs")
def runs(request: Request, board: SharedBoard) -> Response:
    """Every run, the newest first; 304 where nothing changed since."""
    listed = [_row(run) for run in board.index.runs()]
    folder = board.index.runs_dir.resolve().name
    return _unless_unchanged(request, {"folder": folder, "images": board.images, "runs": listed})


@router.get("/api/runs/{name}")
def run(name: str, board: SharedBoard) -> Response:
    """One run, with its resolved recipe."""
    folder = board.index.folder(name)
    try:
        recipe = read_regular_text(folder / "recipe.yaml", 1_000_000)
    except (OSError, ValueError):
        recipe = ""
    return json_response(_row(read_run(folder)) | {"resolved_recipe": recipe})


@router.get("/api/runs/{name}/curves")
def curves(name: str, request: Request, board: SharedBoard) -> Response:
    """The epochs of a run's fits so far; 304 where there are no new ones."""
    return _unless_unchanged(request, {"fits": read_curves(board.index.folder(name))})


@router.get("/api/runs/{name}/trials")
def trials(name: str, request: Request, board: SharedBoard) -> Response:
    """The trials of a sweep so far, and its winner; 304 where there are no new ones."""
    folder = board.index.folder(name)
    if run_kind(folder) != SWEEP:
        raise HTTPError(404, "this run is no sweep, so it has no trials")
    return _unless_unchanged(request, read_trials(folder))


@router.get("/api/compare")
def compare(board: SharedBoard, run: Annotated[list[str], Query()]) -> Response:
    """Runs side by side."""
    names = list(dict.fromkeys(run))
    if not 2 <= len(names) <= MAX_COMPARED:
        raise HTTPError(422, f"choose two to {MAX_COMPARED} runs")
    folders = [board.index.folder(name) for name in names]
    from darkcovid.serving.board.comparison import compare_on_board

    return json_response(board.remembered(("compare", _state(folders)), lambda: compare_on_board(folders)))


@router.get("/api/disagreements")
def disagreements(board: SharedBoard, first: str, second: str) -> Response:
    """The images that two arms, each named as RUN/ARM, call differently."""
    from darkcovid.serving.board.comparison import disagreements as between

    arms = [_arm(board, name) for name in (first, second)]
    key = ("disagreements", first, second, _state([arm.parent for arm in arms]))
    return json_response(board.remembered(key, lambda: between(*arms)))


@router.get("/api/runs/{name}/thumbnail")
def thumbnail(name: str, arm: str, image: str, board: SharedBoard) -> Response:
    """A radiograph, small, as an arm saw it; 403 unless the board was started with --images."""
    if not board.images:
        raise HTTPError(403, "radiographs are not shown; start the board with --images")
    return Response(read_thumbnail(_arm(board, f"{name}/{arm}"), image), media_type="image/webp")


@router.get("/reports/{name}")
@router.get("/{name}/report.html")  # as a sweep's report names that of its final run
def report(name: str, board: SharedBoard) -> Response:
    """A run's report, in a sandbox; without radiographs unless the board was started with --images."""
    folder = board.index.folder(name)
    page = board.remembered(("report", _state([folder])), lambda: report_page(folder, board.images))
    return Response(page, headers=REPORT_HEADERS, media_type="text/html")


@router.get("/healthz")
def health() -> Response:
    """Whether the board runs."""
    return json_response({"status": "ok"})


@router.get("/")
@router.get("/board.js")
@router.get("/curves.js")
@router.get("/trials.js")
@router.get("/board.css")
def page(request: Request) -> Response:
    """The page, its scripts and its style."""
    name = request.url.path.removeprefix("/")
    return Response(_page_file(name or "index.html"), media_type=PAGE[name])


@cache
def _page_file(name: str) -> bytes:
    return (files("darkcovid.serving.board") / "page" / name).read_bytes()


def _row(run: RunInfo) -> dict[str, Any]:
    """As `runs list --json` prints it, without where it is on this machine."""
    row = run.as_dict()
    del row["run_dir"]
    return row | {"report": (run.path / "report.html").is_file()}


def _arm(board: Board, name: str) -> Path:
    """The folder of a finished arm, named as RUN/ARM."""
    from darkcovid.experiment.compare import finished_arms

    run, _, arm = name.partition("/")
    for folder in finished_arms(board.index.folder(run)):
        if folder.name == arm:
            return folder
    raise HTTPError(404, "no such finished arm in this run")


def _state(runs: list[Path]) -> tuple:
    """Runs, and what changes when their files do."""
    return tuple((run.name, run_signature(run)) for run in runs)


def _unless_unchanged(request: Request, value: object) -> Response:
    """JSON under an ETag, or 304 where the client has it."""
    body = orjson.dumps(value)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")
