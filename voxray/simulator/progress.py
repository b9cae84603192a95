"""What each carrier says of a call the agent placed: when it is answered, and of how it goes.

Sources: Twilio, "Call resource: StatusCallback"; Telnyx, "TeXML call completed"; Plivo, "Application:
hangup_url" and "Call status"; Exotel, "StatusCallback".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from email.utils import formatdate

from voxray.simulator.carriers import CARRIERS
from voxray.simulator.rest.switchboard import Order

_SOURCE = "call-progress-events"
_PLIVO_STATUS = {"canceled": "cancel"}
_PLIVO_CAUSES = {
    "completed": ("NORMAL_CLEARING", "Normal Hangup", "4000"),
    "busy": ("USER_BUSY", "Busy Line", "3010"),
    "no-answer": ("NO_ANSWER", "No Answer", "3000"),
    "cancel": ("ORIGINATOR_CANCEL", "Cancelled", "1000"),
    "failed": ("NORMAL_TEMPORARY_FAILURE", "Network Error", "5010"),
}
_EXOTEL_STATUS = {"canceled": "failed"}


def answered_fields(carrier: str, order: Order) -> dict[str, str]:
    """The request for the document, of a call that was answered."""
    fields = CARRIERS[carrier].fields(order.ids, order.numbers) | {"CallStatus": "in-progress"}
    if carrier == "twilio":
        fields["Direction"] = "outbound-api"
    if carrier == "plivo":
        fields |= {
            "Direction": "outbound",
            "RequestUUID": order.reference,
            "ALegUUID": order.ids.call_sid,
            "ALegRequestUUID": order.reference,
        }
    return fields


def status_fields(carrier: str, order: Order, status: str, secs: float) -> dict[str, str]:
    """The status URL's; `status` is Twilio's word, `secs` how long the call was up."""
    return _STATUS[carrier](order, status, str(round(secs)))


def _twilio(order: Order, status: str, secs: str) -> dict[str, str]:
    return answered_fields("twilio", order) | {
        "CallStatus": status,
        "CallDuration": secs,
        "Duration": "1" if secs != "0" else "0",  # in minutes begun
        "CallbackSource": _SOURCE,
        "SequenceNumber": "0",
        "Timestamp": formatdate(),
    }


def _telnyx(order: Order, status: str, secs: str) -> dict[str, str]:
    return {
        "AccountSid": order.ids.account_sid,
        "CallDuration": secs,
        "CallSid": order.ids.call_sid,
        "CallSidLegacy": order.ids.call_sid,
        "CallStatus": status,
        "CallbackSource": _SOURCE,
        "From": order.from_number,
        "HangupSource": "callee",
        "SequenceNumber": "0",
        "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "To": order.to,
    }


def _plivo(order: Order, status: str, secs: str) -> dict[str, str]:
    word = _PLIVO_STATUS.get(status, status)
    cause, name, code = _PLIVO_CAUSES.get(word, _PLIVO_CAUSES["failed"])
    return answered_fields("plivo", order) | {
        "CallStatus": word,
        "Event": "Hangup",
        "Duration": secs,
        "BillDuration": secs,
        "HangupCause": cause,
        "HangupCauseName": name,
        "HangupCauseCode": code,
        "HangupSource": "Callee",
    }


def _exotel(order: Order, status: str, secs: str) -> dict[str, str]:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    told = {
        "CallSid": order.ids.call_sid,
        "Status": _EXOTEL_STATUS.get(status, status),
        "DateUpdated": now,
        "RecordingUrl": "",
    }
    if not order.events:
        return told
    event = "answered" if status == "in-progress" else "terminal"
    more = {"From": order.to, "To": order.from_number, "PhoneNumberSid": order.from_number, "Duration": secs}
    return told | {"EventType": event, "DateCreated": now} | more


_STATUS: Mapping[str, Callable[[Order, str, str], dict[str, str]]] = {
    "twilio": _twilio,
    "telnyx": _telnyx,
    "plivo": _plivo,
    "exotel": _exotel,
}
