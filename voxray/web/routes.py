"""Where requests go, in words that are few: the labels of metrics. Pure."""

from __future__ import annotations

from voxray.web import hosts

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def label_of(method: bytes) -> str:
    """A bounded label."""
    text = method.decode("ascii", "replace")
    return text if text in _METHODS else "other"


CALLS_PATH = "/api/v1/calls"
ROUTES = {
    "/": "root",
    "/health": "health",
    "/api/v1/health": "health",
    "/ready": "ready",
    "/api/v1/ready": "ready",
    "/metrics": "metrics",
    "/start": "start",
    "/api/v1/start": "start",
    "/webrtc/offer": "webrtc_offer",
    "/api/v1/webrtc/offer": "webrtc_offer",
    "/ws": "ws",
    "/openapi.json": "swagger",
    "/swagger/": "swagger",
    "/swagger/index.html": "swagger",
    "/swagger/doc.json": "swagger",
}
SESSION_PATHS = ("/sessions/", "/api/v1/sessions/")
SESSION_ROUTES = frozenset({"start", "session_offer", "webrtc_offer", "ws"})


def route_of(path: bytes) -> str:
    """A bounded label."""
    text = path.decode("ascii", "replace")
    if hosts.is_media_path(text):
        return "telephony_ws"
    if text == CALLS_PATH or text.startswith(f"{CALLS_PATH}/"):
        return "calls"
    if text.startswith(SESSION_PATHS):
        return "session_offer"
    return ROUTES.get(text, "other")
