"""The service's OpenAPI schemas: bodies, answers and errors."""

from typing import Any

ABOUT = "Predictions of fitted darkcovid models. Research software, never a diagnosis; nothing that is uploaded is stored."

PIXELS = {"type": "array", "items": {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 255}}}
INSTANCE = {
    "anyOf": [
        {
            "type": "object",
            "properties": {"b64": {"type": "string", "contentEncoding": "base64", "description": "PNG, JPEG or DICOM"}},
            "required": ["b64"],
        },
        {"type": "array", "description": "Pixels, [h, w], [h, w, 1] or [h, w, 3], 0..255 or 0..1", "items": {"type": "array"}},
    ]
}
BODY = {
    "type": "object",
    "properties": {
        "signature_name": {"type": "string", "enum": ["serving_default"]},
        "instances": {"type": "array", "items": INSTANCE, "minItems": 1, "maxItems": 64},
    },
    "required": ["instances"],
}
FORM = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}, "required": ["file"]}
ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
NUMBERS = {"type": "array", "items": {"type": "number"}}
MODELS = {
    "type": "object",
    "properties": {
        "models": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "version": {"type": "string"},
                    "classes": {"type": "array", "items": {"type": "string"}},
                    "image_size": {"type": "array", "items": {"type": "integer"}},
                },
                "required": ["name", "version", "classes", "image_size"],
            },
        }
    },
    "required": ["models"],
}
STATUS = {"type": "object", "properties": {"model_version_status": {"type": "array"}}, "required": ["model_version_status"]}
PREDICTIONS = {
    "type": "object",
    "properties": {"predictions": {"type": "array", "items": NUMBERS}, "outputs": {"type": "array", "items": NUMBERS}},
}
EXPLANATIONS = {"type": "object", "properties": {"explanations": {"type": "array"}}, "required": ["explanations"]}
COMPARISON = {"type": "object", "properties": {"comparison": {"type": "object"}}, "required": ["comparison"]}

ERROR_DESCRIPTIONS = {
    400: "The body is wrong; `error` says what",
    401: "The token is missing or wrong",
    404: "No such model",
    406: "DICOM answers are not installed",
    408: "The body did not arrive in time",
    413: "The body is too large",
    429: "As much waits as can be held; see Retry-After",
    503: "Too many uploads at once; see Retry-After",
    504: "No answer in time",
}
ERRORS: dict[int, dict[str, Any]] = {
    status: {"description": description, "content": {"application/json": {"schema": ERROR}}}
    for status, description in ERROR_DESCRIPTIONS.items()
}


def response_schema(schema: dict[str, Any], *errors: int) -> dict[str, Any]:
    """An operation whose success has this JSON schema.

    Args:
        schema: JSON schema of the answer.
        *errors: Other HTTP statuses that it may answer.

    Returns:
        The operation's `responses`.
    """
    success = {"200": {"description": "Success", "content": {"application/json": {"schema": schema}}}}
    return {"responses": success | {str(status): ERRORS[status] for status in errors}}


def request_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """An operation that takes images in the body, and whose success has this JSON schema."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    content = {
        "application/json": {"schema": BODY},
        "multipart/form-data": {"schema": FORM},
        "image/png": binary,
        "image/jpeg": binary,
        "application/dicom": binary,
    }
    return {"requestBody": {"required": True, "content": content}} | response_schema(schema, 400, 404, 408, 413, 429, 503, 504)


def dicom_too(operation: dict[str, Any]) -> dict[str, Any]:
    """An operation whose success may also be DICOM: one report, or several objects as multipart."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    operation["responses"]["200"]["content"] |= {"application/dicom": binary, "multipart/related": binary}
    operation["responses"]["406"] = ERRORS[406]
    return operation


def without_validation(schema: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI description without the 422 that FastAPI adds to whatever has a parameter: ours are names, and always valid."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    return schema
