"""Silences and how they are broken: the caller's, and ours while an answer is made; and turns that failed.

Ours is broken by a phrase made before the call, then by a soft beep: neither is part of any reply, so
that the model is never told of it, and the caller may speak into it. Turns that fail one after the other end
in what the owner wants, for nobody should be apologised to for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from voxray.call.mouth import Mouth
from voxray.call.phrases import Phrases
from voxray.call.reasons import EndReason
from voxray.frames import EndCall, Sequel, Transfer
from voxray.metrics import Metrics
from voxray.settings import AgentSettings


class Idle:
    """A caller who says nothing: prompted, then let go. Time is an argument."""

    def __init__(self, agent: AgentSettings, now: float) -> None:
        self._agent = agent
        self._since = now
        self._prompts = 0

    def quiet(self, now: float) -> None:
        """From now on nobody speaks."""
        self._since = now

    def spoke(self, now: float) -> None:
        """The caller did."""
        self._since, self._prompts = now, 0

    def due(self, now: float) -> tuple[str, EndCall | None] | None:
        """What is said to them now, if anything, and done then."""
        if not 0 < self._agent.user_idle_timeout_secs <= now - self._since:
            return None
        self._prompts += 1
        if self._prompts > self._agent.idle_prompts_max:
            return self._agent.goodbye, EndCall("idle")
        return self._agent.idle_prompt, None


@dataclass(frozen=True, slots=True)
class Amends:
    """What is said of a failed turn, and done then."""

    text: str
    then: Sequel | None = None

    @property
    def outcome(self) -> str:
        """A metric's label."""
        return {Transfer: "transfer", EndCall: "hangup"}.get(type(self.then), "apology")


class FailedTurns:
    """Those of one call, in a row. Pure."""

    def __init__(self, agent: AgentSettings) -> None:
        self._agent = agent
        self._row = 0
        self._transfer_tried = False

    def answered(self) -> None:
        """A turn went well."""
        self._row = 0

    def failed(self) -> Amends:
        """One more did not."""
        agent = self._agent
        self._row += 1
        if agent.on_provider_failure == "apologise" or self._row < agent.failed_turns_max:
            return Amends(agent.apology)
        if agent.on_provider_failure == "transfer" and not self._transfer_tried:
            self._transfer_tried = True
            return Amends(agent.failure_handover, Transfer(agent.failure_transfer))
        return Amends(agent.failure_goodbye, EndCall(EndReason.PROVIDER_FAILURE))


class Patience:
    """One call's silences. Time is an argument."""

    def __init__(self, mouth: Mouth, phrases: Phrases, agent: AgentSettings, metrics: Metrics) -> None:
        self._mouth, self._phrases, self._agent, self._metrics = mouth, phrases, agent, metrics
        self._failed_turns = FailedTurns(agent)
        self._since = 0.0
        self._told = False

    def begins(self, since: float) -> None:
        """From now on the caller waits for something; nothing has been heard since then."""
        self._since, self._told = since, False

    def elapsed(self, now: float) -> None:
        """The caller waits still: breaks a silence that has lasted long enough."""
        after, silent_since = self._agent.hold_after_secs, self._mouth.silent_since(now)
        if not after or silent_since is None or now - max(self._since, silent_since) < after:
            return
        phrase = "" if self._told else self._agent.hold_phrase
        if self._mouth.aside(self._phrases.get_or_beep(phrase)):
            self._metrics.holds.labels("phrase" if self._phrases.get(phrase) else "beep").inc()
            self._told = True

    def answered(self, replying: bool) -> None:
        """Something was heard; if it was a reply, the turn went well."""
        if replying:
            self._failed_turns.answered()

    def amends(self) -> Amends:
        """A turn failed."""
        amends = self._failed_turns.failed()
        self._metrics.failed_turns.labels(amends.outcome).inc()
        return amends

    def exhausted(self, now: float) -> bool:
        """No answer will do any more."""
        return now - self._since >= self._agent.answer_timeout_secs
