"""A page to listen to some clips of manifests: players, texts, ids; the audio is in the page itself."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from whisper_aut.constants import WINDOW_SEC
from whisper_aut.data.audio import read_waveform
from whisper_aut.data.channels import CHANNEL, parse_channel
from whisper_aut.data.histogram_svg import page
from whisper_aut.data.locate import locate
from whisper_aut.data.manifest_stream import num_rows, read_pieces
from whisper_aut.data.outputs import check_output, writing
from whisper_aut.data.player import mp3_player
from whisper_aut.errors import AudioError, ManifestError
from whisper_aut.files import real_path, write_whole

MAX_PAGE_BYTES = 48 * 2**20  # browsers open larger pages, but nobody sends them to anyone
_SHOWN = ("source", "domain", "language", "split", "license")


def write_sample(paths: Sequence[Path], num_clips: int, out: Path, *, seed: int = 0) -> tuple[int, int]:
    """Write a page with ``num_clips`` clips drawn from all rows of ``paths``; (clips shown, of them unreadable).

    The audio is what training hears: the clip alone, 16 kHz mono, here as MP3. A clip that cannot be read is shown
    with the reason.

    Args:
        paths: manifests.
        num_clips: at most; all where there are fewer.
        out: the page, an ``.html`` that is none of ``paths``.
        seed: the same seed draws the same clips.

    Raises:
        ManifestError: a manifest cannot be read, the page cannot be written, or it would be larger than
            ``MAX_PAGE_BYTES``.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise ManifestError(f"a page ends in .html, not in '{out.suffix}'", where=str(out), remedy="give another --out")
    check_output(out, paths)
    sizes = [num_rows(path) for path in paths]
    drawn = sorted(random.Random(seed).sample(range(sum(sizes)), min(num_clips, sum(sizes))))
    if not drawn:
        raise ManifestError("the manifests have no rows", where=", ".join(map(str, paths)), remedy="check the paths")
    entries, num_bytes, num_unreadable = [], 0, 0
    for row, where, folder in _rows(paths, drawn):
        try:
            player = _player(row, where, folder)
        except (AudioError, ManifestError) as error:
            num_unreadable += 1
            player = Markup('<p class="warn">cannot be played: {}</p>').format(error.what)
        num_bytes += len(player)
        if num_bytes > MAX_PAGE_BYTES:
            raise ManifestError(
                f"{len(drawn)} clips make a page of more than {MAX_PAGE_BYTES // 2**20} MB", remedy="take a smaller -n"
            )
        entries.append(_entry(row, where, player))
    title = f"{len(drawn)} of {sum(sizes):,} clips"
    names = Markup('<p class="dim">{names} · seed {seed}</p>').format(names=", ".join(p.name for p in paths), seed=seed)
    with writing(out, "the page"):
        write_whole(out, page(title, names + Markup("").join(entries)))
    return len(drawn), num_unreadable


def _rows(paths: Sequence[Path], drawn: Sequence[int]) -> Iterator[tuple[dict[str, Any], str, Path]]:
    left = list(drawn)
    before = 0  # rows of the files and pieces that were passed
    for path in paths:
        for piece in read_pieces(path):
            inside = [row - before for row in left if row - before < len(piece.table)]
            if inside:
                chosen = type(piece)(
                    path, piece.table.take(inside), piece.first, [int(_line(piece, i)) for i in inside]
                )
                folder = real_path(path.parent)
                yield from ((row, chosen.where(index), folder) for index, row in enumerate(chosen.table.to_pylist()))
                left = left[len(inside) :]
            before += len(piece.table)
            if not left:
                return


def _line(piece: Any, index: int) -> str:
    return str(piece.where(index).rpartition(":")[2])


def _player(row: dict[str, Any], where: str, folder: Path) -> Markup:
    missing = [name for name in ("audio", "offset_sec", "duration_sec") if row[name] is None]
    if missing:
        raise ManifestError(f"{', '.join(missing)} is missing", where=where)
    for name in ("offset_sec", "duration_sec"):
        if not (math.isfinite(row[name]) and row[name] >= 0):
            raise ManifestError(f"{name} is {row[name]}, no number of seconds", where=where)
    try:
        channels = parse_channel(row.get(CHANNEL))
    except ValueError as error:
        raise ManifestError(f"{CHANNEL} {error}", where=where) from None
    waveform = read_waveform(
        locate(row["audio"], folder),
        offset_sec=row["offset_sec"],
        duration_sec=min(row["duration_sec"], float(WINDOW_SEC)),
        clip_id=row["id"],
        channels=channels,
    )
    return mp3_player(waveform)


def _entry(row: dict[str, Any], where: str, player: Markup) -> Markup:
    length = "? s" if row["duration_sec"] is None else f"{row['duration_sec']:.2f} s"
    about = " · ".join([length, *(str(row[name]) for name in _SHOWN if row.get(name)), where])
    return Markup('<h2>{id}</h2>{player}<p class="text">{text}</p><p class="dim">{about}</p>').format(
        id=row["id"], player=player, text=row["text"], about=about
    )
