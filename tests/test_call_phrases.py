"""Fixed phrases: made once, spoken in any wire's codec."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import numpy as np
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import Stage
from voxray.audio.codec import codec_for
from voxray.call.phrases import PhraseBook
from voxray.errors import ErrorKind, ProviderError
from voxray.frames import ULAW_8K, CallInfo, Encoding, MediaFormat, Speech

VOICE = MediaFormat(Encoding.L16, 22_050)
WIRES = (
    ULAW_8K,
    MediaFormat(Encoding.ALAW, 8_000),
    MediaFormat(Encoding.L16, 8_000),
    MediaFormat(Encoding.L16, 16_000),
    MediaFormat(Encoding.L16, 24_000),
)


class Sayer(Stage):
    """Half a second of a 440 Hz tone, in pieces, of what it can say; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken = False

    async def synthesize(self, text: str, call: CallInfo) -> AsyncGenerator[Speech, None]:
        self.asked.append(text)
        if self.broken:
            raise ProviderError("fake", ErrorKind.TRANSPORT, "gone")
        tone = (9000 * np.sin(np.arange(11_025) * 2 * np.pi * 440 / 22_050)).astype("<i2").tobytes()
        for start in range(0, len(tone), 4001):  # cuts samples in two
            yield Speech(tone[start : start + 4001], VOICE)


class PhraseBookTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.tts = Sayer()
        self.book = PhraseBook(self.tts)

    def prepare(self, *phrases: str) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.book.prepare(phrases)))

    def test_every_wire(self) -> None:
        """The same phrase is the same sound on every wire, synthesized once."""
        self.prepare("Hello.")
        for wire in WIRES:
            codec = codec_for(wire)
            payload = self.book.on(wire).get("Hello.")
            assert payload is not None
            self.assertLess(abs(codec.duration_ms(payload) - 500), 3)
            samples = codec.decode(payload).astype(float)
            loudest = np.argmax(np.abs(np.fft.rfft(samples))) * wire.rate_hz / samples.size
            self.assertLess(abs(loudest - 440), 4, wire)
        self.assertEqual(self.tts.asked, ["Hello."])

    def test_converted_once(self) -> None:
        """A wire's second call gets the very same bytes."""
        self.prepare("Hello.")
        self.assertIs(self.book.on(ULAW_8K).get("Hello."), self.book.on(ULAW_8K).get("Hello."))

    def test_later(self) -> None:
        """A phrase made after the call began is there when it is asked for."""
        phrases = self.book.on(ULAW_8K)
        self.assertIsNone(phrases.get("Hello."))
        self.prepare("Hello.")
        self.assertIsNotNone(phrases.get("Hello."))

    def test_beep(self) -> None:
        """What could not be made is a beep in the wire's codec, and is made when asked for again."""
        self.tts.broken = True
        self.prepare("Sorry.", "")
        for wire in WIRES:
            phrases = self.book.on(wire)
            self.assertIsNone(phrases.get("Sorry."))
            beep = codec_for(wire).decode(phrases.get_or_beep("Sorry."))
            self.assertGreater(int(np.abs(beep).max()), 500)
        self.tts.broken = False
        self.prepare("Sorry.")
        self.assertEqual(self.book.on(ULAW_8K).get_or_beep("Sorry."), self.book.on(ULAW_8K).get("Sorry."))
        self.assertEqual(self.tts.asked, ["Sorry.", "Sorry."])
