"""A vendor of the OpenAI dialect, on loopback: knows one answer, and remembers what it was asked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
from twisted.web.resource import Resource

from voxray.audio.tones import sine
from voxray.audio.wav import wav_bytes

TRANSCRIPT = "When do you open?"
REPLY = "We open at nine. Anything else?"


@dataclass
class Asked:
    """What came in: the kinds of request with their bodies, in order."""

    requests: list[tuple[str, bytes]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.requests]


class OpenAIVendor(Resource):
    """/v1/audio/transcriptions, /v1/chat/completions and /v1/audio/speech; /openai/v1 is Groq's prefix."""

    isLeaf = True

    def __init__(self, asked: Asked) -> None:
        super().__init__()
        self._asked = asked

    def render_GET(self, request: object) -> bytes:
        return b'{"data": []}'

    def render_POST(self, request) -> bytes:  # type: ignore[no-untyped-def]
        kind = request.path.decode().rpartition("/")[2]
        body = request.content.read()
        self._asked.requests.append((kind, body))
        self._asked.keys.add(request.getHeader("authorization") or "")
        if kind == "transcriptions":
            return json.dumps({"text": TRANSCRIPT}).encode()
        if kind == "completions":
            request.setHeader("Content-Type", "text/event-stream")
            return b"".join(self._events())
        asked = json.loads(body)
        request.setHeader("Content-Type", "audio/wav" if asked["response_format"] == "wav" else "audio/pcm")
        pcm = sine(440, 600.0, 24_000)
        return wav_bytes(pcm, 24_000) if asked["response_format"] == "wav" else pcm.astype(np.int16).tobytes()

    def _events(self) -> list[bytes]:
        deltas = [{"role": "assistant", "content": ""}, *({"content": w + " "} for w in REPLY.split())]
        chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        return [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks] + [b"data: [DONE]\n\n"]
