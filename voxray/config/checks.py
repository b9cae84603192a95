"""What is refused or warned about once the settings stand: names, keys, files.

Each check takes the settings and raises ConfigError or returns warnings. Only `_files` and `_tls`
look at the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from voxray.config import names
from voxray.config.keys import KEYS
from voxray.config.read import quoted
from voxray.config.values import Reader
from voxray.errors import ConfigError
from voxray.settings import ProviderSettings, Settings, TlsSettings
from voxray.stores.address import parse

FIXED_PHRASES = ("goodbye", "idle_prompt", "apology", "hold_phrase", "failure_goodbye")
LOUDEST_FLOOR = 0.2  # a talker on the telephone seldom exceeds this RMS


def check(settings: Settings, given: Reader) -> list[str]:
    """The warnings, in order of weight. Raises ConfigError."""
    _carrier(settings)
    _keys(settings, given)
    _failures(settings)
    _files(settings)
    if settings.server.tls.enable:
        _tls(settings.server.tls)
    if settings.server.proxy_protocol and not settings.server.trusted_proxies:
        raise ConfigError(
            "proxy_protocol is true but trusted_proxies is not set: nobody could connect; "
            'write the addresses of your proxies, such as "trusted_proxies": ["10.0.0.5"]'
        )
    if settings.stores.session_store == "redis":
        parse(settings.stores.redis_url)
    return [*_advice(settings, given), *_without_effect(given)]


def _carrier(settings: Settings) -> None:
    carrier = settings.calls.carrier
    if carrier and carrier not in (names.AUTO, *names.CARRIERS_BUILT):
        built = ", ".join(names.CARRIERS_BUILT)
        raise ConfigError(f'runner_transport: "{carrier}" is a known name but not built yet; built: {built}')
    if carrier:
        _trust(settings, names.CARRIERS_BUILT if carrier == names.AUTO else (carrier,))


def _trust(settings: Settings, carriers: Sequence[str]) -> None:
    """To warn and go on would leave a door open that was asked to be shut."""
    mode = settings.calls.telephony_auth
    if mode in ("signature", "both") and all(missing_secrets(settings, each) for each in carriers):
        wanted = _variables(settings, carriers)
        raise ConfigError(f'telephony_auth: "{mode}" needs what the carrier signs with: set {wanted}')
    for carrier in carriers:
        checked = mode in ("signature", "both", "auto") and not missing_secrets(settings, carrier)
        if checked and carrier in names.SIGNS_URLS and not settings.server.proxy_host:
            raise ConfigError(
                f"{carrier}'s secret is set but proxy_host is not: its signatures cover the address it dials "
                'and could not match; set proxy_host to the public host, or write "telephony_auth": "off"'
            )


def _variables(settings: Settings, carriers: Sequence[str]) -> str:
    """The environment variables that would give us a carrier's secret."""
    wanted = (missing_secrets(settings, carrier) for carrier in carriers)
    return " or ".join(" and ".join(names.KEY_ENV[key][0] for key in keys) for keys in wanted if keys)


def missing_secrets(settings: Settings, carrier: str) -> tuple[str, ...]:
    """What is lacking of the secret that this carrier signs with."""
    keys = settings.providers.api_keys
    return tuple(key for key in names.SECRETS_OF[carrier] if not keys.get(key))


def _keys(settings: Settings, given: Reader) -> None:
    """A missing key would be found by the first caller; so it is found now."""
    providers = settings.providers
    for stage in names.STAGES:
        provider = getattr(providers, stage).provider
        key = names.KEY_OF.get(provider)
        if key and key not in providers.api_keys:
            variable = names.KEY_ENV[key][0]
            raise ConfigError(
                f"no API key for {provider}, which {stage}_provider asks for: "
                f"set {variable}, or api_keys.{key} in {given.source}"
            )


def _failures(settings: Settings) -> None:
    """A transfer that nobody can be asked for would leave a caller with a dead agent."""
    agent = settings.agent
    if agent.on_provider_failure == "transfer" and agent.failure_transfer not in agent.transfers:
        known = f"; there are {', '.join(map(quoted, agent.transfers))}" if agent.transfers else ""
        raise ConfigError(
            'on_provider_failure: "transfer" needs failure_transfer, a name in transfers, which '
            f"{quoted(agent.failure_transfer, 64)} is not{known}"
        )


def _files(settings: Settings) -> None:
    scenario, cdr = settings.agent.scenario_file, settings.calls.cdr_file
    if scenario:
        _readable(scenario, "scenario_file")
    if cdr and not os.path.isdir(os.path.dirname(cdr)):
        raise ConfigError(f"cdr_file: there is no directory {quoted(os.path.dirname(cdr), 200)}")
    if cdr and os.path.isdir(cdr):
        raise ConfigError(f"cdr_file: {quoted(cdr, 200)} is a directory: name a file in it")


def _readable(path: str, key: str) -> None:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file's name"
        raise ConfigError(f"{key}: cannot read {quoted(path, 200)}: {reason}") from None


def _tls(tls: TlsSettings) -> None:
    """The pair is loaded once for trial: the daemon must not find out while it starts listening."""
    import ssl  # slow to import, and seldom needed

    for key, path in (("tls_cert_file", tls.cert_file), ("tls_key_file", tls.key_file)):
        if not path:
            raise ConfigError(f"tls_enable is true but {key} is not set")
        _readable(path, key)

    def no_password() -> str:  # without it OpenSSL would ask on the terminal, and wait
        raise ConfigError(
            f"tls_key_file: {quoted(tls.key_file, 200)} has a pass phrase: remove it (openssl pkey)"
        )

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, password=no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError("tls_key_file is not the key of the certificate in tls_cert_file") from None
        raise ConfigError(
            f"tls_cert_file, tls_key_file: no usable PEM certificate and key ({error.reason or 'unreadable'})"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"tls_cert_file, tls_key_file: {type(error).__name__} while loading") from None


def _open(settings: Settings) -> bool:
    """No carrier's secret is there."""
    carrier = settings.calls.carrier
    carriers = names.CARRIERS_BUILT if carrier == names.AUTO else (carrier,)
    return all(missing_secrets(settings, each) for each in carriers)


# -- warnings ------------------------------------------------------------------
def _advice(settings: Settings, given: Reader) -> Iterator[str]:
    server, calls = settings.server, settings.calls
    if not calls.carrier:
        yield 'runner_transport is not set: no calls are answered; write "runner_transport": "twilio"'
    elif calls.telephony_auth == "auto" and _open(settings):
        carriers = names.CARRIERS_BUILT if calls.carrier == names.AUTO else (calls.carrier,)
        yield (
            "ANYBODY who finds the webhook can start calls and spend your vendors' money: "
            f"set {_variables(settings, carriers)}, and requests are checked "
            '("telephony_auth": "off" silences this)'
        )
    elif calls.telephony_auth == "token":
        yield (
            "telephony_auth is token: webhooks are not checked, so anybody can ask for a token; "
            "fine only where a proxy checks them"
        )
    yield from _hang_up(settings)
    yield from _reattach(settings)
    if not server.tls.enable and (server.tls.cert_file or server.tls.key_file):
        yield "tls_cert_file and tls_key_file are set but tls_enable is not: plain HTTP is served"
    if settings.turns.vad_min_volume > LOUDEST_FLOOR:
        yield (
            f"vad_min_volume {settings.turns.vad_min_volume:g} is louder than most telephone speech: "
            "callers will not be heard; write 0 to leave it to the detector"
        )
    language = settings.agent.language
    unset = [name for name in _fixed_phrases(settings) if name not in given.values]
    if not language.lower().startswith("en") and unset:
        phrases = ", ".join(unset)
        yield f"language is {quoted(language, 24)}: English until you set them: {phrases}"
    yield from _shared(settings)
    yield from _local(settings.providers, given)


def _fixed_phrases(settings: Settings) -> Iterator[str]:
    """Of which a caller may hear something."""
    yield from FIXED_PHRASES
    if settings.agent.transfers:
        yield "transfer_apology"
    if settings.agent.on_provider_failure == "transfer":
        yield "failure_handover"


def _shared(settings: Settings) -> Iterator[str]:
    """Several instances behind one address."""
    calls, stores = settings.calls, settings.stores
    if stores.session_store != "redis":
        if stores.redis_url:
            yield "redis_url has no effect: session_store is memory"
        return
    mode = calls.telephony_auth
    if not calls.carrier or calls.stream_secret or mode == "signature":
        return
    if mode in ("token", "both") or (mode == "auto" and not _open(settings)):
        yield (
            "session_store is redis but stream_secret is not set: no instance takes the stream of a call "
            "that another answered; give all of them the same long random text"
        )


def _hang_up(settings: Settings) -> Iterator[str]:
    carrier, given = settings.calls.carrier, settings.providers.api_keys
    missing = [names.KEY_ENV[key][0] for key in names.HANG_UP_KEYS.get(carrier, ()) if not given.get(key)]
    if missing:
        yield (
            f"{carrier} cannot be asked to hang up: set {' and '.join(missing)}; until then hanging up "
            "closes the socket"
        )


def _reattach(settings: Settings) -> Iterator[str]:
    """Without what it needs it is not in effect, and nothing else is different."""
    calls, given = settings.calls, settings.providers.api_keys
    if not calls.reattach or not calls.carrier:
        return
    able = names.COMES_BACK & {*(names.CARRIERS_BUILT if calls.carrier == names.AUTO else (calls.carrier,))}
    if not able:
        yield f"reattach has no effect: {calls.carrier} is not told what comes after a stream"
    elif calls.telephony_auth in ("off", "token"):
        yield f"reattach has no effect: telephony_auth is {calls.telephony_auth}, so nobody is verified"
    elif calls.carrier != names.AUTO:
        keys = dict.fromkeys((*names.SECRETS_OF[calls.carrier], *names.HANG_UP_KEYS[calls.carrier]))
        if missing := [names.KEY_ENV[key][0] for key in keys if not given.get(key)]:
            yield f"reattach has no effect: set {' and '.join(missing)}"


def _local(providers: ProviderSettings, given: Reader) -> Iterator[str]:
    """The local engines are what they are: a model that is asked for in vain is said to be."""
    for stage, key in ((names.LLM, "model"), (names.STT, "stt_model"), (names.TTS, "tts_model")):
        if key in given.values and getattr(providers, stage).provider == "local":
            yield f"{key} has no effect: {stage}_provider is local, which has one"
    if "scenario_file" in given.values and providers.llm.provider != "local":
        yield f"scenario_file has no effect: llm_provider is {providers.llm.provider}, not local"
    heard = providers.stt.language
    if providers.stt.provider == "local" and heard and not heard.lower().startswith("en"):
        yield f"stt_provider local understands English only, not {quoted(heard, 24)}"


def _without_effect(given: Reader) -> Iterator[str]:
    """One line for all the keys that wait for the same thing."""
    waiting: dict[str, list[str]] = {}
    for name, value in given.values.items():
        key = KEYS[name]
        if key.later and value != key.default:
            waiting.setdefault(key.later, []).append(name)
    for reason, keys in waiting.items():
        yield f"{', '.join(keys)}: no effect yet: {reason}"
