"""When the parts of one turn happened: the numbers behind the latency table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TURN = "call {call_id}: turn {turn}, {times}"
TURN_AND_WORDS = TURN + "; heard {heard!r}, replied {replied!r}"
"""How a turn is logged; with its words only when the owner asked for them."""


@dataclass(slots=True)
class TurnTimes:
    """Monotonic seconds; 0 where it has not happened."""

    speech_end: float = 0.0  # the caller's last word reached us
    turn_end: float = 0.0  # the endpointer was sure
    stt_asked: float = 0.0
    stt_done: float = 0.0
    llm_asked: float = 0.0
    llm_first: float = 0.0
    sentence: float = 0.0  # the first speakable piece was complete
    tts_asked: float = 0.0
    tts_first: float = 0.0
    audible: float = 0.0  # the first packet of the reply left

    def parts_ms(self) -> dict[str, float]:
        """Milliseconds by stage; only those that happened. `own` is what is neither vendor nor waiting."""
        parts = {
            "endpoint": _between(self.speech_end, self.turn_end),
            "stt": _between(self.stt_asked, self.stt_done),
            "llm": _between(self.llm_asked, self.llm_first),
            "sentence": _between(self.llm_first, self.sentence),
            "tts": _between(self.tts_asked, self.tts_first),
            "own": self._own(),
            "total": _between(self.speech_end, self.audible),
        }
        return {name: round(ms, 1) for name, ms in parts.items() if ms is not None}

    def _own(self) -> float | None:
        """From the end of the turn to the first packet, less what the vendors took of it."""
        whole = _between(self.turn_end, self.audible)
        if whole is None:
            return None
        stt = _between(max(self.stt_asked, self.turn_end), max(self.stt_done, self.turn_end)) or 0.0
        llm = _between(self.llm_asked, self.sentence) or 0.0
        tts = _between(self.tts_asked, self.tts_first) or 0.0
        return max(0.0, whole - stt - llm - tts)


@dataclass(frozen=True, slots=True)
class TurnReport:
    """One exchange, for logs and tests. Its words are the caller's: log them only when asked to.

    Keys are masked in `heard`: what was pressed is between the caller and the model.
    """

    number: int
    heard: str
    replied: str
    interrupted: bool
    parts_ms: dict[str, float]


def in_words(parts_ms: Mapping[str, float]) -> str:
    """For a line of the log: "total 690 ms (endpoint 612, stt 110, ...)". Keys pressed have no total."""
    stages = ", ".join(f"{name} {ms:.0f}" for name, ms in parts_ms.items() if name != "total")
    if "total" not in parts_ms:
        return f"({stages})" if stages else "said unasked"
    return f"total {parts_ms['total']:.0f} ms ({stages})"


def _between(begin: float, end: float) -> float | None:
    return (end - begin) * 1000 if begin and end else None
