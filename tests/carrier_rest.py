"""A carrier's REST API on treq's imaginary sockets, and the four controls that ask it."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.resource import Resource

from voxray.carriers.exotel import ExotelControl
from voxray.carriers.plivo import PlivoControl
from voxray.carriers.telnyx import TelnyxControl
from voxray.carriers.twilio import TwilioControl
from voxray.interfaces import CallControl, DialOrder

DATA = Path(__file__).parent / "data"
TO = "+15551230000"
ORDER = DialOrder(
    to=TO,
    from_number="+15017122661",
    answer_url="https://voice.example.com/?dialed=t1",
    stream_url="wss://voice.example.com/telephony/ws/t1",
    status_url="https://voice.example.com/status/t1",
    max_call_secs=900.5,
    ring_secs=45.0,
)
TWILIO_ID = "CA0123456789abcdef0123456789abcdef"
TELNYX_ID = "v3:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BborherQ"
PLIVO_ID = "12345678-1234-1234-1234-123456789abc"
EXOTEL_ID = "a1b2c3d4e5f60718293a4b5c6d7e8f90"


@dataclass(frozen=True)
class Asked:
    """One request, as the carrier had it."""

    method: str
    uri: str
    authorization: str
    content_type: str
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """Every field once."""
        fields = parse_qs(self.body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
        assert all(len(values) == 1 for values in fields.values()), fields
        return {name: values[0] for name, values in fields.items()}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RestApi(Resource):
    """One answer for whatever is asked; remembers what that was."""

    isLeaf = True

    def __init__(self, status: int, document: object = None, location: bytes = b"") -> None:
        super().__init__()
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.status, self.body, self.location = status, b"" if status == 204 else body, location
        self.asked: list[Asked] = []

    def render(self, request: Any) -> bytes:
        names = ("authorization", "content-type")
        headers = [request.getHeader(name) or "" for name in names]
        self.asked.append(
            Asked(request.method.decode(), request.uri.decode(), *headers, request.content.read())
        )
        request.setResponseCode(self.status)
        if self.location:
            request.setHeader(b"Location", self.location)
        return self.body


@dataclass(frozen=True)
class Side:
    """One carrier in the tests that are the same for all."""

    name: str
    make: Callable[[Any, Any], CallControl]
    call_id: str
    reference: str = ""
    secrets: tuple[str, ...] = ("hush-token",)
    host: str = ""
    dialed: dict[str, Any] = field(default_factory=dict)  # an answer to `dial`

    def recorded(self) -> Any:
        return json.loads((DATA / self.name / "rest.json").read_text())

    def ask(self, api: RestApi, act: Callable[[CallControl], Coroutine[Any, Any, Any]]) -> Deferred[Any]:
        """Lets the control do something against `api`."""
        treq = StubTreq(api)
        done = Deferred.fromCoroutine(act(self.make(treq, Clock())))
        treq.flush()
        return done


BASE = "https://api.example/"
SIDES = (
    Side(
        "twilio",
        lambda client, reactor: TwilioControl(
            client, reactor, "AC0123456789abcdef0123456789abcdef", "hush-token", BASE
        ),
        TWILIO_ID,
        TWILIO_ID,
        host="https://api.twilio.com",
        dialed={"sid": TWILIO_ID, "status": "queued"},
    ),
    Side(
        "telnyx",
        lambda client, reactor: TelnyxControl(
            client, reactor, "hush-token", BASE, account_sid="3e6f", application_sid="1494404757140276705"
        ),
        TELNYX_ID,
        TELNYX_ID,
        host="https://api.telnyx.com",
        dialed={"from": "+1", "to": "+1", "status": "queued", "call_sid": TELNYX_ID},
    ),
    Side(
        "plivo",
        lambda client, reactor: PlivoControl(client, reactor, "MAXXXXXXXXXXXXXXXXXX", "hush-token", BASE),
        PLIVO_ID,
        "97ceeb52-58b6-11e1-86da-77300b68f8bb",
        host="https://api.plivo.com",
        dialed={"message": "call fired", "request_uuid": "97ceeb52-58b6-11e1-86da-77300b68f8bb"},
    ),
    Side(
        "exotel",
        lambda client, reactor: ExotelControl(
            client, reactor, "exampleaccount1", "hush-key", "hush-token", BASE
        ),
        EXOTEL_ID,
        EXOTEL_ID,
        ("hush-key", "hush-token"),
        host="https://api.in.exotel.com",
        dialed={"Call": {"Sid": EXOTEL_ID, "Status": "in-progress"}},
    ),
)
TWILIO, TELNYX, PLIVO, EXOTEL = SIDES
