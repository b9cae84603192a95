"""The offline ChatModel: the scripted receptionist, streamed as a language model would."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Collection, Sequence
from pathlib import Path

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from voxray.frames import CallInfo, EndCall, Message, PressKeys, ReplyEvent, TextDelta, Transfer
from voxray.providers import scenario
from voxray.providers.receptionist import reply

TOKEN_SECS = 0.005


class ReceptionistModel:
    """Implements `interfaces.ChatModel`. `scenario_file` empty: the receptionist that ships."""

    name = "local"

    def __init__(
        self,
        clock: IReactorTime,
        scenario_file: str = "",
        token_secs: float = TOKEN_SECS,
        transfers: Collection[str] = (),
    ) -> None:
        """Reads the scenario, whose facts may transfer to the names in `transfers`. Raises ConfigError."""
        self._clock = clock
        self._token_secs = token_secs
        self._scenario = scenario.load(scenario_file, transfers)
        self.model = Path(scenario_file).stem if scenario_file else "receptionist"

    async def start(self) -> None:
        """The scenario was read when this was made."""

    async def warm_up(self) -> None:
        """Nothing to open."""

    async def stop(self) -> None:
        """Nothing to release."""

    async def reply(self, messages: Sequence[Message], call: CallInfo) -> AsyncGenerator[ReplyEvent, None]:
        """A word at a time: the first at once, the others `token_secs` apart."""
        answer = reply(self._scenario, messages)
        for index, token in enumerate(re.findall(r"\s*\S+", answer.text)):
            if index and self._token_secs:
                await deferLater(self._clock, self._token_secs)
            yield TextDelta(token)
        if answer.press:
            yield PressKeys(answer.press)
        if answer.transfer:
            yield Transfer(answer.transfer)
        elif answer.end_call:
            yield EndCall()
