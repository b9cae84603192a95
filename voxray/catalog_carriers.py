"""Names in the configuration -> carriers: the only list of them. Providers are in `catalog`.

Importing this module is cheap: each carrier's code is imported when it is first built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any

from voxray.errors import ConfigError
from voxray.frames import ULAW_8K, Encoding, MediaFormat
from voxray.interfaces import (
    ORDINARY_PACING,
    AnswerDocuments,
    Authenticity,
    Pacing,
    Serializer,
)
from voxray.probing import Account
from voxray.settings import Settings

STATIC_STREAMS = frozenset({"exotel"})
"""Carriers whose streams may come to an address that no webhook gave out."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """All that is particular to one carrier.

    `control` is None without its credentials; `client` there is treq-like, `reactor` for time-outs.
    `authenticity` is None without `secret`, which names what to configure; it raises ConfigError.
    `serializer` is given the query of the socket's URL, the first of each name.
    """

    documents: Callable[[Settings], AnswerDocuments]
    serializer: Callable[[Settings, Mapping[str, str]], Serializer]
    control: Callable[[Settings, Any, Any], Account | None]
    authenticity: Callable[[Settings], Authenticity | None]
    secret: str
    pacing: Pacing = ORDINARY_PACING
    parameters: bool = False  # `<Parameter>`s of the answer come back in `start`
    static_streams: bool = False  # it is one of STATIC_STREAMS
    challenge: str = ""  # WWW-Authenticate of a refused upgrade
    unsigned_status: bool = False  # reports on our own calls come without any proof


def _key(settings: Settings, name: str) -> str:
    return settings.providers.api_keys.get(name, "")


def _either(settings: Settings, name: str) -> tuple[str, ...]:
    """A secret that may be two during its rotation, separated by a comma; the first is the one we use."""
    return tuple(part for part in _key(settings, name).split(",") if part)


def _base_url(settings: Settings, name: str, default: str) -> str:
    return settings.providers.base_urls.get(name, "") or default


def _twilio() -> Carrier:
    from voxray.carriers.twilio import API_URL, TwilioControl, TwilioDocuments
    from voxray.carriers.twilio_signature import TwilioAuthenticity
    from voxray.serializers.twilio import TwilioSerializer

    def control(settings: Settings, client: Any, reactor: Any) -> Account | None:
        sid, tokens = _key(settings, "twilio_account_sid"), _either(settings, "twilio_auth_token")
        base_url = _base_url(settings, "twilio", API_URL)
        return TwilioControl(client, reactor, sid, tokens[0], base_url) if sid and tokens else None

    def authenticity(settings: Settings) -> Authenticity | None:
        tokens = _either(settings, "twilio_auth_token")
        return TwilioAuthenticity(tokens) if tokens else None

    return Carrier(
        documents=lambda _: TwilioDocuments(),
        serializer=lambda *_: TwilioSerializer(),
        control=control,
        authenticity=authenticity,
        secret="api_keys.twilio_auth_token",
        parameters=True,
    )


def _exotel() -> Carrier:
    """Messages of 100 ms in whole 320 bytes, one at a time: with a lead of less than two of them there are
    never two to send at once, and bursts are said to make Exotel drop the call. 50 ms are left for lateness.
    """
    from voxray.carriers.exotel import API_URL, ExotelAuthenticity, ExotelControl, ExotelDocuments
    from voxray.serializers.exotel import ExotelSerializer, asked_rate

    def serializer(settings: Settings, query: Mapping[str, str]) -> Serializer:
        return ExotelSerializer(rate_hz=asked_rate(query, settings.media.exotel_sample_rate))

    def control(settings: Settings, client: Any, reactor: Any) -> Account:
        """There is one without credentials: it says that closing the socket is a transfer."""
        account, base_url = _key(settings, "exotel_account_sid"), _base_url(settings, "exotel", API_URL)
        key, token = _key(settings, "exotel_api_key"), _key(settings, "exotel_api_token")
        return ExotelControl(client, reactor, account, key, token, base_url)

    def authenticity(settings: Settings) -> Authenticity | None:
        user, password = _key(settings, "exotel_ws_user"), _key(settings, "exotel_ws_password")
        return ExotelAuthenticity(user, password) if user and password else None

    return Carrier(
        documents=lambda settings: ExotelDocuments(settings.media.exotel_sample_rate),
        serializer=serializer,
        control=control,
        authenticity=authenticity,
        secret="api_keys.exotel_ws_user and api_keys.exotel_ws_password",
        pacing=Pacing(message_ms=100, unit_bytes=320, max_lead_ms=150.0, clear_spares=True),
        static_streams="exotel" in STATIC_STREAMS,
        unsigned_status=True,
        challenge='Basic realm="voxray"',
    )


def _telnyx() -> Carrier:
    from voxray.carriers.telnyx import API_URL, TelnyxControl, TelnyxDocuments
    from voxray.serializers.telnyx import TelnyxSerializer

    def documents(settings: Settings) -> AnswerDocuments:
        _opus_is_there(settings)
        return TelnyxDocuments(settings.media.telnyx_codec)

    def serializer(settings: Settings, query: Mapping[str, str]) -> Serializer:
        media = settings.media
        return TelnyxSerializer(codec=media.telnyx_codec, l16_big_endian=media.l16_byte_order != "little")

    def control(settings: Settings, client: Any, reactor: Any) -> Account | None:
        api_key, base_url = _key(settings, "telnyx_api_key"), _base_url(settings, "telnyx", API_URL)
        account, application = _key(settings, "telnyx_account_sid"), _key(settings, "telnyx_application_sid")
        ids = {"account_sid": account, "application_sid": application}
        return TelnyxControl(client, reactor, api_key, base_url, **ids) if api_key else None

    return Carrier(
        documents=documents,
        serializer=serializer,
        control=control,
        authenticity=_telnyx_authenticity,
        secret="api_keys.telnyx_public_key",
        parameters=True,
    )


def _opus_is_there(settings: Settings) -> None:
    if settings.media.telnyx_codec != "OPUS":
        return
    from voxray.audio import opus

    if not opus.available():
        raise ConfigError("telnyx_codec: OPUS needs libopus (Debian: libopus0) and the package opuslib")


def _telnyx_authenticity(settings: Settings) -> Authenticity | None:
    from voxray.carriers.telnyx_signature import TelnyxAuthenticity

    keys = _either(settings, "telnyx_public_key")
    try:
        return TelnyxAuthenticity(keys) if keys else None
    except ValueError as error:
        raise ConfigError(f"api_keys.telnyx_public_key: {error}") from None


def _plivo() -> Carrier:
    from voxray.carriers.plivo import API_URL, PlivoControl, PlivoDocuments
    from voxray.carriers.plivo_signature import PlivoAuthenticity
    from voxray.serializers.plivo import PlivoSerializer

    def serializer(settings: Settings, query: Mapping[str, str]) -> Serializer:
        media = settings.media
        big_endian = media.l16_byte_order == "big"
        return PlivoSerializer(content_type=media.plivo_content_type, l16_big_endian=big_endian)

    def control(settings: Settings, client: Any, reactor: Any) -> Account | None:
        auth_id, tokens = _key(settings, "plivo_auth_id"), _either(settings, "plivo_auth_token")
        base_url = _base_url(settings, "plivo", API_URL)
        return PlivoControl(client, reactor, auth_id, tokens[0], base_url) if auth_id and tokens else None

    def authenticity(settings: Settings) -> Authenticity | None:
        tokens = _either(settings, "plivo_auth_token")
        return PlivoAuthenticity(tokens) if tokens else None

    return Carrier(
        documents=lambda settings: PlivoDocuments(settings.media.plivo_content_type),
        serializer=serializer,
        control=control,
        authenticity=authenticity,
        secret="api_keys.plivo_auth_token",
    )


CARRIERS: Mapping[str, Callable[[], Carrier]] = MappingProxyType(
    {"twilio": _twilio, "telnyx": _telnyx, "plivo": _plivo, "exotel": _exotel}
)


def build_carrier(name: str) -> Carrier:
    """Raises ConfigError for a name that is not built."""
    maker = CARRIERS.get(name)
    if maker is None:
        raise ConfigError(f'runner_transport: "{name}" is not built; built: {", ".join(sorted(CARRIERS))}')
    return maker()


def carrier_of_webhook(form: Mapping[str, str]) -> str:
    """Whose webhook this looks like; "" for nobody's."""
    from voxray.carriers.recognise import carrier_of_webhook as recognised

    return recognised(form)


# -- for the command line ----------------------------------------------------------
def rehearse(settings: Settings) -> None:
    """What a carrier would find wrong with the settings while it is built. Raises ConfigError."""
    _telnyx_authenticity(settings)
    _opus_is_there(settings)


def wire_of(name: str, settings: Settings) -> MediaFormat:
    """What the carrier is asked to send and to play."""
    from voxray.serializers import formats

    media = settings.media
    match name:
        case "telnyx":
            return formats.TELNYX[media.telnyx_codec]
        case "plivo":
            return formats.PLIVO[media.plivo_content_type]
        case "exotel":
            return MediaFormat(Encoding.L16, media.exotel_sample_rate)
    return ULAW_8K


def api_url(name: str, settings: Settings) -> str:
    """Where its REST API is."""
    module = import_module(f"voxray.carriers.{name}")
    return _base_url(settings, name, module.API_URL)


def rest_client(reactor: Any, *, persistent: bool = True) -> Any:
    """What `Carrier.control` asks with; connections stay open for the next request unless told not to."""
    from treq.client import HTTPClient
    from twisted.web.client import Agent, HTTPConnectionPool

    agent: Any = Agent(reactor, connectTimeout=3, pool=HTTPConnectionPool(reactor, persistent))
    return HTTPClient(agent)
