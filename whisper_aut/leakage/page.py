"""The page of a leakage check: one file without a network, on which both sides of every pair can be heard."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import soxr

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.data.player import mp3_player
from whisper_aut.errors import AudioError
from whisper_aut.leakage.landmarks import Floats
from whisper_aut.leakage.pairs import Pair
from whisper_aut.leakage.sides import Segment

_EXCERPT_SEC = 8.0
_LEVEL = 0.7  # excerpts are made equally loud: gain must not hide that two are alike

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 78rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #8886; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
audio { width: 14rem; height: 2rem; display: block; }
.bad { color: #c22; } .good { color: #282; } small { opacity: .75; overflow-wrap: anywhere; }
"""


def render_page(summary: dict[str, Any], leaks: Sequence[Pair], suspicions: Sequence[Pair], num_players: int) -> str:
    """The page as HTML.

    Args:
        summary: what leakage.json holds.
        leaks: pairs by audio, in the order in which they are shown.
        suspicions: pairs by id alone.
        num_players: pairs of each table that can be heard, from its top; the others are listed without sound.
    """
    verdict = (
        f'<p class="bad"><b>{summary["leaks"]} pairs share audio: {summary["leaked_eval_clips"]} evaluation clips are '
        f"heard in training, in {summary['leaked_train_clips']} training clips.</b></p>"
        if leaks
        else '<p class="good"><b>No training clip shares audio with an evaluation clip.</b></p>'
    )
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8"><title>Leakage</title>',
            f"<style>{_STYLE}</style></head><body><h1>Leakage</h1>",
            verdict,
            _facts(summary),
            "<h2>The same audio</h2>",
            _leak_table(leaks, num_players) if leaks else "<p>None found.</p>",
            "<h2>Same recording id</h2><p>Names say that both were cut from one recording, but the audio check found "
            "nothing shared. A suspicion: other parts of one recording are no copies, and still closer than "
            "strangers.</p>",
            _suspicion_table(suspicions, num_players) if suspicions else "<p>None.</p>",
            "</body></html>\n",
        ]
    )


def _facts(summary: dict[str, Any]) -> str:
    lines = [f"<code>{escape(summary['command'])}</code>"]
    for side in ("train", "eval"):
        lines += [
            f"{escape(str(entry['name']))}: {entry['clips']} clips, {entry['hours']:.2f} h"
            + (f", {entry['unreadable']} unreadable" if entry["unreadable"] else "")
            + (f", {entry['silent']} without a landmark (silent or too short)" if entry["silent"] else "")
            for entry in summary[side]
        ]
    return "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"


def _leak_table(pairs: Sequence[Pair], num_players: int) -> str:
    head = (
        "<p>Both sides begin where the shared part does, or shortly before. In the third player the training clip is "
        "on the left and the evaluation clip on the right.</p>" + _shown(pairs, num_players) + "<table><tr>"
        "<th>training clip</th><th>evaluation clip</th><th>together</th><th>shared, s</th><th>offset, s</th>"
        "<th>speed</th><th>correlation</th><th>confidence</th></tr>"
    )
    return head + "".join(_leak_row(pair, heard=number < num_players) for number, pair in enumerate(pairs)) + "</table>"


def _leak_row(pair: Pair, *, heard: bool) -> str:
    assert pair.match is not None
    found = pair.match.found
    # From half a second before, where both have as much.
    lead_sec = min(0.5, found.start_sec, pair.eval_start_sec)
    sides = ["", ""]
    together = ""
    if heard:
        waves = [
            _excerpt(pair.train, found.start_sec - lead_sec, found.speed),
            _excerpt(pair.eval, pair.eval_start_sec - lead_sec, 1.0),
        ]
        sides = [_player(wave) for wave in waves]
        if (left := waves[0]) is not None and (right := waves[1]) is not None:
            length = max(len(left), len(right))
            together = _player(np.stack([np.pad(wave, (0, length - len(wave))) for wave in (left, right)], axis=1))
    numbers = (
        f"{found.overlap_sec:.2f}",
        f"{found.offset_sec:+.3f}",
        f"{found.speed:.4f}",
        f"{found.correlation:.2f}",
        f"{found.confidence:.0f}",
    )
    return (
        f"<tr><td>{_name(pair.train)}{sides[0]}</td><td>{_name(pair.eval)}{sides[1]}</td><td>{together}</td>"
        + "".join(f'<td class="number">{number}</td>' for number in numbers)
        + "</tr>"
    )


def _suspicion_table(pairs: Sequence[Pair], num_players: int) -> str:
    rows = []
    for number, pair in enumerate(pairs):
        sides = ["", ""]
        if number < num_players:
            sides = [_player(_excerpt(segment, 0.0, 1.0)) for segment in (pair.train, pair.eval)]
        shared = escape(", ".join(pair.same_recording))
        rows.append(
            f"<tr><td>{_name(pair.train)}{sides[0]}</td><td>{_name(pair.eval)}{sides[1]}</td><td>{shared}</td></tr>"
        )
    head = "<table><tr><th>training clip</th><th>evaluation clip</th><th>recording</th></tr>"
    return _shown(pairs, num_players) + head + "".join(rows) + "</table>"


def _shown(pairs: Sequence[Pair], num_players: int) -> str:
    if len(pairs) <= num_players:
        return ""
    which = f"The first {num_players} of {len(pairs)} can be heard here"
    return f"<p>{which} (<code>--players</code>); pairs.jsonl has all.</p>"


def _name(segment: Segment) -> str:
    return f"{escape(segment.id)}<br><small>{escape(segment.side)}</small>"


def _excerpt(segment: Segment, start_sec: float, speed: float) -> Floats | None:
    """Some seconds of a clip from ``start_sec``, played as slowly as the other side; None where it cannot be read."""
    try:
        wave = segment.read()
    except AudioError:  # it was read before: the file has changed since
        return None
    start = round(start_sec * SAMPLE_RATE)
    wave = wave[start : start + round(_EXCERPT_SEC * SAMPLE_RATE)]
    if speed != 1.0 and len(wave):
        wave = soxr.resample(wave, 1.0, speed)
    return np.asarray(wave * (_LEVEL / max(float(np.abs(wave).max(initial=0.0)), 1e-6)), dtype=np.float32)


def _player(wave: Floats | None) -> str:
    if wave is None or not len(wave):
        return "<br>(cannot be read)"
    return str(mp3_player(wave))
