"""The HTTP side in OpenAPI 3.1's words: what /openapi.json and /swagger/ say. Pure.

A test holds it to the routes that there are, and `scripts/check_api.sh` holds the daemon to what it says.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from voxray import __version__

Json = dict[str, Any]

_STATUS = {
    200: "As asked",
    201: "Made",
    204: "Nothing to say",
    400: "Not a request that can be understood",
    401: "A key is needed: `Authorization: Bearer` or `X-API-Key`",
    403: "Not for you",
    404: "Not there",
    405: "Not by this method",
    409: "Asked before, in other words",
    413: "Longer than `max_request_body_bytes`",
    415: "Compressed, or no form",
    422: "Understood, but not possible; `error.details` says why",
    426: "A WebSocket is served here",
    502: "The carrier would not",
    503: "Not now; see `Retry-After`",
}
_ID = {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}
_KEY: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}]
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_NUMBER = {"type": "string", "pattern": r"^(\+?[0-9]{3,15}|sips?:[A-Za-z0-9+.@:_-]{3,250})$"}
_TEXT = {"type": "string"}
_XML = {"application/xml": {"schema": {"type": "string"}}, "application/json": {"schema": {}}}
_PLAIN = {"text/plain": {"schema": {"type": "string"}}}
_ANY = {"application/json": {"schema": {"type": "object"}}}


def _object(properties: Json, *required: str, closed: bool = False) -> Json:
    schema: Json = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    return schema | ({"additionalProperties": False} if closed else {})


def _data(schema: Json, *, meta: bool = True) -> Json:
    """In the envelope; see `envelope`."""
    properties = {"data": schema} | ({"meta": {"$ref": "#/components/schemas/Meta"}} if meta else {})
    return {"application/json": {"schema": _object(properties, *properties)}}


def _response(status: int, content: Json | None) -> Json:
    failed = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    found = content if status < 400 else failed
    return {"description": _STATUS[status], "headers": _ID} | ({"content": found} if found else {})


def _operation(about: str, *statuses: int, content: Json | None = None, **more: Any) -> Json:
    """`content` is of the answers below 400; the others are problems. Any request may be malformed."""
    silent = more.pop("silent", ())
    responses: Json = {}
    for status in sorted({*statuses, 400, 413, 415, 503}):
        responses[str(status)] = _response(status, content)
        if status in silent or status == 204:
            responses[str(status)].pop("content", None)
    return {"summary": about, "responses": responses, **more}


def _body(schema: Json, kind: str = "application/json", required: bool = True) -> Json:
    return {"required": required, "content": {kind: {"schema": schema}}}


def _parameter(name: str, pattern: str = "") -> Json:
    schema: Json = {"type": "string"} | ({"pattern": f"^{pattern}$"} if pattern else {})
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _preflight(methods: str) -> Json:
    return _operation(f"What browsers ask beforehand; {methods} follow", 204)


# -- the parts -----------------------------------------------------------------
def _probes() -> Iterator[tuple[str, Json]]:
    well = _data(_object({"status": {"const": "ok"}}, "status"))
    for prefix in ("", "/api/v1"):
        yield f"{prefix}/health", {"get": _operation("The process lives", 200, content=well)}
        yield f"{prefix}/ready", {"get": _operation("A call would be answered now", 200, content=well)}
    text = "Prometheus; 204 with `metrics_enabled: false`, 404 with `metrics_bind`"
    yield "/metrics", {"get": _operation(text, 200, 204, 401, 404, content=_PLAIN)}
    for path in ("/openapi.json", "/swagger/doc.json"):
        yield path, {"get": _operation("This", 200, content=_ANY)}
    page = {"text/html": {"schema": _TEXT}}
    for path in ("/swagger/", "/swagger/index.html"):
        yield path, {"get": _operation("This, for people", 200, content=page)}


def _webhooks() -> Iterator[tuple[str, Json]]:
    call = _object({"CallSid": _TEXT, "CallUUID": _TEXT, "From": _TEXT, "To": _TEXT})
    form = _body(call, "application/x-www-form-urlencoded", required=False)
    asked = [
        {"name": "call", "in": "query", "schema": _TEXT, "description": "the id of a call that we placed"}
    ]
    about = "The carrier's webhook: a call rings. Signed by the carrier; see docs/trust.md"
    status = _data(_object({"status": _TEXT}, "status"))["application/json"]
    yield "/", {
        "get": _operation(
            "What runs here; with a call's fields, the webhook of a number set to GET", 200, 403, 409,
            content={"application/json": status, "application/xml": {"schema": _TEXT}}, silent=(403,),
        ),
        "post": _operation(
            about, 200, 403, 409, content=_XML, silent=(403,), requestBody=form, parameters=asked
        ),
    }  # fmt: skip
    told = "What became of a call that we placed, as the carrier reports it"
    yield (
        "/telephony/status",
        {
            "get": _operation(told, 200, 403, silent=(200, 403), parameters=asked),
            "post": _operation(told, 200, 403, silent=(200, 403), requestBody=form, parameters=asked),
        },
    )
    about = "The document of a transfer, once, for the carrier that has the call"
    answers: Json = {"content": _XML, "silent": (403,), "parameters": [_parameter("token", "[A-Za-z0-9_-]+")]}
    yield (
        "/telephony/transfer/{token}",
        {
            "get": _operation(about, 200, 403, 404, **answers),
            "post": _operation(about, 200, 403, 404, requestBody=form, **answers),
        },
    )
    about = "The media socket, for carriers; its address is in the webhook's answer"
    socket: Json = {"silent": (401, 403, 426, 503)}
    yield "/telephony/ws", {"get": _operation(about, 401, 403, 426, **socket)}
    token = [_parameter("token")]
    yield "/telephony/ws/{token}", {"get": _operation(about, 401, 403, 404, 426, parameters=token, **socket)}


def _calls() -> Iterator[tuple[str, Json]]:
    call = {"$ref": "#/components/schemas/Call"}
    many = {"calls": {"type": "array", "items": call}, "draining": {"type": "boolean"}}
    listed = _data(_object(many | {"incomplete": {"const": True}}, *many))  # a worker did not answer
    again = {"name": "Idempotency-Key", "in": "header", "schema": _TEXT}
    order = _body({"$ref": "#/components/schemas/Order"})
    one = [_parameter("id", "[0-9a-f]{32}")]
    keyed: Json = {"security": _KEY}
    found: Json = {"parameters": one, "security": _KEY}
    yield "/api/v1/calls", {
        "get": _operation("The calls there are", 200, 401, 403, content=listed, **keyed),
        "post": _operation(
            "Places a call", 201, 401, 403, 409, 422, 502,
            content=_data(call), requestBody=order, parameters=[again], **keyed,
        ),
    }  # fmt: skip
    ended = _data(_object({"id": _TEXT, "status": {"enum": ["ending", "ended"]}}, "id", "status"))
    yield (
        "/api/v1/calls/{id}",
        {
            "get": _operation("One call", 200, 401, 403, 404, content=_data(call), **found),
            "delete": _operation(
                "Hangs up, or gives up what rings", 200, 401, 403, 404, 409, 502, content=ended, **found
            ),
        },
    )


def _sessions() -> Iterator[tuple[str, Json]]:
    start = _body({"$ref": "#/components/schemas/Start"}, required=False)
    session_id, ice = {"type": "string", "format": "uuid"}, {"type": "object"}
    made = _data(_object({"sessionId": session_id, "iceConfig": ice}, "sessionId"), meta=False)
    about = "A session, by which a browser's offer is told what it is about"
    offer = _body(_object({"sdp": _TEXT}), required=False)
    session = [_parameter("id", _UUID)]
    for prefix in ("", "/api/v1"):
        yield (
            f"{prefix}/start",
            {
                "options": _preflight("POST"),
                "post": _operation(about, 201, 401, 422, content=made, requestBody=start, security=_KEY),
            },
        )
        path = f"{prefix}/sessions/{{id}}/{'' if prefix else 'api/'}offer"
        taken: Json = {"parameters": session, "requestBody": offer, "security": _KEY}
        yield (
            path,
            {
                "options": _preflight("POST, PATCH") | {"parameters": [_parameter("id")]},
                "post": _operation("A browser's offer: not built yet", 401, 404, **taken),
                "patch": _operation("A browser's candidates: not built yet", 401, 404, **taken),
            },
        )
        yield (
            f"{prefix}/webrtc/offer",
            {
                "options": _preflight("POST"),
                "post": _operation("A browser's offer: not built yet", 401, requestBody=offer, security=_KEY),
            },
        )
    yield "/ws", {"get": _operation("A browser's socket: not built yet", 401, 403, security=_KEY)}


def _schemas() -> Json:
    code, date = {"type": "string", "pattern": "^[A-Z_]+$"}, {"type": "string", "format": "date-time"}
    detail = {"field": _TEXT, "message": _TEXT}
    details = {"type": "array", "items": _object(detail, *detail)}
    error = {"code": code, "message": _TEXT, "requestId": _TEXT}
    call = {
        "id": _TEXT,
        "status": {"enum": ["dialing", "up", "ended", "failed"]},
        "direction": {"enum": ["inbound", "outbound"]},
        **dict.fromkeys(("carrier", "call_sid", "from", "to"), _TEXT),
    }
    at_times = {"reason": _TEXT, "duration_secs": {"type": "number"}, "started_at": date, "dialed_at": date}
    order = {
        "to": _NUMBER,
        "from": _NUMBER,
        "carrier": {"enum": ["twilio", "telnyx", "plivo", "exotel", "", None]},
        "body": {"type": ["object", "null"]},
        "max_call_secs": {"type": ["number", "null"], "minimum": 0},
    }
    start = {
        "body": {"type": ["object", "null"]},
        "enableDefaultIceServers": {"type": ["boolean", "null"]},
        "createDailyRoom": {"enum": [False, None]},
    }
    return {
        "Meta": _object({"requestId": _TEXT}, "requestId"),
        "Problem": _object({"error": _object(error | {"details": details}, *error)}, "error"),
        "Call": _object(call | at_times, *call),
        "Order": _object(order, "to", closed=True),
        "Start": _object(start),
    }


@cache
def document() -> Json:
    """The description, whole. Not to be changed."""
    paths = dict((*_probes(), *_webhooks(), *_calls(), *_sessions()))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Voxray", "version": __version__, "description": "Telephone calls with an agent"},
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "headers": {"RequestId": {"schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}}},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


@cache
def encoded() -> bytes:
    return json.dumps(document()).encode("ascii")


@cache
def page() -> str:
    """The same for people, without a line of script."""
    rows = [
        f"<tr><td>{method.upper()}<td><code>{html.escape(path)}</code><td>{html.escape(operation['summary'])}"
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    ]
    head = "<!DOCTYPE html><meta charset=utf-8><title>Voxray</title><h1>Voxray</h1>"
    return f'{head}<p><a href="doc.json">OpenAPI</a><table>{"".join(rows)}</table>'
