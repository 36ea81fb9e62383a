"""The clips that a training benchmark reads: of one length, from a manifest or synthesised on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from whisper_aut.constants import BUCKET_FRAMES, FRAMES_PER_SEC, SAMPLE_RATE, Domain
from whisper_aut.data.manifest import load_manifest
from whisper_aut.errors import ManifestError

_SYNTHESISED: Domain = "environment"
_BUCKET_SEC = BUCKET_FRAMES / FRAMES_PER_SEC


def clips_of_length(folder: Path, manifest: Path | None, clip_sec: float, *, at_least: int, at_most: int) -> Path:
    """A manifest ``folder/clips.jsonl`` of one domain, whose clips last ``clip_sec`` seconds or up to 0.5 s less.

    They all have the same context then, as neighbours of a large corpus sorted by length have.

    Args:
        folder: made where it is missing.
        manifest: where the clips come from, the first ones that fit; synthesised scenes of exactly ``clip_sec`` where
            None.
        clip_sec: length in seconds.
        at_least: how many clips are needed.
        at_most: how many are taken or made; with fewer than that they are read more than once.

    Raises:
        ManifestError: the manifest cannot be used, or has too few clips of that length.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = _synthesised(folder, clip_sec, at_most) if manifest is None else _chosen(manifest, clip_sec, at_most)
    if len(rows) < at_least:
        raise ManifestError(
            f"{len(rows)} clips of one domain last {clip_sec - _BUCKET_SEC:g} to {clip_sec:g} s; {at_least} are needed",
            where=str(manifest),
            remedy="give another --clip-sec, fewer --clips-per-step, or a larger manifest",
        )
    path = folder / "clips.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def _chosen(path: Path, clip_sec: float, at_most: int) -> list[dict[str, Any]]:
    manifest = load_manifest(path)
    durations = manifest.table.texts["duration_sec"].to_numpy()
    rows: list[dict[str, Any]] = []
    for number in ((durations > clip_sec - _BUCKET_SEC) & (durations <= clip_sec)).nonzero()[0].tolist():
        clip = manifest.clip(number)
        if len(rows) == at_most:
            break
        if not rows or clip.domain == rows[0]["domain"]:
            rows.append(
                {
                    "id": clip.id,
                    "audio": str(manifest.audio_source(number)),
                    "offset_sec": clip.offset_sec,
                    "duration_sec": clip.duration_sec,
                    "text": clip.text,
                    "domain": clip.domain,
                    "language": clip.language,
                }
            )
    return rows


def _synthesised(folder: Path, clip_sec: float, count: int) -> list[dict[str, Any]]:
    import soundfile

    from whisper_aut.demo import dsp
    from whisper_aut.demo.captions import scene_caption
    from whisper_aut.demo.draw import Draw
    from whisper_aut.demo.environment import KIND_NAMES, make_scene

    rows = []
    for index in range(count):
        draw = Draw(0, "train", "bench", index)
        wave, scene = make_scene(draw, KIND_NAMES[index % len(KIND_NAMES)], clip_sec)
        name = f"scene-{index:05d}"
        soundfile.write(folder / f"{name}.wav", dsp.to_pcm16(wave, 0.5), SAMPLE_RATE, subtype="PCM_16")
        text = scene_caption(draw, scene)
        rows.append(
            {"id": name, "audio": f"{name}.wav", "duration_sec": len(wave) / SAMPLE_RATE, "text": text}
            | {"domain": _SYNTHESISED, "offset_sec": 0.0, "language": "en"}
        )
    return rows
