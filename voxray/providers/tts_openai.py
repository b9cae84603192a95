"""Text to speech in the OpenAI dialect, streamed (OpenAI, Groq, servers of one's own).

Source: POST {base}/audio/speech of OpenAI's API description. OpenAI's `pcm` is 24 kHz, 16 bit, without a
header; Groq's Orpheus gives WAV, whose header tells the rate.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import closing, suppress

import orjson

from voxray.audio.codec import OddByteCarry, codec_for
from voxray.audio.wav import BadWav, WavReader
from voxray.errors import ProviderError
from voxray.frames import CallInfo, Encoding, MediaFormat, Speech
from voxray.http import HttpClient
from voxray.httpstream import HttpStream
from voxray.providers.offers import PCM_24K, SPEECH
from voxray.providers.openai_api import Host, media_rate, media_type
from voxray.providers.openai_errors import explain_event

PATH = "/audio/speech"
_LEAST_MS = 20  # smaller pieces wait for company
_COMPRESSED = (b"ID3", b"OggS", b"fLaC", b"\x1aE\xdf\xa3")
_MAX_JSON_BYTES = 16_384


class AudioReader:
    """The body as whole samples in `media_format`. Pure. Raises ValueError for what would be noise.

    `rate` is the answer's own word for it ("audio/pcm;rate=16000"), if it has one; a WAV header knows better.
    """

    def __init__(self, kind: str = "", rate: str = "") -> None:
        self.media_format = PCM_24K
        self._rate = rate
        self._kind = kind
        self._head = b""
        self._wav: WavReader | None = None
        self._carry: OddByteCarry | None = None
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """The samples that are ready; nothing while there are only a few."""
        if self._wav is None and self._carry is None:
            self._head += data
            if len(self._head) < 4:
                return b""
            data, self._head = self._head, b""
            self._choose(data)
        for piece in self._samples(data):
            self._held.append(piece)
            self._size += len(piece)
        return self.finish() if self._size >= _LEAST_MS * self.media_format.bytes_per_ms else b""

    def finish(self) -> bytes:
        """The samples that were still waiting."""
        ready, self._held, self._size = b"".join(self._held), [], 0
        return ready

    def _choose(self, head: bytes) -> None:
        """By what the body begins with: not every host gives what it was asked for."""
        mp3 = self._kind == "audio/mpeg" and head[0] == 0xFF and head[1] >= 0xE0
        if mp3 or head.startswith(_COMPRESSED):
            raise BadWav("compressed audio where PCM was asked for")
        if head.startswith(b"RIFF"):
            self._wav = WavReader()
        else:
            if self._rate:
                if not self._rate.isascii() or not self._rate.isdigit() or len(self._rate) > 6:
                    raise ValueError("a sample rate that is none")
                self.media_format = MediaFormat(Encoding.L16, int(self._rate))
                codec_for(self.media_format)  # a rate we do not speak
            self._carry = OddByteCarry()

    def _samples(self, data: bytes) -> list[bytes]:
        if self._wav is None:
            assert self._carry is not None
            return [self._carry.feed(data)]
        pieces = self._wav.feed(data)
        if pieces and self._wav.format is not None:
            self.media_format = self._wav.format.media_format
            codec_for(self.media_format)  # a rate we do not speak
        return pieces


class OpenAISpeech:
    """A sentence in, its audio out as it is made."""

    def __init__(self, http: HttpClient, host: Host, *, model: str = "", voice: str = "") -> None:
        offer = SPEECH.get(host.name, SPEECH["openai"])
        self.name = host.name
        self.model = model or offer.model
        self.voice = voice or offer.voice
        self._http = http
        self._host = host
        self._circuit = host.circuit(http, "tts", self.model, PATH)
        self._format = offer.response_format
        self._max_chars = offer.max_chars

    async def start(self) -> None:
        """Nothing to load."""
        self._circuit.serve()

    async def warm_up(self) -> None:
        await self._host.warm_up(self._http)

    async def stop(self) -> None:
        """The connections are the HTTP client's."""
        self._circuit.retire()

    async def synthesize(self, text: str, call: CallInfo) -> AsyncGenerator[Speech, None]:
        for part in parts_of(text, self._max_chars):
            with self._circuit.watch():
                stream = await self._open(part)
                with closing(stream):
                    reader = AudioReader(await self._kind(stream), media_rate(stream.headers))
                    silent = True
                    while data := await stream.read():
                        if samples := self._decoded(reader, data):
                            silent = False
                            yield Speech(samples, reader.media_format)
                    if samples := reader.finish():
                        yield Speech(samples, reader.media_format)
                    elif silent:
                        raise self._host.bad_answer("no audio")

    async def _open(self, text: str) -> HttpStream:
        body = {
            "model": self.model,
            "voice": self.voice,
            "input": text,
            "response_format": self._format,
        }
        asked = self._host.post(PATH, orjson.dumps(body), "application/json", self._circuit)
        return await self._http.open(asked)

    async def _kind(self, stream: HttpStream) -> str:
        """The body's media type. Raises ProviderError when that is no audio but an explanation."""
        kind = media_type(stream.headers)
        if kind == "application/json":
            body = b""
            while len(body) < _MAX_JSON_BYTES and (data := await stream.read()):
                body += data
            failure = None
            with suppress(orjson.JSONDecodeError):
                failure = explain_event(orjson.loads(body))
            if failure is not None:
                raise ProviderError(self.name, *failure, status=stream.status)
        if kind.startswith("text/") or kind == "application/json":
            raise self._host.bad_answer(f"{kind} instead of audio")
        return kind

    def _decoded(self, reader: AudioReader, data: bytes) -> bytes:
        try:
            return reader.feed(data)
        except ValueError as e:
            raise self._host.bad_answer(str(e)) from None


def parts_of(text: str, max_chars: int) -> list[str]:
    """The text in pieces a host takes, cut at a sentence's end, else a clause's, else a space."""
    parts = []
    rest = text.strip()
    while len(rest) > max_chars:
        window = rest[:max_chars]
        cuts = (
            max(window.rfind(mark) for mark in marks) for marks in ((". ", "? ", "! "), (", ", "; "), (" ",))
        )
        cut = next((at + 1 for at in cuts if at > 0), max_chars)
        parts.append(rest[:cut].strip())
        rest = rest[cut:].strip()
    return [*parts, rest] if rest else parts
