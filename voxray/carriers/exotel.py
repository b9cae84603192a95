"""Exotel over HTTP: the answer of a dynamic Voicebot URL. It has no call to hang up a call.

A Voicebot applet has either a static `wss://` URL, and then nothing here is asked, or an `https://` URL that
Exotel fetches at each call, expecting JSON with `url` at the top level. Which method and parameters it uses
is not documented; its other applets send GET with CallSid, CallFrom and CallTo. Nothing is required.

Nobody signs anything: what these parameters say may be a stranger's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from voxray.frames import IncomingCall

NOTE = "Configure the WebSocket URL above in your Exotel App Bazaar Voicebot Applet"
_MAX_NUMBER_CHARS = 256
_CALL_SID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)  # 32 hex digits, or Twilio's form


class ExotelDocuments:
    """`interfaces.AnswerDocuments` for Exotel."""

    name = "exotel"
    content_type = "application/json"

    def __init__(self, sample_rate: int = 8000) -> None:
        self._asked = "" if sample_rate == 8000 else f"sample-rate={sample_rate}"

    def incoming(self, form: Mapping[str, str]) -> IncomingCall:
        sid = form.get("CallSid", "")
        return IncomingCall(
            call_sid=sid if _CALL_SID.fullmatch(sid) else "",
            from_number=form.get("CallFrom", "")[:_MAX_NUMBER_CHARS],
            to_number=form.get("CallTo", "")[:_MAX_NUMBER_CHARS],
        )

    def answer(self, url: str, parameters: Mapping[str, str]) -> bytes:
        """`url` is what Exotel reads; `websocketUrl` and `note` are for the person who looks here for it.

        `parameters` stay out: Exotel's `start` says who calls whom, and a query may get lost.
        """
        if self._asked:
            url += ("&" if "?" in url else "?") + self._asked
        document = {"url": url, "websocketUrl": url, "note": NOTE}
        return json.dumps(document, separators=(",", ":")).encode("ascii")

    def busy(self) -> None:
        """No document that turns a call away is known: the status has to say it."""
        return
