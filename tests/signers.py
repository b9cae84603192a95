"""The four carriers' side of a call's beginning, signed by their own libraries: webhook, upgrade, `start`.

What the vendors' SDKs compute here is what the daemon has to accept; nothing of ours signs.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode
from uuid import UUID
from xml.etree import ElementTree as ET

from nacl.signing import SigningKey
from plivo.utils.signature_v3 import construct_post_url, get_signature_v3
from twilio.request_validator import RequestValidator

HOST = "voice.example.com"
TWILIO_TOKEN, PLIVO_TOKEN = "twilio-token-1234", "plivo-token-5678"
TELNYX_KEY = SigningKey(b"\x07" * 32)
EXOTEL_USER, EXOTEL_PASSWORD = "Aladdin", "open-sesame"

Headers = dict[str, str]


@dataclass(frozen=True, slots=True)
class Signer:
    """One carrier. `webhook` and `upgrade` sign a URL; `now` is the wall clock's."""

    name: str
    keys: Mapping[str, str]
    call_sid: Callable[[int], str]
    form: Callable[[str], dict[str, str]]
    webhook: Callable[[str, dict[str, str], float], Headers]
    upgrade: Callable[[str], Headers]
    start: Callable[[str, dict[str, str]], dict[str, Any]]
    voice: Callable[[bytes], dict[str, Any]]  # a packet of u-law (Exotel: PCM)


def stream_of(name: str, document: bytes) -> tuple[str, dict[str, str]]:
    """The URL and the parameters of an answer document."""
    if name == "exotel":
        return json.loads(document)["url"], {}
    root = ET.fromstring(document)
    found = root.find("Stream") if name == "plivo" else root.find("Connect/Stream")
    assert found is not None, document
    parameters = {each.attrib["name"]: each.attrib["value"] for each in found.findall("Parameter")}
    return (found.text or "") if name == "plivo" else found.attrib["url"], parameters


def _media(**payload: str) -> dict[str, Any]:
    return {"event": "media", "media": {"track": "inbound", **payload}}


def _text(packet: bytes) -> str:
    return base64.b64encode(packet).decode()


# -- Twilio ------------------------------------------------------------------
def _twilio_signed(url: str, form: dict[str, str], now: float = 0.0) -> Headers:
    return {"X-Twilio-Signature": RequestValidator(TWILIO_TOKEN).compute_signature(url, form)}


def _twilio_start(call_sid: str, parameters: dict[str, str]) -> dict[str, Any]:
    start = {
        "accountSid": "AC" + "0" * 32,
        "streamSid": "MZ" + call_sid[2:],
        "callSid": call_sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": parameters,
    }
    return {"event": "start", "sequenceNumber": "1", "start": start, "streamSid": start["streamSid"]}


# -- Telnyx ------------------------------------------------------------------
def _telnyx_signed(url: str, form: dict[str, str], now: float) -> Headers:
    stamp = str(int(now))
    signed = TELNYX_KEY.sign(f"{stamp}|{urlencode(form)}".encode()).signature
    return {"telnyx-timestamp": stamp, "telnyx-signature-ed25519": _text(signed)}


def _telnyx_start(call_sid: str, parameters: dict[str, str]) -> dict[str, Any]:
    start = {
        "user_id": "user",
        "call_control_id": call_sid,
        "call_session_id": "session",
        "from": "+15550001",
        "to": "+15550002",
        "custom_parameters": parameters,
        "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
    }
    return {"event": "start", "sequence_number": "1", "start": start, "stream_id": "S-" + call_sid[-8:]}


# -- Plivo -------------------------------------------------------------------
def _plivo_signed(url: str, form: dict[str, str], now: float = 0.0) -> Headers:
    nonce = "31627761595286130198"
    signature = get_signature_v3(PLIVO_TOKEN, construct_post_url(url, dict(form)), nonce.encode())
    made = signature.decode() if isinstance(signature, bytes) else str(signature)
    return {"X-Plivo-Signature-V3": made.strip(), "X-Plivo-Signature-V3-Nonce": nonce}


def _plivo_start(call_sid: str, parameters: dict[str, str]) -> dict[str, Any]:
    start = {
        "callId": call_sid,
        "streamId": call_sid[::-1],
        "accountId": "MA",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
    }
    return {"event": "start", "sequenceNumber": 1, "start": start, "extra_headers": ""}


# -- Exotel ------------------------------------------------------------------
def _exotel_signed(url: str, form: dict[str, str] | None = None, now: float = 0.0) -> Headers:
    return {"Authorization": "Basic " + _text(f"{EXOTEL_USER}:{EXOTEL_PASSWORD}".encode())}


def _exotel_start(call_sid: str, parameters: dict[str, str]) -> dict[str, Any]:
    start = {
        "stream_sid": "s" + call_sid[1:],
        "call_sid": call_sid,
        "account_sid": "exampleaccount1",
        "from": "+15550001",
        "to": "+15550002",
        "custom_parameters": parameters,
        "media_format": {"encoding": "base64", "sample_rate": "8000", "bit_rate": "128kbps"},
    }
    return {"event": "start", "sequence_number": "1", "stream_sid": start["stream_sid"], "start": start}


def _numbers(sid_name: str, caller: str, called: str) -> Callable[[str], dict[str, str]]:
    return lambda sid: {sid_name: sid, caller: "+15550001", called: "+15550002", "CallStatus": "ringing"}


_ALL = (
    Signer(
        "twilio",
        {"twilio_account_sid": "AC" + "0" * 32, "twilio_auth_token": TWILIO_TOKEN},
        lambda number: f"CA{number:032x}",
        _numbers("CallSid", "From", "To"),
        _twilio_signed,
        lambda url: _twilio_signed(url, {}),
        _twilio_start,
        lambda packet: _media(payload=_text(packet)),
    ),
    Signer(
        "telnyx",
        {"telnyx_api_key": "KEY1", "telnyx_public_key": _text(bytes(TELNYX_KEY.verify_key))},
        lambda number: f"v3:{number:054d}",
        _numbers("CallSid", "From", "To"),
        _telnyx_signed,
        lambda url: {},
        _telnyx_start,
        lambda packet: _media(payload=_text(packet)),
    ),
    Signer(
        "plivo",
        {"plivo_auth_id": "MA0", "plivo_auth_token": PLIVO_TOKEN},
        lambda number: str(UUID(int=number)),
        _numbers("CallUUID", "From", "To"),
        _plivo_signed,
        lambda url: {},
        _plivo_start,
        lambda packet: _media(payload=_text(packet)),
    ),
    Signer(
        "exotel",
        {"exotel_ws_user": EXOTEL_USER, "exotel_ws_password": EXOTEL_PASSWORD},
        lambda number: f"{number:032x}",
        _numbers("CallSid", "CallFrom", "CallTo"),
        _exotel_signed,
        lambda url: _exotel_signed(url),
        _exotel_start,
        lambda packet: {"event": "media", "media": {"payload": _text(packet)}},
    ),
)
SIGNERS: Mapping[str, Signer] = MappingProxyType({signer.name: signer for signer in _ALL})
TOKEN = re.compile(r"/telephony/ws/([A-Za-z0-9_.-]+)")
