"""The carrier's webhook: a call rings, and this says where to open the media socket.

Klein installs the reactor when imported, so only makeService imports this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from klein import Klein
from twisted.logger import Logger

from voxray.frames import IncomingCall
from voxray.interfaces import AnswerDocuments
from voxray.web.api import problems
from voxray.web.envelope import failure, success
from voxray.web.hosts import public_host, stream_url

_MAX_FIELDS = 200  # Twilio sends about 30
_RETRY_AFTER_SECS = b"5"


@dataclass(frozen=True, slots=True)
class Admission:
    """What the webhook asks and tells the rest of the process."""

    draining: Callable[[], bool]
    room: Callable[[], bool]
    """Whether one more call fits under `max_calls`."""
    announced: Callable[[IncomingCall], None]
    """A call is about to open its socket: warm the providers up, remember the numbers."""


class Hooks:
    """Klein routes on `/`."""

    _log = Logger()
    app = Klein()

    def __init__(self, carrier: AnswerDocuments, proxy_host: str, admission: Admission) -> None:
        self._carrier = carrier
        self._proxy_host = proxy_host
        self._admission = admission

    def resource(self) -> Any:
        return self.app.resource()

    @app.route("/", methods=["POST"])
    def post(self, request: Any) -> bytes:
        return self._answer(request, _fields(request.content.read()))

    @app.route("/", methods=["GET"])
    def get(self, request: Any) -> bytes:
        """The status page; with a CallSid, the webhook of a number set to fetch by GET."""
        _, _, query = request.uri.partition(b"?")
        form = _fields(query)
        if self._carrier.incoming(form).call_sid:
            return self._answer(request, form)
        return success(request, {"status": f"Bot started with {self._carrier.name}"})

    def _answer(self, request: Any, form: Mapping[str, str]) -> bytes:
        call = self._carrier.incoming(form)
        if call.over is not None:  # neither a new call nor a stream for a dead one
            return self._document(request, call.over)
        if self._admission.draining():
            request.setHeader(b"Retry-After", _RETRY_AFTER_SECS)
            return failure(request, 503, "Service unavailable")
        host = public_host(self._proxy_host, request.requestHeaders.getRawHeaders(b"host", []))
        if host is None:
            return failure(request, 400, "Bad Host header")
        if not self._admission.room():
            return self._busy(request)
        self._announce(call)
        return self._document(request, self._carrier.answer(stream_url(host), _numbers(call)))

    def _document(self, request: Any, document: bytes) -> bytes:
        request.setHeader(b"Content-Type", self._carrier.content_type.encode("ascii"))
        return document

    def _busy(self, request: Any) -> bytes:
        self._log.warn("webhook: no room for another call, answered busy")
        document = self._carrier.busy()
        if document is None:
            request.setHeader(b"Retry-After", _RETRY_AFTER_SECS)
            return failure(request, 503, "Service unavailable")
        return self._document(request, document)

    def _announce(self, call: IncomingCall) -> None:
        """Warming up is a favour: its failure must not cost the call its answer."""
        try:
            self._admission.announced(call)
        except Exception:  # noqa: BLE001
            self._log.failure("webhook: announcing a call failed")


def _numbers(call: IncomingCall) -> dict[str, str]:
    """What the media socket is to be told in `start`: Twilio itself does not say who calls whom."""
    numbers = {"from": call.from_number, "to": call.to_number}
    return {name: number for name, number in numbers.items() if number}


def _fields(encoded: bytes) -> dict[str, str]:
    """A form's fields, the first of each name; nothing when it is no form."""
    try:
        pairs = parse_qsl(
            encoded.decode("utf-8"), keep_blank_values=True, errors="replace", max_num_fields=_MAX_FIELDS
        )
    except ValueError:
        return {}
    return dict(reversed(pairs))


problems(Hooks.app)
