"""The local agent's mind: a receptionist who answers questions and books a visit. Pure.

Like a language model it keeps nothing between turns: what it knows it derives from the conversation's
messages, by living through them again (`reply`). What the assistant's messages say is what the caller
*heard*; a question that was cut off by the caller was not asked, so a "yes" after it agrees to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from voxray.frames import Message
from voxray.providers import understanding as ear
from voxray.providers.scenario import Fact, Scenario

# What the agent waits to hear: a day, a time, a name, yes or no to the booking, or to "anything else?"
DAY, TIME, NAME, CONFIRM, MORE, CHANGE = "day", "time", "name", "confirm", "more", "change"


@dataclass(frozen=True, slots=True)
class Reply:
    """What to say, and what to do once it was heard: hang up, transfer to a name, or press keys."""

    text: str
    end_call: bool = False
    transfer: str = ""
    press: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """What the agent knows so far."""

    day: str = ""  # capitalized, but "today" and "tomorrow"
    minutes: int | None = None  # the visit's time, after midnight
    name: str = ""
    booking: bool = False
    booked: bool = False
    awaiting: str = ""
    said: str = ""  # the last reply, whole


def reply(scenario: Scenario, messages: Sequence[Message]) -> Reply:
    """The answer to the last message. A conversation in which no caller spoke yet gets the greeting."""
    agent = Receptionist(scenario)
    state, answer = State(), Reply(scenario.say("greeting"))
    for kind, text in _turns(messages):
        if kind == "user":
            state, answer = agent.hear(state, text)
        elif not state.said:
            state = replace(state, said=text)
        elif not _was_asked(state, text):
            state = replace(state, awaiting="")
    return answer


def _turns(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Messages of the caller and the agent; what one said in two messages is one turn."""
    turns: list[tuple[str, str]] = []
    for message in messages:
        if message.role not in ("user", "assistant") or not message.text.strip():
            continue
        if turns and turns[-1][0] == message.role:
            turns[-1] = (message.role, f"{turns[-1][1]} {message.text.strip()}")
        else:
            turns.append((message.role, message.text.strip()))
    return turns


def _was_asked(state: State, heard: str) -> bool:
    """Whether enough of the reply's last sentence was heard to be answered: half of its words."""
    question = ear.words_of(state.said)
    last = ear.words_of(state.said.rstrip(".?! ").rpartition(". ")[2])
    missing = len(question) - len(ear.words_of(heard))
    return missing <= len(last) // 2


class Receptionist:
    """One turn at a time: `hear(state, text)` gives the next state and the reply."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario

    def hear(self, state: State, text: str) -> tuple[State, Reply]:
        words = ear.words_of(text)
        if keys := ear.keys_in(text):
            after, answer = state, self._keys(state, keys)
        elif not words:
            after, answer = state, Reply(self._say(state, "not_caught"))
        else:
            after, answer = self._manners(state, words) or self._business(state, words, text)
        if after.booking and not after.awaiting:  # its question was cut off; the reply asks it again
            after = replace(after, awaiting=self._missing(after))
        return replace(after, said=answer.text), answer

    def _say(self, state: State, line: str, **values: str) -> str:
        return self._scenario.say(line, **self._values(state), question=self._question(state), **values)

    def _values(self, state: State) -> dict[str, str]:
        time = "" if state.minutes is None else ear.spoken_time(state.minutes)
        return {"day": state.day, "time": time, "name": state.name}

    # -- how one talks on the telephone ------------------------------------
    def _manners(self, state: State, words: Sequence[str]) -> tuple[State, Reply] | None:
        """Goodbye, "say that again", "one moment": whatever the talk is about. None: none of these."""
        if ear.heard_any(words, ear.GOODBYE):
            return state, self._goodbye(state)
        if ear.heard_any(words, ear.HEAR_ME):
            return state, Reply(self._say(state, "hear_you"))
        if ear.heard_any(words, ear.REPEAT):
            return state, Reply(state.said or self._scenario.say("greeting"))
        if ear.heard_any(words, ear.HOLD) and len(words) <= 6:
            return state, Reply(self._say(state, "take_your_time"))
        if ear.heard_any(words, ear.CANCEL) and (state.booking or state.booked):
            cleared = State(awaiting=MORE)
            return cleared, Reply(self._say(cleared, "cancelled"))
        return None

    def _keys(self, state: State, keys: str) -> Reply:
        """A telephone number may be typed; there is no menu."""
        number = ear.number_in([keys.replace("#", "").replace("*", "")])
        return Reply(self._say(state, "number", said=number) if number else self._say(state, "keys"))

    def _goodbye(self, state: State) -> Reply:
        return Reply(self._say(state, "goodbye_booked" if state.booked else "goodbye"), end_call=True)

    # -- what the call is about ---------------------------------------------
    def _business(self, state: State, words: Sequence[str], text: str) -> tuple[State, Reply]:
        told = self._told(state, words, text)
        fact = self._fact(words)
        slots = (told.day, told.minutes) != (state.day, state.minutes)
        if fact is not None and (not slots or ear.weight(words, fact.words) > 1):
            return self._answer(state, fact)
        if number := ear.number_in(words):
            return state, Reply(self._say(state, "number", said=number))
        if state.awaiting in (CONFIRM, MORE) and told == state:
            agreed = ear.yes_or_no(words)
            if agreed is not None:
                return self._agreed(state, agreed)
        if told != state or ear.heard_any(words, self._scenario.booking_words):
            return self._book(state, replace(told, booking=True, booked=False))
        return self._small_talk(state, words, text)

    def _fact(self, words: Sequence[str]) -> Fact | None:
        best = max(self._scenario.facts, key=lambda fact: ear.weight(words, fact.words), default=None)
        return best if best is not None and ear.weight(words, best.words) else None

    def _answer(self, state: State, fact: Fact) -> tuple[State, Reply]:
        answer = self._scenario.fill(fact.answer, **self._values(state))
        if fact.transfer or fact.press:  # no question after it: somebody else will answer
            return state, Reply(answer, transfer=fact.transfer, press=fact.press)
        if not (state.booking and state.awaiting):
            state = replace(state, awaiting=MORE)
        return state, Reply(f"{answer} {self._question(state)}".strip())

    def _told(self, state: State, words: Sequence[str], text: str) -> State:
        """The state with what these words say of day, time and name."""
        day, minutes = ear.day_in(words), ear.time_in(words)
        plainly = {"am", "pm", "o'clock"} & set(words)
        if minutes is not None and not (
            day or plainly or state.booking or state.booked or self._wants(words)
        ):
            minutes = None  # "the two of us": a number alone begins no booking
        name = ear.name_in(text, expected=state.awaiting == NAME)
        if name and (day or minutes is not None) and "name" not in words:
            name = ""  # "actually, Tuesday"
        told = state
        if day:
            told = replace(told, day=day if day in ("today", "tomorrow") else day.capitalize())
        if minutes is not None:
            told = replace(told, minutes=minutes)
        return replace(told, name=name) if name else told

    def _wants(self, words: Sequence[str]) -> bool:
        return ear.heard_any(words, self._scenario.booking_words)

    def _book(self, before: State, told: State) -> tuple[State, Reply]:
        """Refuses what cannot be, then asks for what is missing, then for a yes."""
        if told.day and told.day.lower() not in self._scenario.days:
            line = self._say(told, "closed_day")
            return replace(told, day="", awaiting=DAY), Reply(line)
        opens, closes = self._scenario.opens * 60, self._scenario.closes * 60
        if told.minutes is not None and not opens <= told.minutes <= closes:
            line = self._say(told, "closed_time")
            return replace(told, minutes=None, awaiting=TIME), Reply(line)
        told = replace(told, awaiting=self._missing(told))
        noted = self._noted(before, told)
        return told, Reply(f"{noted} {self._question(told)}".strip())

    @staticmethod
    def _missing(state: State) -> str:
        if not state.day:
            return DAY
        if state.minutes is None:
            return TIME
        return CONFIRM if state.name else NAME

    def _noted(self, before: State, told: State) -> str:
        """What is said back before the next question; the question to confirm says it all itself."""
        if told.awaiting == CONFIRM:
            return ""
        if not before.booking and (told.day, told.minutes) == (before.day, before.minutes):
            return self._say(told, "sure")
        if told.day and told.minutes is not None and told.awaiting == NAME:
            return self._say(told, "noted")
        return self._say(told, "noted_day") if told.day and told.day != before.day else ""

    def _agreed(self, state: State, agreed: bool) -> tuple[State, Reply]:
        """Yes or no to "is that correct?" or to "is there anything else?"."""
        if state.awaiting == MORE:
            if not agreed:
                return state, self._goodbye(state)
            return replace(state, awaiting=""), Reply(self._say(state, "go_on"))
        if not agreed:
            return replace(state, awaiting=CHANGE), Reply(self._say(state, "change"))
        booked = replace(state, booked=True, booking=False, awaiting=MORE)
        return booked, Reply(self._say(booked, "booked"))

    def _small_talk(self, state: State, words: Sequence[str], text: str) -> tuple[State, Reply]:
        """Nothing of the above: which slot to change, thanks, hello, no; else what was heard is said back."""
        if state.awaiting == CHANGE and (slot := next((s for s in (DAY, TIME, NAME) if s in words), "")):
            cleared = {DAY: {"day": ""}, TIME: {"minutes": None}, NAME: {"name": ""}}[slot]
            told = replace(state, awaiting=slot, **cleared)  # type: ignore[arg-type]
            return told, Reply(self._question(told))
        if ear.heard_any(words, ear.THANKS):
            state = state if state.awaiting else replace(state, awaiting=MORE)
            return state, Reply(self._say(state, "welcome"))
        if ear.heard_any(words, ear.HELLO) and len(words) <= 3:
            greeting = self._question(state) if state.awaiting else self._say(state, "hello")
            return state, Reply(greeting)
        if ear.yes_or_no(words) is not None and len(words) <= 3:
            return state, Reply(self._question(state))
        return state, Reply(self._say(state, "echo", said=text.strip().rstrip(".,!?")))

    def _question(self, state: State) -> str:
        """What the agent waits to hear, asked (again)."""
        if state.booking and not state.awaiting:
            state = replace(state, awaiting=self._missing(state))
        line = {DAY: "ask_day", TIME: "ask_time", NAME: "ask_name", CONFIRM: "confirm", MORE: "anything_else",
                CHANGE: "change"}.get(state.awaiting, "help")  # fmt: skip
        return self._scenario.say(line, **self._values(state))
