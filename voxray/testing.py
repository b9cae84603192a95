"""The fakes that ship: build a call, or test your own adapter, without a vendor and without waiting."""

from __future__ import annotations

from voxray.providers.scripted import ScriptedChat as CannedModel
from voxray.providers.scripted import ScriptedTranscriber, ToneSynthesizer

__all__ = ["CannedModel", "ScriptedTranscriber", "ToneSynthesizer"]
