"""Keys pressed towards the other end: by the carrier's wire, by its REST API, or as tones in the audio.

Digits may be a secret number: they are in no log.
"""

from __future__ import annotations

import re

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from voxray.audio.tones import KEY_PAUSE_MS
from voxray.call.asking import why_not
from voxray.call.mouth import Mouth
from voxray.errors import CarrierError
from voxray.frames import CallInfo
from voxray.interfaces import Ability, CallControl, MediaSink

_PARTS = re.compile(r"w+|[^w]+")


class KeyPress:
    """One call's fingers."""

    log = Logger()

    def __init__(
        self,
        *,
        call: CallInfo,
        mouth: Mouth,
        sink: MediaSink,
        control: CallControl | None,
        clock: IReactorTime,
    ) -> None:
        self._call, self._mouth, self._sink = call, mouth, sink
        self._control, self._clock = control, clock

    async def press(self, digits: str) -> bool:
        """Presses them once what was said before was heard; False, and a line in the log, if that failed."""
        await self._mouth.settled()
        text = "call {call_id}: {count} keys pressed, by {way}"
        try:
            way = await self._press(digits)
        except CarrierError as error:
            text = "call {call_id}: {count} keys were not pressed: {error}"
            self.log.warn(text, call_id=self._call.call_id, count=len(digits), error=str(error))
            return False
        self.log.info(text, call_id=self._call.call_id, count=len(digits), way=way)
        return True

    async def _press(self, digits: str) -> str:
        """Raises CarrierError."""
        keys = digits.lstrip("w")
        await self._wait(len(digits) - len(keys))
        if not keys or await self._by_wire(keys):
            return "the stream"
        control = self._control
        if control is not None and not why_not(control, self._call, Ability.PRESS_KEYS):
            await control.press_keys(self._call.call_sid, keys)
            return "the carrier's API"
        self._mouth.press(keys)
        return "tones"

    async def _by_wire(self, keys: str) -> bool:
        """Pauses are ours: no wire's message is documented to have them. False: it has no such message."""
        for part in _PARTS.findall(keys):
            if part.startswith("w"):
                await self._wait(len(part))
            elif not self._sink.send_keys(part):
                return False
        return True

    async def _wait(self, pauses: int) -> None:
        if pauses:
            await deferLater(self._clock, pauses * KEY_PAUSE_MS / 1000)
