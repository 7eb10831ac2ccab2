"""The service's routes: TensorFlow Serving's REST form, health, metrics, and a page for a person."""

import asyncio
from functools import cache
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from jinja2 import Environment, PackageLoader
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from darkcovid.inference.model_card import model_card
from darkcovid.inference.predictor import InferencePipeline
from darkcovid.serving import openapi
from darkcovid.serving.dicom_answers import asked_for_dicom, check_dicom_installed, dicom_response
from darkcovid.serving.explanation_layers import comparison_layers, explanation_layers
from darkcovid.serving.responses import json_response
from darkcovid.serving.service import Service

PAGE = {"": "text/html", "page.js": "text/javascript", "page.css": "text/css"}
DOCS = Environment(loader=PackageLoader("darkcovid.serving", "page"), autoescape=True).get_template("docs.html.j2")

router = APIRouter()


def get_service(request: Request) -> Service:
    """The service of the application that answers `request`."""
    return request.app.state.service


SharedService = Annotated[Service, Depends(get_service)]


@router.get("/v1/models", openapi_extra=openapi.response_schema(openapi.MODELS))
async def models(service: SharedService) -> Response:
    """The models served."""
    return json_response({"models": [_about(name, predictor) for name, predictor in service.predictors.items()]})


@router.get("/v1/models/{name}", openapi_extra=openapi.response_schema(openapi.STATUS, 404))
async def status(name: str, service: SharedService) -> Response:
    """Whether a model is ready, as TensorFlow Serving says it."""
    service.batcher(name)
    ready = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    return json_response({"model_version_status": [ready]})


@router.get("/v1/models/{name}/card", openapi_extra=openapi.response_schema({"type": "object"}, 404))
async def card(name: str, service: SharedService) -> Response:
    """The model card: what it was trained on, what it scored, and what it must not be used for."""
    service.batcher(name)
    return json_response(model_card(service.predictors[name].model))


@router.post("/v1/models/{name}:predict", openapi_extra=openapi.request_schema(openapi.PREDICTIONS))
async def predict(name: str, request: Request, service: SharedService) -> Response:
    """Each image's probabilities, in the order of the model's classes."""
    decoded, predictions = await service.predict(name, request, "predict")
    rows = [list(prediction.probabilities.values()) for prediction in predictions]
    return json_response({"outputs" if decoded.columns else "predictions": rows})


@router.post("/v1/models/{name}:explain", openapi_extra=openapi.dicom_too(openapi.request_schema(openapi.EXPLANATIONS)))
async def explain(name: str, request: Request, service: SharedService) -> Response:
    """Each image's probabilities, warnings, lungs, and where the network looked (Grad-CAM), as PNG images in base64; or, of
    DICOM files, as DICOM: a report (`Accept: application/dicom`), or overlay, lungs and report as multipart/related."""
    answer = asked_for_dicom(request.headers.get("accept", ""))
    if answer is not None:
        check_dicom_installed()
    decoded, predictions = await service.predict(name, request, "explain", answer)
    if answer is not None:
        asked = service.predictors[name], decoded.contents, decoded.images, predictions
        return await asyncio.to_thread(dicom_response, answer, *asked)
    pairs = list(zip(decoded.images, predictions, strict=True))
    return json_response({"explanations": await asyncio.to_thread(lambda: [explanation_layers(*pair) for pair in pairs])})


@router.post("/v1/models/{name}:compare", openapi_extra=openapi.request_schema(openapi.COMPARISON))
async def compare(name: str, request: Request, service: SharedService) -> Response:
    """One image under Grad-CAM, occlusion, RISE and integrated gradients, as PNG images in base64, and how far they agree."""
    decoded, predictions = await service.predict(name, request, "compare")
    return json_response({"comparison": await asyncio.to_thread(comparison_layers, decoded.images[0], predictions[0])})


@router.get("/healthz", openapi_extra=openapi.response_schema({"type": "object"}))
async def health() -> Response:
    """Whether the service runs."""
    return json_response({"status": "ok"})


@router.get("/metrics", include_in_schema=False)
async def metrics(service: SharedService) -> Response:
    """Prometheus metrics in its text form."""
    return Response(generate_latest(service.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The API's description as a page."""
    return Response(DOCS.render(request.app.openapi()), media_type="text/html")


@router.get("/", include_in_schema=False)
@router.get("/page.js", include_in_schema=False)
@router.get("/page.css", include_in_schema=False)
async def page(request: Request) -> Response:
    """The page for a person, its script and its style."""
    name = request.url.path.removeprefix("/")
    return Response(_page_file(name or "index.html"), media_type=PAGE[name])


@cache
def _page_file(name: str) -> bytes:
    return (files("darkcovid.serving") / "page" / name).read_bytes()


def _about(name: str, predictor: InferencePipeline) -> dict:
    model = predictor.model
    return {"name": name, "version": "1", "classes": list(model.classes), "image_size": list(model.size)}
