"""One call's account: what is counted of it while it goes on, and told once when it is over.

Each turn goes to the metrics and the log; the end to the metrics and the records.
"""

from __future__ import annotations

from twisted.logger import Logger

from voxray.call.exchange import Exchange
from voxray.call.pacer import PacerCounts
from voxray.call.reasons import EndReason
from voxray.call.record import CallRecord, Latencies
from voxray.call.times import TURN, TURN_AND_WORDS, TurnReport, in_words
from voxray.frames import CallInfo, Wire


class Account:
    """Opened when the call begins; `close` is called once."""

    log = Logger()

    def __init__(
        self,
        call: CallInfo,
        wire: Wire,
        exchange: Exchange,
    ) -> None:
        self._call, self._wire = call, wire
        self._words = exchange.settings.logs.transcripts  # what was said is logged
        self._clock, self._metrics, self._records = exchange.clock, exchange.metrics, exchange.records
        self._begun, self._date = self._clock.seconds(), self._records.date()
        self._latencies = Latencies()

    def turn(self, turn: TurnReport) -> None:
        """One exchange is over: its words only where the owner asked for them."""
        observe = self._metrics.turn_latency.labels
        for part, ms in turn.parts_ms.items():
            observe(part).observe(ms / 1000)
        self._latencies.add(turn.parts_ms)
        shown = {"heard": turn.heard, "replied": turn.replied} if self._words else {}
        self.log.info(
            TURN_AND_WORDS if shown else TURN,
            event="turn",
            call_id=self._call.call_id,
            turn=turn.number,
            interrupted=turn.interrupted,
            parts_ms=turn.parts_ms,
            times=in_words(turn.parts_ms),
            **shown,
        )

    def close(
        self,
        reason: EndReason,
        *,
        turns: int,
        interruptions: int,
        keys: int,
        heard_ms: float,
        sent: PacerCounts,
    ) -> None:
        """The call is over."""
        self._metrics.calls_ended.labels(reason).inc()
        record = CallRecord(
            info=self._call,
            reason=reason,
            started_at=self._date,
            ended_at=self._records.date(),
            duration_secs=self._clock.seconds() - self._begun,
            wire=self._wire,
            turns=turns,
            interruptions=interruptions,
            keys=keys,
            latency_ms=self._latencies.summary(),
            heard_secs=heard_ms / 1000,
            spoken_secs=sent.sent_ms / 1000,
            underruns=sent.underruns,
        )
        self._records.keep(record)
