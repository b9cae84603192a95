"""The table of keys, whole. `api_keys` and `base_urls` are maps and stand apart, in `names`."""

from __future__ import annotations

from types import MappingProxyType

from voxray.config import keys_agent, keys_later, keys_limits, keys_server

SECTIONS = (
    keys_server.CALLS,
    keys_server.SERVER,
    keys_agent.PROVIDERS,
    keys_agent.AGENT,
    keys_agent.FAILURES,
    keys_agent.TURNS,
    keys_server.ACCESS,
    keys_limits.LIMITS,
    keys_limits.SOCKETS,
    keys_server.WATCH,
    keys_server.STORES,
    keys_later.KEEPING,
    keys_later.EXTENSIONS,
    keys_later.ROOM_KEYS,
)
KEYS = MappingProxyType({key.name: key for section in SECTIONS for key in section.keys})
GROUPS = frozenset(name.partition(".")[0] for name in KEYS if "." in name)
MAPS = ("api_keys", "base_urls")
MAP_PROOFS = MappingProxyType(
    {
        "api_keys": (
            "tests.test_settings_effect_providers.KeyTests.test_api_keys",
            "tests.test_settings_effect_providers.CarrierTests.test_credentials",
            "tests.test_systemd.SecretTests.test_named",
        ),
        "base_urls": ("tests.test_settings_effect_providers.KeyTests.test_base_urls",),
    }
)
"""As `Key.proof`."""
