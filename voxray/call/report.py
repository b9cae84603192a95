"""What one exchange leaves behind: metrics always, its words only where the owner asked for them."""

from __future__ import annotations

from twisted.logger import Logger

from voxray.call.dialogue import TurnReport
from voxray.call.times import TURN, TURN_AND_WORDS, in_words
from voxray.metrics import Metrics


class TurnLog:
    """One call's."""

    log = Logger()

    def __init__(self, call_id: str, metrics: Metrics, transcripts: bool) -> None:
        self._call_id, self._metrics, self._transcripts = call_id, metrics, transcripts

    def turn(self, turn: TurnReport) -> None:
        observe = self._metrics.turn_latency.labels
        for part, ms in turn.parts_ms.items():
            observe(part).observe(ms / 1000)
        words = {"heard": turn.heard, "replied": turn.replied}
        shown = words if self._transcripts else {}
        self.log.info(
            TURN_AND_WORDS if shown else TURN,
            event="turn",
            call_id=self._call_id,
            turn=turn.number,
            interrupted=turn.interrupted,
            parts_ms=turn.parts_ms,
            times=in_words(turn.parts_ms),
            **shown,
        )
