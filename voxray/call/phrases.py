"""Fixed phrases, made before they are needed: the greeting costs no synthesis, the apology no vendor."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.logger import Logger

from voxray.audio.codec import codec_for
from voxray.audio.tones import beep
from voxray.call.voicing import render
from voxray.errors import ProviderError
from voxray.frames import CallInfo, MediaFormat
from voxray.interfaces import Synthesizer


class PhraseBook:
    """Phrases in the wire's codec, by text. What could not be made is spoken the ordinary way."""

    log = Logger()

    def __init__(self, tts: Synthesizer, wire: MediaFormat) -> None:
        self._tts = tts
        self._wire = wire
        self._payloads: dict[str, bytes] = {}
        self._beep = codec_for(wire).encode(beep(wire.rate_hz))

    async def prepare(self, phrases: Iterable[str]) -> None:
        """Makes those that are missing. A vendor's failure is logged, not raised."""
        for text in phrases:
            if not text or text in self._payloads:
                continue
            try:
                self._payloads[text] = await render(self._tts, text, self._wire, CallInfo("phrases"))
            except ProviderError as error:
                self.log.warn("a fixed phrase could not be made yet: {error}", error=str(error))

    def get(self, text: str) -> bytes | None:
        """The phrase's audio, if it was made."""
        return self._payloads.get(text)

    def get_or_beep(self, text: str) -> bytes:
        """For the apology: when the voice itself is what fails, a soft beep says that we are still there."""
        return self._payloads.get(text) or self._beep
