"""The caller's voice and ears: the local engines of the catalog, as the daemon has them, with another
voice.
"""

from __future__ import annotations

from typing import Any

from voxray import catalog
from voxray.http import HttpClient
from voxray.interfaces import Synthesizer, Transcriber
from voxray.settings import (
    AgentSettings,
    CallSettings,
    LogSettings,
    MediaSettings,
    ProviderSettings,
    ServerSettings,
    Settings,
    StageSettings,
    TurnSettings,
)
from voxray.worker import ThreadWorker

CALLER_VOICE = "slt"  # the agent's default is rms


class Engines:
    """Loads what is asked for, once, in a thread; `stop` ends the thread."""

    def __init__(self, reactor: Any, voice: str = CALLER_VOICE) -> None:
        self._worker = ThreadWorker(reactor, "simulator", 1)
        local = StageSettings("local", language="en")
        settings = Settings(
            server=ServerSettings(),
            providers=ProviderSettings(stt=local, llm=local, tts=StageSettings("local", voice=voice)),
            turns=TurnSettings(),
            agent=AgentSettings(),
            media=MediaSettings(),
            calls=CallSettings(),
            logs=LogSettings(),
        )
        self._parts = catalog.Parts(settings, HttpClient(reactor), reactor, self._worker, self._worker)
        self._voice: Synthesizer | None = None
        self._ears: Transcriber | None = None

    async def voice(self) -> Synthesizer:
        """Raises VoxrayError with a remedy when the library is missing."""
        if self._voice is None:
            stage = self._parts.settings.providers.tts
            voice = catalog.TTS[stage.provider](self._parts, stage)
            await voice.start()
            self._voice = voice
        return self._voice

    async def ears(self) -> Transcriber:
        """Raises VoxrayError with a remedy when the model is missing."""
        if self._ears is None:
            stage = self._parts.settings.providers.stt
            ears = catalog.STT[stage.provider](self._parts, stage)
            await ears.start()
            self._ears = ears
        return self._ears

    async def stop(self) -> None:
        """Releases what was loaded."""
        for engine in (self._voice, self._ears):
            if engine is not None:
                await engine.stop()
        await self._worker.stop()
