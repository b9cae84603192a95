"""The agent's mouth: speech becomes packets in the wire's codec, and words are laid along them.

Keeps the pieces of text that were given to the pacer, so that a barge-in can say what was heard and what not.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from voxray.audio.codec import codec_for
from voxray.audio.tones import dtmf
from voxray.call.heard import Spoken, heard_text, unheard_text
from voxray.call.pacer import Pacer
from voxray.call.voicing import Voicing
from voxray.frames import MediaFormat, Speech

QUEUE_LIMIT_MS = 20_000.0
"""Audio waiting here before the synthesizer is made to wait: a vendor may be far faster than real time."""

_SLICE_SECS = 0.25
_SETTLE_SECS = 0.005


class Mouth:
    """One call's voice. One piece is spoken at a time: `begin`, any number of `add`, `end`; then `finish`."""

    def __init__(self, pacer: Pacer, wire: MediaFormat, clock: IReactorTime) -> None:
        self._pacer = pacer
        self._wire = wire
        self._clock = clock
        self._pieces: list[Spoken] = []
        self._voicing = Voicing(wire)
        self._naps: list[Deferred[None]] = []

    # -- speaking ------------------------------------------------------------
    def begin(self, text: str) -> None:
        """The audio added from now on says `text`."""
        self._pieces.append(Spoken(text, self._pacer.pushed_ms))

    def add(self, speech: Speech) -> None:
        """More audio of the piece begun."""
        self._push(self._voicing.feed(speech))

    def end(self) -> None:
        """The piece is complete."""
        self._push(self._voicing.flush())
        self._pieces[-1].end_ms = self._pacer.pushed_ms
        self._pacer.mark(self._clock.seconds())

    def break_off(self) -> None:
        """The piece will not be completed: what there is of it will be heard."""
        self._push(self._voicing.flush())

    def aside(self, payload: bytes) -> bool:
        """A sound between sentences that is no part of what is said; False in the midst of one: not then."""
        at_ms = self._pacer.pushed_ms
        growing = self._pieces[-1] if self._pieces and not self._pieces[-1].end_ms else None
        if growing is not None and growing.start_ms < at_ms:
            return False
        self._pacer.aside(payload, self._clock.seconds())
        if growing is not None:  # asked of the synthesizer, not yet heard
            growing.start_ms = self._pacer.pushed_ms
        return True

    def say(self, text: str, payload: bytes) -> None:
        """A phrase made earlier, already in the wire's codec, as a whole reply."""
        self._sound(text, payload)
        self.finish()

    def press(self, keys: str) -> None:
        """Keys as the tones a telephone makes of them: audio without words."""
        self._sound("", codec_for(self._wire).encode(dtmf(keys, rate_hz=self._wire.rate_hz)))

    def finish(self) -> None:
        """The reply is complete."""
        self._pacer.finish(self._clock.seconds())

    # -- waiting -------------------------------------------------------------
    async def room(self) -> None:
        """Until there is room for more audio."""
        while self._pacer.queued_ms > QUEUE_LIMIT_MS:
            await deferLater(self._clock, _SLICE_SECS)

    async def played(self) -> None:
        """Until all that was said has been heard, by the playout clock or by the carrier's last mark."""
        while not self._pacer.drained(now := self._clock.seconds()):
            await self._nap(min(_SLICE_SECS, self._pacer.remaining_secs(now) + _SETTLE_SECS))

    async def heard_out(self) -> None:
        """The same, and as much longer as the caller's ear is known to be behind that clock."""
        await self.played()
        due = self._clock.seconds() + self._pacer.lag_secs
        while self._pacer.lag_secs and (left := due - self._clock.seconds()) > 0:
            await self._nap(left)

    def mark_returned(self, name: str) -> None:
        """The carrier has played what was before this mark: whoever waits for the last one looks again."""
        self._pacer.mark_returned(name, self._clock.seconds())
        for nap in tuple(self._naps):
            if not nap.called:
                nap.callback(None)

    async def settled(self) -> None:
        """Until all that was said has been heard, and nobody is speaking before we have begun."""
        self.finish()
        while self._pacer.held:
            await self._nap(_SLICE_SECS)
        await self.played()

    # -- being heard ---------------------------------------------------------
    def silent_since(self, now: float) -> float | None:
        """When the last sound ended; None while there is one."""
        return self._pacer.silent_since(now)

    @property
    def held(self) -> bool:
        """Audio waits for the caller to stop speaking."""
        return self._pacer.held

    @property
    def pressing(self) -> bool:
        """The tones of keys are being heard: half a number is worse than speaking over somebody."""
        heard_ms = self._pacer.heard_ms(self._clock.seconds())
        return any(not piece.text and piece.start_ms <= heard_ms < piece.end_ms for piece in self._pieces)

    def silence(self) -> tuple[str, str]:
        """Barge-in: drops what is queued here and at the carrier. Returns (heard, unheard) words."""
        pieces, pushed_ms = self._pieces, self._pacer.pushed_ms
        heard_ms = self._pacer.clear(self._clock.seconds())
        self._forget()
        return heard_text(pieces, heard_ms, pushed_ms), unheard_text(pieces, heard_ms, pushed_ms)

    def leave_off(self) -> str:
        """All there is of a reply that is not complete was heard. Returns those words."""
        heard_ms, pushed_ms = self._pacer.heard_ms(self._clock.seconds()), self._pacer.pushed_ms
        heard = heard_text(self._pieces, heard_ms, pushed_ms)
        self._forget()
        return heard

    def close_reply(self) -> str:
        """The reply was heard to its end. Returns its words."""
        said = " ".join(piece.text for piece in self._pieces if piece.text)
        self._forget()
        return said

    def hold(self) -> None:
        """The caller is speaking: audio waits."""
        self._pacer.hold()

    def release(self) -> None:
        self._pacer.release(self._clock.seconds())

    # -- inside --------------------------------------------------------------
    def _sound(self, text: str, payload: bytes) -> None:
        self.begin(text)
        self._push(payload)
        self._pieces[-1].end_ms = self._pacer.pushed_ms

    async def _nap(self, secs: float) -> None:
        """So long, or until a mark comes back."""
        nap: Deferred[None] = Deferred()
        self._naps.append(nap)
        timer = self._clock.callLater(secs, nap.callback, None)
        try:
            await nap
        finally:
            self._naps.remove(nap)
            if timer.active():
                timer.cancel()

    def _push(self, payload: bytes) -> None:
        if payload:
            self._pacer.push(payload, self._clock.seconds())

    def _forget(self) -> None:
        self._pieces = []
        self._voicing = Voicing(self._wire)  # the filter's memory of a cut reply must not leak into the next
