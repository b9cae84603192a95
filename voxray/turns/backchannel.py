"""Words that mean "go on", not "stop": judged once the transcript of an overlap is known.

Only for speech over the agent's: a "yes" after the agent's question is an answer.
"""

from __future__ import annotations

import re
from enum import Enum

from voxray.settings import TurnSettings

_WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)*", re.UNICODE)  # noqa: RUF001 - the typographic apostrophe

# Sounds are the same in most languages we meet; how they are written down is up to the transcriber.
_SOUNDS = (
    "mhm mm mmm mhmm hm hmm hmmm hum um umm uh uhm er erm ah aha ahh oh ooh huh uhhuh uhuh mmhmm mmhm eh"
)
_PHRASES = {
    "en": "yeah|yep|yup|ya|yes|ok|okay|k|right|alright|all right|sure|i see|got it|gotcha|uh huh|mm hmm|mm hm"
    "|um hum|cool|good|great|nice|fine|exactly|indeed|true|really|wow|of course|makes sense|that's right"
    "|that's fine|thank you|thanks|please|go on",
    "es": "sí|si|vale|ok|claro|ya|bueno|bien|de acuerdo|entiendo|ajá|aja|exacto|perfecto|gracias",
    "de": "ja|jo|ok|okay|genau|gut|stimmt|klar|verstehe|ach so|aha|alles klar|richtig|danke|mhm",
    "fr": "oui|ouais|ok|d'accord|bien|bon|voilà|je vois|exactement|hein|merci|tout à fait",
    "it": "sì|si|ok|certo|va bene|bene|esatto|capito|capisco|già|giusto|perfetto|grazie",
    "pt": "sim|ok|certo|tá|tá bom|claro|entendi|isso|exato|pois|bom|obrigado|obrigada",
    "nl": "ja|oké|ok|precies|goed|juist|klopt|ik snap het|prima|bedankt",
}
_MOST_WORDS = 5
_LONGEST_PHRASE = 3


def words_of(text: str) -> list[str]:
    """The words of a transcript, lower case, without punctuation."""
    return [w.replace("’", "'") for w in _WORDS.findall(text.lower())]  # noqa: RUF001


def _table(language: str) -> frozenset[str]:
    base = language.lower().replace("_", "-").split("-")[0] or "en"
    return _TABLES.get(base, _TABLES["en"])


_TABLES = {name: frozenset([*_SOUNDS.split(), *text.split("|")]) for name, text in _PHRASES.items()}


def is_backchannel(text: str, language: str = "en") -> bool:
    """All of `text` is such words ("yeah", "mm-hmm okay", "I see"), and not many of them.

    Empty text is none: nothing was said.
    """
    words = words_of(text)
    if not words or len(words) > _MOST_WORDS:
        return False
    table = _table(language)
    place = 0
    while place < len(words):
        for size in range(_LONGEST_PHRASE, 0, -1):
            if " ".join(words[place : place + size]) in table:
                place += size
                break
        else:
            return False
    return True


class Verdict(Enum):
    """What an overlap turned out to be."""

    RESUME = "resume"  # the agent keeps (or takes back) the floor
    INTERRUPT = "interrupt"  # the caller has it


def words_decide(text: str, settings: TurnSettings, language: str = "en") -> Verdict:
    """The words are known: were they an interruption?

    Nothing intelligible (a cough, a noise) and back-channels are none, whatever the strategy; "min_words"
    asks for that many words besides, "none" knows no interruption.
    """
    if not settings.allow_interruptions or settings.interruption_strategy == "none":
        return Verdict.RESUME
    words = words_of(text)
    if not words or is_backchannel(text, language):
        return Verdict.RESUME
    if settings.interruption_strategy == "min_words" and len(words) < settings.min_words:
        return Verdict.RESUME
    return Verdict.INTERRUPT
