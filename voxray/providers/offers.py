"""What each provider uses where the configuration names nothing, and the audio it takes and makes.

Imports nothing heavy: `voxray check` reads it as the adapters do.
"""

from __future__ import annotations

from dataclasses import dataclass

from voxray.frames import Encoding, MediaFormat

# -- the OpenAI dialect ------------------------------------------------------------
CHAT_MODELS = {"openai": "gpt-4.1-mini", "groq": "openai/gpt-oss-120b"}
TRANSCRIPTION_MODELS = {"openai": "gpt-4o-transcribe", "groq": "whisper-large-v3-turbo"}
OTHER_CHAT_MODEL, OTHER_TRANSCRIPTION_MODEL = "default", "whisper-1"
"""On a host that is neither."""

PCM_24K = MediaFormat(Encoding.L16, 24_000)


@dataclass(frozen=True, slots=True)
class SpeechOffer:
    """What a host has, and in which form we ask for it."""

    model: str
    voice: str
    response_format: str = "pcm"
    max_chars: int = 4096

    @property
    def media_format(self) -> MediaFormat | None:
        """OpenAI's `pcm` is this; of a WAV file its header tells."""
        return PCM_24K if self.response_format == "pcm" else None


SPEECH = {
    "openai": SpeechOffer("gpt-4o-mini-tts", "alloy"),
    "groq": SpeechOffer("canopylabs/orpheus-v1-english", "hannah", "wav", 200),
}

# -- the local engines -------------------------------------------------------------
MOONSHINE_MODEL = "moonshine-tiny-en"
MOONSHINE_HZ = 16_000
LOCAL_VOICE = "rms"
FLITE = MediaFormat(Encoding.L16, 16_000)
"""Of the voices that we offer; the library tells it with every sentence."""
ESPEAK = MediaFormat(Encoding.L16, 22_050)

# -- the scripted ones -------------------------------------------------------------
SCRIPTED_MODEL = "scripted"
TONES = MediaFormat(Encoding.L16, 16_000)
