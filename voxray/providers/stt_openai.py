"""Speech to text in the OpenAI dialect: one upload a turn (OpenAI, Groq, servers of one's own).

Source: POST {base}/audio/transcriptions of OpenAI's API description. The file must be called *.wav: the
name decides the vendor's decoder.
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import orjson

from voxray.audio.codec import codec_for
from voxray.audio.wav import wav_bytes
from voxray.frames import CallInfo, Transcript, Utterance
from voxray.http import HttpClient
from voxray.providers.offers import OTHER_TRANSCRIPTION_MODEL, TRANSCRIPTION_MODELS
from voxray.providers.openai_api import Host

PATH = "/audio/transcriptions"
SILENCE_MS = 200  # at both ends: Whisper loses a first or last word that touches the edge

# What Whisper hears in silence. The long ones take over a second to say, so from a shorter utterance
# they are invented; the short ones are also things people say, so only a mere blip is not believed.
_LONG_MS, _BLIP_MS = 1000.0, 300.0
_INVENTED_LONG = (
    *("thanks for watching", "thank you for watching", "thank you so much for watching", "please subscribe"),
    *("subtitles by the amara.org community", "like and subscribe", "see you in the next video"),
)
_INVENTED_SHORT = ("thank you", "thanks", "you", "bye", "bye bye", "so", "okay")


class OpenAITranscriber:
    """A turn's audio in, its words out."""

    def __init__(
        self, http: HttpClient, host: Host, *, model: str = "", language: str = "", prompt: str = ""
    ) -> None:
        self.name = host.name
        self.model = model or TRANSCRIPTION_MODELS.get(host.name, OTHER_TRANSCRIPTION_MODEL)
        self._http = http
        self._host = host
        self._circuit = host.circuit(http, "stt", self.model, PATH)
        # Only Whisper's models tell how sure they are.
        self._sure = self.model.startswith("whisper")
        fields = {
            "model": self.model,
            "response_format": "verbose_json" if self._sure else "json",
            "temperature": "0",
            "language": language.partition("-")[0].lower(),  # ISO 639-1: "en", not "en-US"
            "prompt": prompt,
        }
        self._fields = [(name.encode(), value.encode()) for name, value in fields.items() if value]

    async def start(self) -> None:
        """Nothing to load."""
        self._circuit.serve()

    async def warm_up(self) -> None:
        await self._host.warm_up(self._http)

    async def stop(self) -> None:
        """The connections are the HTTP client's."""
        self._circuit.retire()

    async def transcribe(self, utterance: Utterance, call: CallInfo) -> Transcript:
        with self._circuit.watch():
            said = await self._ask(utterance)
        text = (believed(said) if self._sure else said["text"]).strip()
        if is_invented(text, utterance.end_ms - utterance.start_ms):
            text = ""
        language = said.get("language")
        return Transcript(text, language=language if isinstance(language, str) else "")

    async def _ask(self, utterance: Utterance) -> dict[str, Any]:
        """The answer, which has a text. Raises ProviderError."""
        boundary = secrets.token_hex(16).encode()
        body = form_data(boundary, self._fields, b"audio.wav", b"audio/wav", _wav(utterance))
        kind = f"multipart/form-data; boundary={boundary.decode()}"
        answer = await self._http.request(self._host.post(PATH, body, kind, self._circuit))
        try:
            said = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            raise self._host.bad_answer("a transcription that is not JSON") from None
        if not isinstance(said, dict) or not isinstance(said.get("text"), str):
            raise self._host.bad_answer("a transcription without text")
        return said


def form_data(
    boundary: bytes, fields: list[tuple[bytes, bytes]], filename: bytes, kind: bytes, content: bytes
) -> bytes:
    """A multipart/form-data body (RFC 7578) with one file, called "file"."""
    parts = []
    for name, value in fields:
        head = b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n' % (boundary, name)
        parts += [head, value, b"\r\n"]
    head = b'--%b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\nContent-Type: %b\r\n\r\n'
    parts += [head % (boundary, filename, kind), content, b"\r\n--%b--\r\n" % boundary]
    return b"".join(parts)


def believed(answer: dict[str, Any]) -> str:
    """The text without the segments that Whisper itself takes for silence."""
    segments = answer.get("segments")
    whole: str = answer["text"]
    if not isinstance(segments, list) or not any(_is_silence(s) for s in segments):
        return whole
    kept = (s.get("text") for s in segments if isinstance(s, dict) and not _is_silence(s))
    return "".join(text for text in kept if isinstance(text, str))


def is_invented(text: str, speech_ms: float) -> bool:
    """One of Whisper's favourite inventions, in an utterance too short to have held it."""
    bare = text.lower().strip(" .!?,")
    if speech_ms < _LONG_MS and bare in _INVENTED_LONG:
        return True
    return speech_ms < _BLIP_MS and bare in _INVENTED_SHORT


def _is_silence(segment: object) -> bool:
    if not isinstance(segment, dict):
        return False
    nothing, sure = segment.get("no_speech_prob"), segment.get("avg_logprob")
    if not isinstance(nothing, (int, float)) or not isinstance(sure, (int, float)):
        return False
    return nothing > 0.6 and sure < -1.0


def _wav(utterance: Utterance) -> bytes:
    """As 16 bit WAV at the line's own rate, with silence at both ends."""
    rate_hz = utterance.media_format.rate_hz
    silence = np.zeros(rate_hz * SILENCE_MS // 1000, np.int16)
    samples = codec_for(utterance.media_format).decode(utterance.payload)
    return wav_bytes(np.concatenate((silence, samples, silence)), rate_hz)
