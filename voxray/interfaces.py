"""The ports: what the call needs of the world, as protocols. Adapters live elsewhere and import this.

Nothing here imports twisted: a port that returns a coroutine or an async generator is driven by
`Deferred.fromCoroutine` in `voxray.call`. Cancelling that Deferred must release the adapter's
sockets at once; async generators are closed with `aclose()`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from voxray.frames import (
    CallInfo,
    Frame,
    IncomingCall,
    Message,
    ReplyEvent,
    Speech,
    StreamStarted,
    Transcript,
    Utterance,
)

if TYPE_CHECKING:  # the command line reads this module too, and numpy takes its time
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")


# -- towards the carrier -----------------------------------------------------
class Serializer(Protocol):
    """One carrier's messages <-> frames; one instance a socket, pure. Ids are learnt from `start`."""

    def decode(self, message: bytes) -> Frame:
        """One text message (UTF-8). Raises BadMessage; never anything else."""

    def media(self, payload: bytes) -> bytes:
        """The message that plays `payload` (wire codec). Only after StreamStarted was decoded."""

    def mark(self, name: str) -> bytes:
        """The message that asks to be told when everything before it was played."""

    def clear(self) -> bytes:
        """The message that drops what the carrier has buffered."""

    def keys(self, digits: str) -> bytes | None:
        """The message that presses keys towards the caller; None: this carrier has none."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """How one carrier wants the audio it is sent.

    One message has at most `message_ms` of it, in whole 20 ms packets and whole `unit_bytes` (where a packet
    is no multiple of those, it is longer). `max_lead_ms` is for a carrier that bears little sent ahead; with
    less than two messages there are never two to send at once. `clear_spares`: a clear drops what has not
    begun to play; the message that has is heard to its end.
    """

    message_ms: int = 40
    unit_bytes: int = 1
    max_lead_ms: float = math.inf
    clear_spares: bool = False


ORDINARY_PACING = Pacing()


class MediaSink(Protocol):
    """The way to the caller's ear. Never raises; after the end it drops what it is given."""

    def send_audio(self, payload: bytes) -> None: ...

    def send_mark(self, name: str) -> None: ...

    def send_clear(self) -> None: ...

    def send_keys(self, digits: str) -> bool:
        """Presses keys towards the caller; False: this carrier's wire has no message for it."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Starts the WebSocket close; `reason` at most 123 bytes."""


class CallPort(Protocol):
    """One call, as its media socket sees it. Whatever these raise ends this call alone, with code 1011."""

    @property
    def call_id(self) -> str:
        """Ours; it is on every line logged of the call."""

    def receive(self, frame: Frame) -> None:
        """Audio, Dtmf, Mark or StreamStopped, in the order of the wire; nothing after `disconnected`."""

    def disconnected(self, reason: str) -> None:
        """The socket is gone; exactly once. `reason` is one of `web.media.END_REASONS`."""


@dataclass(frozen=True, slots=True)
class Declined:
    """A stream that becomes no call: for want of room (close code 1013), else for want of trust (1008)."""

    reason: str
    full: bool = False


class Guest(Protocol):
    """A socket that was let in, not yet a call."""

    serializer: Serializer
    """Its carrier's, new."""

    def open(self, started: StreamStarted, sink: MediaSink) -> CallPort | Declined | Coroutine[Any, Any, Any]:
        """Joins the socket to a call once its `start` is in, now or soon. It may already use the sink."""

    def held(self) -> Sequence[bytes]:
        """Messages from before the `start` that told whose stream it is: to be read again, now."""


class AnswerDocuments(Protocol):
    """How one carrier asks over HTTP what to do with a call, and how it is told. Pure."""

    name: str
    """The carrier's name in the configuration."""
    content_type: str
    """Of what `answer` and `busy` give."""

    def incoming(self, form: Mapping[str, str]) -> IncomingCall:
        """Reads the webhook's parameters; what is absent is empty."""

    def answer(self, url: str, parameters: Mapping[str, str]) -> bytes:
        """The document that connects the call to the media socket at `url`."""

    def busy(self) -> bytes | None:
        """The document that turns the call away unanswered; None: say so with status 503."""

    def hang_up(self) -> bytes | None:
        """The document that ends an answered call; None: this carrier has none, say so with status 409."""

    def connect(self, to: str) -> bytes | None:
        """The document that connects the caller to the number `to`; None: this carrier has none."""


class Ability(Enum):
    """What a carrier's account can be asked for."""

    HANG_UP = "hang_up"
    TRANSFER = "transfer"
    CLOSING_TRANSFERS = "closing_transfers"  # Exotel: what follows in its flow takes the call when we close
    PRESS_KEYS = "press_keys"
    DIAL = "dial"


@dataclass(frozen=True, slots=True)
class DialOrder:
    """A call to be placed. Every URL is ours and public; each carrier takes those it needs."""

    to: str
    from_number: str
    answer_url: str  # our webhook: what to do with the call, fetched once it is answered
    stream_url: str  # our media socket, for carriers that are told of it at once
    status_url: str  # told when the call is over, or was never answered
    max_call_secs: float
    ring_secs: float = 60.0


@dataclass(frozen=True, slots=True)
class Dialed:
    """The carrier's answer. `call_sid` is empty where only the webhook or the stream will tell it."""

    reference: str  # for `cancel`; empty: it cannot be given up, only be refused when it is answered
    call_sid: str = ""


class CallControl(Protocol):
    """The carrier's REST API, for one carrier account. What is not among `abilities` is never asked.

    Ids are checked for their shape before they get into a URL that carries the owner's credentials.
    """

    abilities: frozenset[Ability]

    async def hang_up(self, call_sid: str) -> None:
        """Ends the call; already ended counts as success. Raises CarrierError."""

    async def transfer(self, call_sid: str, to: str, document_url: str) -> None:
        """Connects the caller to `to`; our stream then stops, and the call is no more ours to end.

        `document_url` is where a carrier that must be sent elsewhere finds `AnswerDocuments.connect(to)`.
        Raises CarrierError, and then nothing has changed.
        """

    async def press_keys(self, call_sid: str, digits: str) -> None:
        """Presses keys towards the caller. Raises CarrierError."""

    async def dial(self, order: DialOrder) -> Dialed:
        """Places a call. Raises CarrierError."""

    async def cancel(self, reference: str) -> None:
        """Gives up a call that was dialled and not answered; already over counts as success."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as its signature has it. `url` is as the carrier dialled it: our public one, query included.

    Header names are in lower case; a repeated header's values are joined by commas.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


class Proof(Enum):
    """What a request's signature is worth; the values of the failures are metric labels."""

    GENUINE = "genuine"
    UNSIGNED = "unsigned"
    FORGED = "forged"
    STALE = "stale"


class Authenticity(Protocol):
    """How one carrier proves that a request is its own, given the secret it shares with us. Pure."""

    signs_urls: bool
    """The public URL is part of what is signed: without `proxy_host` nothing could match."""
    signs_upgrades: bool
    """The media socket's upgrade is signed too, surely enough to insist on it."""
    advice: str
    """For the log when a webhook comes unsigned: what to set at the carrier."""

    def webhook(self, request: SignedRequest, now: float) -> Proof:
        """`now` is the wall clock's, seconds since the epoch."""

    def upgrade(self, request: SignedRequest, now: float) -> Proof:
        """The same of a WebSocket upgrade, whose `url` is `wss://`."""


# -- providers ---------------------------------------------------------------
class Provider(Protocol):
    """What the three kinds of provider share."""

    name: str
    """The name used in the configuration and in metrics."""
    model: str
    """The model or voice in use; a metric label."""

    async def start(self) -> None:
        """Loads or checks what is needed. Raises ProviderError(UNAVAILABLE) with a remedy."""

    async def warm_up(self) -> None:
        """A call is about to begin: open connections. Cheap; never raises."""

    async def stop(self) -> None:
        """Releases threads and connections."""


class Transcriber(Provider, Protocol):
    """Speech to text, a turn at a time."""

    async def transcribe(self, utterance: Utterance, call: CallInfo) -> Transcript:
        """Raises ProviderError. Silence or noise give an empty transcript."""


class ChatModel(Provider, Protocol):
    """The agent's mind."""

    def reply(self, messages: Sequence[Message], call: CallInfo) -> AsyncGenerator[ReplyEvent, None]:
        """Streams the reply. Raises ProviderError while iterated."""


class Synthesizer(Provider, Protocol):
    """Text to speech, a sentence at a time."""

    def synthesize(self, text: str, call: CallInfo) -> AsyncGenerator[Speech, None]:
        """Streams the audio; every piece has the same format. Raises ProviderError while iterated."""


@dataclass(frozen=True, slots=True)
class Providers:
    """The three that one agent has."""

    stt: Transcriber
    llm: ChatModel
    tts: Synthesizer

    @property
    def all(self) -> tuple[Provider, Provider, Provider]:
        return self.stt, self.llm, self.tts


# -- voice activity ----------------------------------------------------------
class SpeechWindow(Protocol):
    """Called once for each window of audio, in order, on the reactor thread."""

    def __call__(self, probability: float, level: float, samples: NDArray[np.float32]) -> None:
        """`probability` of speech 0..1; `level` linear RMS 0..1; `samples` the window itself (read only)."""


class SpeechDetector(Protocol):
    """One call's voice activity detector."""

    window_samples: int
    """Samples `feed` takes each time."""

    def feed(self, samples: NDArray[np.float32]) -> None:
        """Takes exactly `window_samples` of float32 in -1..1.

        The answer comes through the callback, now or later.
        """

    def close(self) -> None:
        """No callback after this."""


class VoiceActivity(Protocol):
    """Makes detectors; one for the whole process, so that model runs are batched over calls."""

    async def start(self) -> None:
        """Loads the model, if there is one. Raises ProviderError(UNAVAILABLE) with a remedy."""

    async def stop(self) -> None:
        """Releases its thread."""

    def open(self, rate_hz: int, on_window: SpeechWindow) -> SpeechDetector:
        """`rate_hz` is 8000 or 16000."""


# -- the process -------------------------------------------------------------
class Clock(Protocol):
    """The part of IReactorTime that the call uses; `seconds` is monotonic."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> Any: ...


class Worker(Protocol):
    """Runs blocking work off the reactor thread."""

    def run(self, work: Callable[[], T]) -> Coroutine[Any, Any, T]:
        """Awaits the result; cancelling abandons it (the thread finishes on its own)."""
