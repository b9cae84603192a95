"""Function calls of language models: put together from pieces, read, and heeded if they were offered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.test_provider_openai_pure import delta, read, sse
from tests.vendor import FIXTURES
from voxray.frames import MAX_KEYS, CallInfo, EndCall, PressKeys, Transfer
from voxray.providers.chat_delta import MAX_TOOL_CALLS
from voxray.providers.tools import MAX_ARGUMENT_CHARS, ToolCall, offered, orders

INBOUND, OUTBOUND = CallInfo("in"), CallInfo("out", outbound=True)
ALL = offered(OUTBOUND, ["sales", "desk"])


def piece(index: int | None = None, ident: str | None = None, **function: object) -> dict[str, object]:
    """A piece of a call as it is streamed."""
    given: dict[str, object] = {"function": function}
    if index is not None:
        given["index"] = index
    return given if ident is None else {**given, "id": ident}


def called(*chunks: Sequence[dict[str, object]]) -> list[ToolCall]:
    body = sse(*(delta(tool_calls=list(chunk)) for chunk in chunks), delta("tool_calls"))
    return read(body)[1].calls


def press(digits: object) -> ToolCall:
    return ToolCall("press_keys", json.dumps({"digits": digits}))


class OfferTests(SynchronousTestCase):
    """What a model is told that it may call."""

    def test_names(self) -> None:
        """Transfers only if there are any, keys only on calls that we placed."""
        for call, transfers, names in (
            (INBOUND, [], ["end_call"]),
            (INBOUND, ["sales"], ["end_call", "transfer_call"]),
            (OUTBOUND, [], ["end_call", "press_keys"]),
            (OUTBOUND, ["sales"], ["end_call", "transfer_call", "press_keys"]),
        ):
            self.assertEqual(list(offered(call, transfers)), names)
        self.assertEqual(list(offered(INBOUND, [], end_call=False)), [])

    def test_form(self) -> None:
        """OpenAI's form: every argument required; a transfer goes to one of the names."""
        for name, tool in ALL.items():
            self.assertEqual((tool["type"], tool["function"]["name"]), ("function", name))
            parameters = tool["function"]["parameters"]
            self.assertEqual(parameters.get("required", []), list(parameters["properties"]))
        to = ALL["transfer_call"]["function"]["parameters"]["properties"]["to"]
        self.assertEqual(to["enum"], ["sales", "desk"])


@shows("T27")
class OrderTests(SynchronousTestCase):
    """What calls ask for."""

    def test_each(self) -> None:
        """The three functions, in the ways models write their arguments."""
        for call, event in (
            (ToolCall("end_call"), EndCall()),
            (ToolCall("end_call", "no json"), EndCall()),
            (ToolCall("transfer_call", '{"to": " sales "}'), Transfer("sales")),
            (ToolCall("transfer_call", '{"to": "mars", "why": 1}'), Transfer("mars")),
            (press("1 2#"), PressKeys("12#")),
            (press(42), PressKeys("42")),
        ):
            self.assertEqual(orders([call], ALL).events, (event,), call)
            self.assertEqual(orders([call], ALL).ignored, 0)

    def test_senseless(self) -> None:
        """What makes no sense is left out and counted."""
        for call in (
            ToolCall("lookup", "{}"),
            *(
                ToolCall("transfer_call", text)
                for text in ("", "{", "[]", "{}", "null", '"sales"', '{"to": 5}', '{"to": ""}', '{"to": " "}')
            ),
            ToolCall("transfer_call", json.dumps({"to": "x" * 65})),
            ToolCall("transfer_call", None),
            *(
                press(digits)
                for digits in ("", "hello", "1" * (MAX_KEYS + 1), None, True, -1, 1.5, ["1"], 10**30)
            ),
            ToolCall("press_keys", None),
        ):
            self.assertEqual((orders([call], ALL).events, orders([call], ALL).ignored), ((), 1), call)

    def test_not_offered(self) -> None:
        """A function that this call does not have is not heeded, however well it is called."""
        calls = [ToolCall("end_call"), ToolCall("transfer_call", '{"to": "sales"}'), press("1")]
        self.assertEqual(orders(calls, {}).events, ())
        self.assertEqual(orders(calls, offered(INBOUND, [])).events, (EndCall(),))
        self.assertEqual(orders(calls, offered(INBOUND, [], end_call=False)).ignored, 3)

    def test_in_order(self) -> None:
        """Keys as they come, then one end: a transfer rather than a hang-up, the first of two."""
        to = [ToolCall("transfer_call", json.dumps({"to": name})) for name in ("sales", "desk")]
        end = ToolCall("end_call")
        for calls, events in (
            ([end, press("1"), to[0], press("2")], (PressKeys("1"), PressKeys("2"), Transfer("sales"))),
            ([to[1], end, to[0]], (Transfer("desk"),)),
            ([end, end], (EndCall(),)),
        ):
            self.assertEqual(orders(calls, ALL).events, events)

    @given(st.text('abcdef{}[]":, 0123456789todigs', max_size=60), st.sampled_from([*ALL, "", "x"]))
    def test_any_arguments(self, text: str, name: str) -> None:
        """Nothing a model writes raises, and each call is either heeded or counted."""
        found = orders([ToolCall(name, text)], ALL)
        self.assertEqual(len(found.events) + found.ignored, 1)


class PiecesTests(SynchronousTestCase):
    """Calls as hosts stream them."""

    def test_recorded(self) -> None:
        """Two calls in a row, recorded: each has its own arguments."""
        _, reader = read((FIXTURES / "openai_chat_tools.sse").read_bytes(), 7)
        self.assertEqual(
            reader.calls,
            [ToolCall("lookup_order", '{"order_id":"42"}'), ToolCall("transfer_call", '{"to":"sales"}')],
        )

    def test_forms(self) -> None:
        """By index, by id, by neither; two calls of one index with ids of their own; whole, or as objects."""
        one, two = '{"to": "a"}', '{"to": "b"}'
        wanted = [ToolCall("f", one), ToolCall("f", two)]
        for chunks in (
            [[piece(0, "x", name="f", arguments="")], [piece(0, arguments=one[:4])],
             [piece(0, arguments=one[4:])], [piece(1, "y", name="f", arguments=two)]],
            [[piece(0, name="f"), piece(1, name="f")], [piece(1, arguments=two), piece(0, arguments=one)]],
            [[piece(None, "x", name="f", arguments=one[:4])], [piece(None, "x", arguments=one[4:])],
             [piece(None, "y", name="f", arguments=two)]],
            [[piece(0, "x", name="f", arguments=one)], [piece(0, "y", name="f", arguments=two)]],
            [[piece(name="f", arguments=one)], [piece(name="f", arguments=two)]],
            [[piece(name="f", arguments=one[:4])], [piece(arguments=one[4:])],
             [piece(name="f", arguments=two)]],
        ):  # fmt: skip
            self.assertEqual(called(*chunks), wanted, chunks)
        whole = called([piece(0, "x", name="f", arguments={"to": "a"})])
        self.assertEqual([json.loads(call.arguments or "") for call in whole], [{"to": "a"}])

    @shows("T27")
    def test_bounds(self) -> None:
        """Arguments without end are not kept, and ask for nothing; nor are calls without end."""
        endless = [[piece(0, "x", name="transfer_call", arguments='{"to": "')]]
        endless += [[piece(0, arguments="x" * 1000)] for _ in range(100)]
        _, reader = read(sse(*(delta(tool_calls=chunk) for chunk in endless)))
        self.assertEqual(reader.calls, [ToolCall("transfer_call", None)])
        self.assertLess(max(len(each.arguments) for each in reader._called), MAX_ARGUMENT_CHARS + 2)
        full = json.dumps({"to": "x" * (MAX_ARGUMENT_CHARS - 10)})
        self.assertEqual(called([piece(0, "x", name="f", arguments=full)]), [ToolCall("f", full)])
        many = called(*[[piece(n, name="f")] for n in range(100)])
        self.assertEqual(len(many), MAX_TOOL_CALLS)

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from(["transfer_call", "press_keys", "end_call"]), st.text(max_size=30)),
            max_size=6,
        ),
        st.lists(st.integers(1, 9), min_size=1, max_size=20),
        st.integers(1, 40),
    )
    def test_any_cut(self, calls: list[tuple[str, str]], cuts: list[int], size: int) -> None:
        """However arguments and bytes are cut, calls come out as they went in."""
        chunks: list[list[dict[str, Any]]] = []
        wanted = []
        for index, (name, word) in enumerate(calls):
            arguments = json.dumps({"to": word})
            wanted.append(ToolCall(name, arguments))
            chunks.append([piece(index, f"id{index}", name=name, arguments="")])
            at = 0
            while at < len(arguments):
                step = cuts[(at + index) % len(cuts)]
                chunks.append([piece(index, arguments=arguments[at : at + step])])
                at += step
        body = sse(*(delta(tool_calls=chunk) for chunk in chunks), delta("tool_calls"))
        self.assertEqual(read(body, size)[1].calls, wanted)

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.dictionaries(
                st.sampled_from(["index", "id", "function", "type"]),
                st.none()
                | st.integers()
                | st.text(max_size=4)
                | st.dictionaries(
                    st.sampled_from(["name", "arguments"]),
                    st.none()
                    | st.integers()
                    | st.text(max_size=6)
                    | st.dictionaries(st.text(max_size=3), st.integers()),
                ),
            ),
            max_size=40,
        )
    )
    def test_any_pieces(self, pieces: list[dict[str, object]]) -> None:
        """No pieces at all make the reader raise, nor what it makes of them the orders."""
        found = orders(called(pieces), ALL)
        self.assertLessEqual(len(found.events), MAX_TOOL_CALLS)
