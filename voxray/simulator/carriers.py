"""The four carriers as the simulator plays them: ids, the webhook's request, the answer, the wire, the
signature.

One entry a carrier; `rest` has the stand-ins for their REST APIs.
"""

from __future__ import annotations

import secrets
import string
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from voxray.simulator.answers import parse_exotel, parse_plivo, parse_texml
from voxray.simulator.signing import (
    Secrets,
    Signer,
    exotel_signer,
    plivo_signer,
    telnyx_signer,
    twilio_signer,
)
from voxray.simulator.twiml import StreamAnswer, parse_answer
from voxray.simulator.wires.exotel import ExotelWire
from voxray.simulator.wires.plivo import PlivoWire
from voxray.simulator.wires.telnyx import TelnyxWire
from voxray.simulator.wires.twilio import CallerWire
from voxray.simulator.wires.vocabulary import CallIds, Numbers, Quirks, Wire

_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Carrier:
    """One carrier's side. `account_env` and `secret_env` name the credentials the daemon has too."""

    name: str
    title: str
    method: str  # how it asks the webhook, unless told otherwise
    user_agent: str
    socket_agent: str
    default_account: str
    account_env: str
    secret_env: str
    new_ids: Callable[[str], CallIds]
    fields: Callable[[CallIds, Numbers], dict[str, str]]
    parse_answer: Callable[[bytes], StreamAnswer]
    wire: Callable[[CallIds, Numbers, Quirks], Wire]
    signer: Callable[[Secrets], Signer]


# -- Twilio ------------------------------------------------------------------
def _twilio_ids(account_sid: str) -> CallIds:
    return CallIds(account_sid, f"CA{secrets.token_hex(16)}", f"MZ{secrets.token_hex(16)}")


def _twilio_fields(ids: CallIds, numbers: Numbers) -> dict[str, str]:
    return {
        "AccountSid": ids.account_sid,
        "ApiVersion": "2010-04-01",
        "CallSid": ids.call_sid,
        "CallStatus": "ringing",
        "Called": numbers.called,
        "Caller": numbers.caller,
        "Direction": "inbound",
        "From": numbers.caller,
        "To": numbers.called,
    }


def _twilio_wire(ids: CallIds, numbers: Numbers, quirks: Quirks) -> Wire:
    return CallerWire(account_sid=ids.account_sid, call_sid=ids.call_sid, stream_sid=ids.stream_sid)


# -- Telnyx ------------------------------------------------------------------
def _telnyx_ids(account_sid: str) -> CallIds:
    control_id = "v3:" + "".join(secrets.choice(_LETTERS) for _ in range(54))
    return CallIds(account_sid, control_id, str(uuid.uuid4()).upper(), str(uuid.uuid4()))


def _telnyx_fields(ids: CallIds, numbers: Numbers) -> dict[str, str]:
    return {
        "AccountSid": ids.account_sid,
        "CallSid": ids.call_sid,
        "CallSidLegacy": ids.call_sid,
        "CallerId": numbers.caller,
        "CallingPartyType": "pstn",
        "ConnectionId": "1494404757140276705",
        "From": numbers.caller,
        "FromSipUri": f"{numbers.caller}@sip.telnyx.com",
        "To": numbers.called,
        "ToSipUri": f"{numbers.called}@sip.telnyx.com",
        "CallStatus": "ringing",
    }


# -- Plivo -------------------------------------------------------------------
def _plivo_ids(account_sid: str) -> CallIds:
    return CallIds(account_sid, str(uuid.uuid4()), str(uuid.uuid4()))


def _plivo_fields(ids: CallIds, numbers: Numbers) -> dict[str, str]:
    """Numbers are digits, without a plus."""
    return {
        "CallUUID": ids.call_sid,
        "From": numbers.caller.lstrip("+"),
        "To": numbers.called.lstrip("+"),
        "CallStatus": "ringing",
        "Direction": "inbound",
        "Event": "StartApp",
        "BillRate": "0.0055",
        "CallerName": numbers.caller,
        "ParentAuthID": ids.account_sid,
        "SessionStart": _now(".000000"),
    }


# -- Exotel ------------------------------------------------------------------
def _exotel_ids(account_sid: str) -> CallIds:
    return CallIds(account_sid, secrets.token_hex(16), secrets.token_hex(16))


def _exotel_fields(ids: CallIds, numbers: Numbers) -> dict[str, str]:
    """As its other applets ask a dynamic URL; for this one the parameters are not documented."""
    return {
        "CallSid": ids.call_sid,
        "CallFrom": numbers.caller,
        "CallTo": numbers.called,
        "Direction": "incoming",
        "Created": _now(),
        "CurrentTime": _now(),
    }


def _now(more: str = "") -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S") + more


_ALL = (
    Carrier(
        "twilio",
        "Twilio",
        "POST",
        "TwilioProxy/1.1 (voxray-dial)",
        "Twilio.TmeWs/1.0",
        "AC0123456789abcdef0123456789abcdef",
        "TWILIO_ACCOUNT_SID",
        "TWILIO_AUTH_TOKEN",
        _twilio_ids,
        _twilio_fields,
        parse_answer,
        _twilio_wire,
        twilio_signer,
    ),
    Carrier(
        "telnyx",
        "Telnyx",
        "GET",
        "telnyx-texml (voxray-dial)",
        "telnyx-media (voxray-dial)",
        "3e6f995f-85f7-4705-9741-53b116d28237",
        "TELNYX_ACCOUNT_SID",
        "TELNYX_API_KEY",
        _telnyx_ids,
        _telnyx_fields,
        parse_texml,
        TelnyxWire,
        telnyx_signer,
    ),
    Carrier(
        "plivo",
        "Plivo",
        "POST",
        "Plivo (voxray-dial)",
        "Plivo-stream (voxray-dial)",
        "MAXXXXXXXXXXXXXXXXXX",
        "PLIVO_AUTH_ID",
        "PLIVO_AUTH_TOKEN",
        _plivo_ids,
        _plivo_fields,
        parse_plivo,
        lambda ids, numbers, quirks: PlivoWire(ids),
        plivo_signer,
    ),
    Carrier(
        "exotel",
        "Exotel",
        "GET",
        "Exotel (voxray-dial)",
        "Exotel-stream (voxray-dial)",
        "exampleaccount1",
        "EXOTEL_ACCOUNT_SID",
        "EXOTEL_API_TOKEN",
        _exotel_ids,
        _exotel_fields,
        parse_exotel,
        ExotelWire,
        exotel_signer,
    ),
)
CARRIERS: Mapping[str, Carrier] = MappingProxyType({each.name: each for each in _ALL})
