"""Keys of the contract whose features are not built: parsed and typed all the same."""

from __future__ import annotations

from types import MappingProxyType

from voxray.config.key import Key, Section
from voxray.config.kinds import Choice, Flag, Options, Text, Texts, Whole

PLUGINS = "plugins are not built yet"
RECORDING = "calls are not recorded yet"
TRANSCRIPTS = "transcripts are not stored yet"
MCP = "tools are not built yet"
ROOMS = "rooms and WebRTC are not built yet"

EXTENSIONS = Section(
    "Plugins and tools",
    (
        Key("plugins", Texts(), (), "processors, in order", "extensions.plugins", later=PLUGINS),
        Key("plugin_options", Options(), MappingProxyType({}), "a plugin's name -> its options",
            "extensions.plugin_options", later=PLUGINS),
        Key("mcp.command", Text(), "", "the tool server to run", "extensions.mcp.command", later=MCP),
        Key("mcp.args", Texts(), (), "its arguments", "extensions.mcp.args", later=MCP),
        Key("mcp.tools_filter", Texts(), (), "tools to use; empty: all", "extensions.mcp.tools_filter",
            later=MCP),
    ),
)  # fmt: skip

KEEPING = Section(
    "Recordings and transcripts",
    (
        Key("recording.enable", Flag(), False, "", "recording.enable", later=RECORDING),
        Key("recording.bucket", Text(), "", "S3 bucket", "recording.bucket", later=RECORDING),
        Key("recording.base_path", Text(), "recordings/", "prefix in the bucket", "recording.base_path",
            later=RECORDING),
        Key("recording.format", Text(), "wav", "", "recording.format", later=RECORDING),
        Key("recording.worker_count", Whole(0, 1_024), 2, "uploads at once; 0: the default",
            "recording.worker_count", zero_unset=True, later=RECORDING),
        Key("recording.queue_cap", Whole(0, 1_000_000), 32, "uploads that may wait; 0: the default",
            "recording.queue_cap", zero_unset=True, later=RECORDING),
        Key("recording.max_retries", Whole(0, 1_000), 3, "0: the default", "recording.max_retries",
            zero_unset=True, later=RECORDING),
        Key("shutdown_upload_timeout_secs", Whole(0, 86_400), 0, "at the end, how long uploads may go on",
            "recording.shutdown_upload_timeout_secs", later=RECORDING),
        Key("transcripts.enable", Flag(), False, "", "transcripts.enable", later=TRANSCRIPTS),
        Key("transcripts.driver", Choice(("", "postgres", "mysql")), "", "", "transcripts.driver",
            later=TRANSCRIPTS),
        Key("transcripts.dsn", Text(), "", "how to reach the database", "transcripts.dsn", secret=True,
            later=TRANSCRIPTS),
        Key("transcripts.table_name", Text(), "call_transcripts", "", "transcripts.table_name",
            env=("VOXRAY_TRANSCRIPTS_TABLE",), later=TRANSCRIPTS),
    ),
)  # fmt: skip

ROOM_KEYS = Section(
    "Rooms and browsers",
    (
        Key("transport", Choice(("", "websocket", "smallwebrtc", "both")), "", "", "rooms.transport",
            later=ROOMS),
        Key("webrtc_ice_servers", Texts(), (), "", "rooms.webrtc_ice_servers", later=ROOMS),
        Key("dialin", Flag(), False, "Daily: take calls by `/daily-dialin-webhook`", "rooms.dialin",
            later=ROOMS),
        Key("daily_dialin_webhook_secret", Text(), "", "header X-Webhook-Secret",
            "rooms.daily_dialin_webhook_secret", secret=True, later=ROOMS),
        Key("livekit_room_name", Text(), "", "", "rooms.livekit_room_name", env=("LIVEKIT_ROOM_NAME",),
            later=ROOMS),
    ),
)  # fmt: skip
