"""The recorded callers that ship: what `callers.json` says of them is so."""

from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from tests.local_speech import CALLERS, index, recording
from voxray.audio.level import dbov, peak, rms
from voxray.audio.wav import read_wav

KINDS = {"question", "answer", "statement", "backchannel", "goodbye", "noise"}


class RecordingsTests(SynchronousTestCase):
    """Every file of the set."""

    def test_index_and_files_agree(self) -> None:
        """There is a WAV for each entry, and an entry for each WAV."""
        listed = [entry["id"] for entry in index()["recordings"]]
        there = {each.name.removesuffix(".wav") for each in CALLERS.iterdir() if each.name.endswith(".wav")}
        self.assertEqual(len(listed), len(set(listed)))
        self.assertEqual(set(listed), there)

    def test_enough_humans(self) -> None:
        """At least 25 utterances are human speech, of at least four speakers; the set is under 4 MB."""
        human = [entry for entry in index()["recordings"] if entry["human"]]
        self.assertGreaterEqual(len(human), 25)
        self.assertGreaterEqual(len({entry["voice"] for entry in human}), 4)
        self.assertLess(sum(len(each.read_bytes()) for each in CALLERS.iterdir()), 4_000_000)

    def test_format_and_entries(self) -> None:
        """16 bit mono at 8 or 16 kHz, of the duration told; a text unless it is noise."""
        for entry in index()["recordings"]:
            samples, wav = read_wav((CALLERS / f"{entry['id']}.wav").read_bytes())
            self.assertEqual((wav.channels, wav.bits, wav.rate_hz), (1, 16, entry["rate_hz"]))
            self.assertIn(wav.rate_hz, (8000, 16000))
            self.assertLess(abs(samples.size / wav.rate_hz - entry["duration_secs"]), 0.002)
            self.assertIn(entry["kind"], KINDS)
            self.assertEqual(bool(entry["text"]), entry["kind"] != "noise", entry["id"])

    def test_levels(self) -> None:
        """Speech is near -20 dBov, and nothing clips."""
        for entry in index()["recordings"]:
            samples, _rate = recording(entry["id"])
            self.assertLess(peak(samples), 0.9, entry["id"])
            frames = samples[: samples.size // 80 * 80].reshape(-1, 80)
            levels = np.array([rms(frame) for frame in frames])
            speech = np.sqrt((levels[levels > levels.max() * 0.1] ** 2).mean())
            self.assertTrue(-26 < dbov(float(speech)) < -19, (entry["id"], dbov(float(speech))))

    def test_margins(self) -> None:
        """Speech begins and ends 50 to 160 ms from the file's ends: latency is counted from it."""
        for entry in index()["recordings"]:
            samples, rate = recording(entry["id"])
            size = rate // 100
            frames = samples[: samples.size // size * size].reshape(-1, size)
            levels = np.array([rms(frame) for frame in frames])
            around = np.convolve(levels, np.ones(3) / 3, "same")  # a click is no word
            loud = np.flatnonzero(around > np.percentile(levels, 95) * 0.05)
            before, after = int(loud[0]), levels.size - 1 - int(loud[-1])
            self.assertTrue(5 <= before <= 16 and 5 <= after <= 16, (entry["id"], before, after))

    def test_all_licensed(self) -> None:
        """LICENSES.md names each voice, and each recording of the one that asks for attribution."""
        text = (CALLERS / "LICENSES.md").read_text("utf-8")
        for entry in index()["recordings"]:
            voice = "flite-*" if entry["voice"].startswith("flite") else entry["voice"]
            self.assertIn(f"`{voice}`", text)
            if entry["voice"] == "allison":
                self.assertIn(f"`{entry['id']}`", text)

    def test_dialogues_exist(self) -> None:
        """Each line of a dialogue is a recording of a human."""
        human = {entry["id"] for entry in index()["recordings"] if entry["human"]}
        for name, lines in index()["dialogues"].items():
            self.assertEqual([line for line in lines if line not in human], [], name)
