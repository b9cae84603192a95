"""What comes on a media socket between its `start` and the answer whether it may be a call: kept, in order.

That is half a second at most, unless the peer sends faster than it can be spoken; so it is bounded, and
what is too much is dropped, sound before anything else.
"""

from __future__ import annotations

from voxray.frames import Audio, Frame

MAX_FRAMES = 150
MAX_AUDIO_BYTES = 65_536  # four seconds of linear PCM at 8 kHz


class Waiting:
    """The frames, until they are taken."""

    def __init__(self) -> None:
        self._frames: list[Frame] = []
        self._audio_bytes = 0

    def hold(self, frame: Frame) -> bool:
        """False: it is dropped."""
        if isinstance(frame, Audio):
            self._audio_bytes += len(frame.payload)
            if self._audio_bytes > MAX_AUDIO_BYTES or len(self._frames) >= MAX_FRAMES // 2:
                return False
        elif len(self._frames) >= MAX_FRAMES:
            return False
        self._frames.append(frame)
        return True

    def take(self) -> list[Frame]:
        """All of them, in the order they came."""
        taken, self._frames = self._frames, []
        return taken
