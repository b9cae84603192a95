"""What a caller's words mean to the local agent: days, times, names, yes and no. Pure.

Written for telephone speech recognition, where about one word in thirteen is wrong: long words match when
they are nearly right, short ones only when they are right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from voxray.providers.scenario import DAYS

_LEAST_FUZZY = 5  # letters; "hours" and "yours" must not be confused with "ours" and "you"
_NEAR = 0.8  # SequenceMatcher ratio: one letter wrong in five

# fmt: off
YES = ("yes", "yeah", "yep", "yup", "sure", "correct", "right", "ok", "okay", "fine", "perfect", "absolutely",
       "exactly", "go ahead", "please do", "sounds good", "of course", "do it")
NO = ("no", "nope", "nah", "wrong", "incorrect", "not", "don't", "do not", "isn't", "neither", "nothing")
GOODBYE = ("goodbye", "good bye", "good-by", "bye", "bye-bye", "that's all", "that is all", "hang up",
           "that will be all", "see you")
REPEAT = ("repeat", "say that again", "say it again", "pardon", "did not understand", "didn't understand",
          "did not hear", "didn't hear", "did not catch", "didn't catch", "what did you say", "try again",
          "come again", "once more", "what was that", "excuse me")
HOLD = ("one moment", "a moment", "hold on", "one second", "a second", "one minute", "please wait", "hang on")
CANCEL = ("cancel", "cancelled", "forget it", "never mind", "start over", "start again")
HEAR_ME = ("hear me", "you there", "anybody there", "anyone there", "is this working")
THANKS = ("thank you", "thanks", "thank")
HELLO = ("hello", "hi", "hey", "good morning", "good afternoon", "good evening", "hallo")

_UNITS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
          "ten": 10, "eleven": 11, "twelve": 12}
_MINUTES = {"fifteen": 15, "thirty": 30, "forty": 40, "twenty": 20, "quarter": 15, "half": 30}
_DIGITS = {"zero": "0", "oh": "0", "o": "0"} | {w: str(n) for w, n in _UNITS.items() if n < 10}
# fmt: on
_KEYS = "DTMF: "  # how keys reach every language model
_NOT_NAMES = frozenset(
    word
    for line in (
        "a an and are at be can do for from have hello hi i in is it its my no not of on oh okay please",
        "right so sure that the this to uh um want was we well what when where who why will with would yes",
        "yeah you your name like if how did they them there actually maybe mm hmm",
    )
    for word in line.split()
)
_NAME_PHRASE = re.compile(
    r"(?:name is|name's|the name of|this is|i am|i'm|it's|it is|call me|under|for)\s+(.+)"
)


def words_of(text: str) -> list[str]:
    """Lower case words; "a.m." is "am", "9am" two words, "10:30" one, a mark never joins two words."""
    text = text.lower().replace("\u2019", "'")
    text = re.sub(r"(\d)([ap])\.?m\b", r"\1 \2m", text)
    text = re.sub(r"\b([ap])\s*\.?\s*m\b\.?", r"\1m", text)
    return re.findall(r"\d+:\d\d|[a-z0-9]+(?:'[a-z]+)?", text)


def alike(heard: str, meant: str) -> bool:
    """One word for another."""
    if heard == meant:
        return True
    if min(len(heard), len(meant)) < _LEAST_FUZZY or heard[0] != meant[0]:
        return False
    return SequenceMatcher(None, heard, meant).ratio() >= _NEAR


def heard_phrase(words: Sequence[str], phrase: str) -> bool:
    """All of the phrase's words in order, with at most one other word between two."""
    wanted = words_of(phrase)
    for start in range(len(words)):
        at = start
        for index, word in enumerate(wanted):
            reach = 1 if index == 0 else 2
            step = next((n for n in range(reach) if at + n < len(words) and alike(words[at + n], word)), None)
            if step is None:
                break
            at += step + 1
        else:
            return True
    return False


def heard_any(words: Sequence[str], phrases: Sequence[str]) -> bool:
    return any(heard_phrase(words, phrase) for phrase in phrases)


def weight(words: Sequence[str], phrases: Sequence[str]) -> int:
    """How much was heard: the words of the longest phrase that was."""
    return max((len(words_of(phrase)) for phrase in phrases if heard_phrase(words, phrase)), default=0)


def yes_or_no(words: Sequence[str]) -> bool | None:
    """None when it is neither. "Not right" is no; "no, that's fine" is yes.

    Long sentences are answered by how they begin: a "not" in the middle of a story ends no call.
    """
    if len(words) > 5:
        words = words[:2]
    yes, no = heard_any(words, YES), heard_any(words, NO)
    if yes and no:
        return heard_any(words, ("that's fine", "that's right", "that's correct", "no problem"))
    return True if yes else False if no else None


def day_in(words: Sequence[str]) -> str:
    """The last day named (callers correct themselves), in lower case; "" without one."""
    found = [day for word in words if (day := _day(word.removesuffix("'s")))]
    return found[-1] if found else ""


def _day(word: str) -> str:
    """The nearest of the days that are near enough: "tuesday" is like "thursday", too."""
    near = [day for day in DAYS if alike(word, day)]
    return max(near, key=lambda day: SequenceMatcher(None, word, day).ratio(), default="")


def time_in(words: Sequence[str]) -> int | None:
    """The last time of day named, in minutes after midnight. From 1 to 6 with nothing said is afternoon."""
    found = None
    for index, word in enumerate(words):
        if word in ("noon", "midday"):
            found = 12 * 60
        elif (hour := _hour(word)) is not None and _is_time(words, index):
            found = _minutes(words, index, hour)
    return found


def _hour(word: str) -> tuple[int, int] | None:
    """Hour and minute of "ten", "10", "10:30" or "1030"."""
    if word in _UNITS:
        return _UNITS[word], 0
    clock = re.fullmatch(r"(\d{1,2}):?(\d\d)?", word)
    if clock is None or not (len(word) < 3 or clock[2]):
        return None
    hour, minute = int(clock[1]), int(clock[2] or 0)
    return (hour, minute) if 1 <= hour <= 23 and minute < 60 else None


def _is_time(words: Sequence[str], index: int) -> bool:
    """A bare number is a time when nothing says otherwise: not the minutes, not one of many digits."""
    before = words[index - 1] if index else ""
    after = words[index + 1] if index + 1 < len(words) else ""
    if before in _UNITS and after not in ("am", "pm", "o'clock"):
        return False
    if after in _DIGITS or before in _DIGITS or before in ("fifteen", "twenty", "thirty", "forty"):
        return False
    return after not in ("dollars", "people", "days", "weeks", "moment", "second", "minute", "minutes", "of")


def _minutes(words: Sequence[str], index: int, clock: tuple[int, int]) -> int:
    hour, minute = clock
    after = list(words[index + 1 : index + 4])
    if after and after[0] in _MINUTES and minute == 0:
        minute = _MINUTES[after[0]]
    elif after and after[0] in ("15", "20", "30", "40", "45", "50") and minute == 0:
        minute = int(after[0])
    before = " ".join(words[max(0, index - 2) : index])
    if before.endswith(("half past", "quarter past")):
        minute = 30 if "half" in before else 15
    elif before.endswith("quarter to"):
        hour, minute = hour - 1, 45
    if "am" in after or "morning" in words:
        return hour % 12 * 60 + minute
    afternoon = "pm" in after or "afternoon" in words or "evening" in words
    if hour < 12 and (afternoon or hour < 7):
        hour += 12
    return hour * 60 + minute


def spoken_time(minutes: int) -> str:
    """As it is to be said: "10 AM", "2:30 PM"."""
    hour, minute = divmod(minutes, 60)
    return f"{(hour - 1) % 12 + 1}{f':{minute:02}' if minute else ''} {'AM' if hour < 12 else 'PM'}"


def keys_in(text: str) -> str:
    """The keys that were pressed; "" when it was speech."""
    return text.removeprefix(_KEYS).strip() if text.startswith(_KEYS) else ""


def number_in(words: Sequence[str]) -> str:
    """A telephone number of at least five digits, one by one ("5 5 5 0 1 4 2"); "" without one."""
    digits = "".join(_DIGITS.get(word, word if word.isdigit() else " ") for word in words)
    longest = max(digits.split(), key=len, default="")
    return " ".join(longest) if len(longest) >= 5 else ""


def name_in(text: str, expected: bool) -> str:
    """A name that was introduced ("my name is Ann Lee"), or, when one was asked for, a bare one."""
    plain = " ".join(words_of(text))
    introduced = re.search(r"name is|name's|the name of|call me", plain) is not None
    if not (expected or introduced):
        return ""
    found = _NAME_PHRASE.search(plain)
    if found is None and (not expected or len(plain.split()) > 5):
        return ""
    words = (found[1] if found else plain).split()
    names: list[str] = []
    for word in words:
        if word in _NOT_NAMES or word in DAYS or not word.isalpha():
            if names:
                break
            continue
        names.append(word.capitalize())
    return " ".join(names) if len(names) <= 3 else ""
