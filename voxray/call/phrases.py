"""Fixed phrases, made before they are needed: the greeting costs no synthesis, the apology no vendor.

They are kept as the synthesizer gave them, because calls differ in what their wire wants: `on` gives the
book in one wire's codec, each phrase converted when it is first spoken there.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing

from twisted.logger import Logger

from voxray.audio.codec import codec_for
from voxray.audio.tones import beep
from voxray.call.voicing import voiced
from voxray.errors import ErrorKind, ProviderError
from voxray.frames import CallInfo, MediaFormat, Speech
from voxray.interfaces import Synthesizer

Made = dict[str, tuple[Speech, ...]]


class Phrases:
    """The book in one wire's codec. What could not be made is spoken the ordinary way."""

    def __init__(self, made: Made, wire: MediaFormat) -> None:
        """`made` may grow later."""
        self._made = made
        self._wire = wire
        self._payloads: dict[str, bytes] = {}
        self._beep = codec_for(wire).encode(beep(wire.rate_hz))

    def get(self, text: str) -> bytes | None:
        """The phrase's audio, if it was made."""
        if text not in self._payloads:
            if (pieces := self._made.get(text)) is None:
                return None
            self._payloads[text] = voiced(pieces, self._wire)
        return self._payloads[text]

    def get_or_beep(self, text: str) -> bytes:
        """For the apology: when the voice itself is what fails, a soft beep says that we are still there."""
        return self.get(text) or self._beep


class PhraseBook:
    """The phrases of one agent, by text; one for the whole process."""

    log = Logger()

    def __init__(self, tts: Synthesizer, before: PhraseBook | None = None) -> None:
        """`before`: the book of an earlier edition; what the same voice said there need not be said again."""
        self._tts = tts
        self._made: Made = {}
        self._on: dict[MediaFormat, Phrases] = {}
        self._before = before._made if before is not None and before._tts is tts else {}

    async def prepare(self, phrases: Iterable[str]) -> None:
        """Makes those that are missing. A vendor's failure is logged, not raised."""
        for text in phrases:
            if not text or text in self._made:
                continue
            if text in self._before:
                self._made[text] = self._before[text]
                continue
            try:
                self._made[text] = await self._synthesized(text)
            except ProviderError as error:
                self.log.warn("a fixed phrase could not be made yet: {error}", error=str(error))
                if error.kind is ErrorKind.PAUSED:
                    return  # the others would fare no better

    def lacks(self, phrases: Iterable[str]) -> bool:
        """Some are missing."""
        return any(text and text not in self._made for text in phrases)

    def on(self, wire: MediaFormat) -> Phrases:
        """The book for a call on `wire`; the same one for every such call. ValueError: no such codec."""
        if wire not in self._on:
            self._on[wire] = Phrases(self._made, wire)
        return self._on[wire]

    async def _synthesized(self, text: str) -> tuple[Speech, ...]:
        async with aclosing(self._tts.synthesize(text, CallInfo("phrases"))) as pieces:
            return tuple([speech async for speech in pieces])
