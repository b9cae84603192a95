"""The functions a language model may call, and what its calls ask of the telephone call. Pure.

What a model writes may be a caller's idea: only what was offered is heeded, and a transfer goes to a name of
the configuration, never to a number. That it is one of those names is for the call to check, which tells the
caller when it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from voxray.frames import CallInfo, EndCall, PressKeys, ReplyEvent, Sequel, Transfer, keys_of

END_CALL, TRANSFER_CALL, PRESS_KEYS = "end_call", "transfer_call", "press_keys"
MAX_ARGUMENT_CHARS = 4096
_MAX_NAME_CHARS = 64


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call as the model wrote it: `arguments` is JSON, or should be; None: too much of it."""

    name: str
    arguments: str | None = ""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the calls of one reply ask for, in the order in which it is to be done."""

    events: tuple[ReplyEvent, ...]
    ignored: int
    """Calls of functions that were not offered, or with arguments that make no sense."""


def offered(call: CallInfo, transfers: Sequence[str], *, end_call: bool = True) -> dict[str, Any]:
    """The tools of a call, by name, as a request describes them; the same ones for all of its turns."""
    tools = [_END_CALL] if end_call else []
    if transfers:
        tools.append(_transfer_call(transfers))
    if call.outbound:
        tools.append(_PRESS_KEYS)
    return {tool["function"]["name"]: tool for tool in tools}


def orders(calls: Iterable[ToolCall], offered: Mapping[str, Any]) -> Orders:
    """Keys come first, then one thing at most that ends our part: a transfer rather than a hang-up."""
    pressed: list[ReplyEvent] = []
    sequel: Sequel | None = None
    ignored = 0
    for call in calls:
        event = _event(call) if call.name in offered else None
        if event is None:
            ignored += 1
        elif isinstance(event, PressKeys):
            pressed.append(event)
        elif not isinstance(sequel, Transfer):
            sequel = event
    return Orders((*pressed, *([sequel] if sequel is not None else [])), ignored)


def _event(call: ToolCall) -> Sequel | PressKeys | None:
    if call.name == END_CALL:
        return EndCall()  # it takes no arguments; what a model adds is of no interest
    arguments = _object(call.arguments)
    if call.name == TRANSFER_CALL:
        name = arguments.get("to")
        known = isinstance(name, str) and 1 <= len(name.strip()) <= _MAX_NAME_CHARS
        return Transfer(str(name).strip()) if known else None
    digits = arguments.get("digits")
    if isinstance(digits, int) and not isinstance(digits, bool) and 0 <= digits < 10**18:
        digits = str(digits)  # some models take "digits" at its word
    keys = keys_of(digits) if isinstance(digits, str) else ""
    return PressKeys(keys) if keys else None


def _object(arguments: str | None) -> dict[str, Any]:
    """The arguments by name; none when they are no JSON object."""
    try:
        found = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _function(name: str, description: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if properties:
        parameters["required"] = list(properties)
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


def _transfer_call(names: Sequence[str]) -> dict[str, Any]:
    return _function(
        TRANSFER_CALL,
        "Connects the caller to somebody else and takes you off the call. Tell the caller in the same reply, "
        "before it, whom they are connected to.",
        {"to": {"type": "string", "enum": list(names), "description": "Whom to connect the caller to."}},
    )


_END_CALL = _function(
    END_CALL,
    "Hangs up the phone. Call it only when the conversation is over, "
    "and say goodbye in the same reply, before it.",
    {},
)
_PRESS_KEYS = _function(
    PRESS_KEYS,
    "Presses keys of the telephone, for a menu, an extension or a code. They are pressed after what you say "
    "in the same reply.",
    {
        "digits": {
            "type": "string",
            "description": "The keys in order: 0-9, *, #; w waits half a second. At most 64.",
        }
    },
)
