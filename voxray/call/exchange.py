"""What all calls share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from twisted.internet.interfaces import IReactorTime

from voxray.call.ear import Ear, EarListener
from voxray.call.metronome import Metronome
from voxray.call.phrases import PhraseBook
from voxray.call.record import NoRecords, Records
from voxray.frames import MediaFormat
from voxray.interfaces import CallControl, Pacing, Providers, VoiceActivity
from voxray.metrics import Metrics
from voxray.settings import Settings


@dataclass(frozen=True, slots=True)
class Exchange:
    """The agent's providers and phrases, the carriers, and the clocks. Made by `tap`."""

    settings: Settings
    providers: Providers
    phrases: PhraseBook
    activity: VoiceActivity
    controls: Mapping[str, CallControl]  # by carrier; absent: without credentials
    clock: IReactorTime
    beat: Metronome
    metrics: Metrics
    pacings: Mapping[str, Pacing] = field(default_factory=dict)  # by carrier; absent: the ordinary one
    records: Records = field(default_factory=NoRecords)
    transfer_url: Callable[[str, str], str] = lambda call_id, number: ""  # of the document that connects it

    def ear(
        self,
        wire: MediaFormat,
        *,
        listener: EarListener,
        agent_speaks: Callable[[], bool],
        crashed: Callable[[], None],
    ) -> Ear:
        """An ear for one call."""
        return Ear(
            wire=wire,
            activity=self.activity,
            settings=self.settings.turns,
            listener=listener,
            agent_speaks=agent_speaks,
            clock=self.clock,
            crashed=crashed,
            metrics=self.metrics,
        )
