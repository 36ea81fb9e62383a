"""From a row to its clips: id, audio under the corpus' folder, times, text; or why there is none."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from whisper_aut.constants import MAX_TOKENS, WINDOW_SEC
from whisper_aut.data.audio import read_waveform
from whisper_aut.data.captions import TextEncoder
from whisper_aut.data.channels import Channels, parse_given, text_of
from whisper_aut.data.containers.layout import SHORT_BY_SEC
from whisper_aut.data.containers.read import AudioInfo
from whisper_aut.data.locate import locate
from whisper_aut.data.sources.cleanup import DroppedError, clean_text, damage_of
from whisper_aut.data.sources.content import head_print
from whisper_aut.data.sources.parts import cannot_write
from whisper_aut.data.sources.paths import OutsideError, contained
from whisper_aut.data.sources.pattern import MissingColumnError, NotTextError, as_text, fill, value_of
from whisper_aut.data.sources.rows import Reject, Row
from whisper_aut.data.sources.spec import HubRead, SourceSpec
from whisper_aut.data.sources.store import AudioStore, UnreadableError, header_of
from whisper_aut.data.sources.templates import NoCaptionError, caption
from whisper_aut.errors import AudioError, ManifestError
from whisper_aut.files import is_regular_file, missing_hint

MIN_SEC = 0.1  # what is shorter says nothing


class _RejectedError(Exception):
    pass


@dataclass(frozen=True)
class ClipMaker:
    """Makes the rows of a manifest.

    Attributes:
        spec: the source.
        root: the corpus' real folder; None for what is streamed.
        out: the manifest's folder, for audio that has to be written.
        names: of labels that are written as ids, by caption field.
        text_encoder: counts tokens; None leaves them uncounted.
        check_audio: decode every clip.
    """

    spec: SourceSpec
    root: Path | None
    out: Path
    names: Mapping[str, Mapping[str, str]]
    text_encoder: TextEncoder | None = None
    check_audio: bool = False

    @cached_property
    def _store(self) -> AudioStore:
        return AudioStore(self.out, self.spec.name)

    def clips(self, row: Row, split: str) -> Iterator[dict[str, Any] | Reject]:
        """The row's clips, one for each of its texts, or rejects."""
        spec, clip_id = self.spec, ""
        try:
            columns = self._derived(row.columns)
            own_id = " ".join(fill(spec.clip.id, columns).split())
            if not own_id:
                raise _RejectedError("the id is empty")
            clip_id = f"{spec.name}-{own_id}"
            texts = list(self._texts(columns, clip_id, row.where))
            kept = [(number, text) for number, text in texts if isinstance(text, str)]
            yield from (text for _, text in texts if isinstance(text, Reject))
            if not kept:
                if not texts:
                    raise _RejectedError("the text is empty")
                return
            common = {**self._audio(columns, clip_id), "domain": spec.domain, "source": spec.name,
                      "language": self._language(columns), "split": split,
                      "license": (fill(spec.clip.license, columns) if spec.clip.license else "") or spec.license,
                      "where": row.where}  # fmt: skip
            for number, text in kept:
                made = f"{clip_id}-{number}" if number else clip_id
                try:
                    clip = {"id": made, **common, "text": text, **self._tokens(text, common["language"])}
                    _check_characters(clip)
                    yield clip
                except _RejectedError as error:  # the row's other texts may fit
                    yield Reject(row.where, made, str(error))
        except MissingColumnError as error:
            yield Reject(row.where, clip_id, f"the row has no '{error}'")
        except (_RejectedError, OutsideError, UnreadableError, NoCaptionError, NotTextError) as error:
            yield Reject(row.where, clip_id, str(error))

    def _derived(self, columns: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.spec.derive:
            return columns
        made = dict(columns)
        for derive in self.spec.derive:
            value = as_text(value_of(derive.column, made))
            if derive.match is not None:
                found = re.search(derive.match, value)
                if found is None:
                    raise _RejectedError(f"'{value:.80}' in {derive.column} is not of the form {derive.match}")
                value = found[1] or ""
            made[derive.name] = value.zfill(derive.pad) if derive.pad else value
        return made

    def _texts(self, columns: Mapping[str, Any], clip_id: str, where: str) -> Iterator[tuple[int, str | Reject]]:
        """(number of the text, 0 where there is one only; the text or why it is left out)."""
        spec = self.spec
        if spec.captions is not None:
            yield 0, caption(spec.captions, columns, clip_id, self.names)
            return
        for number, pattern in enumerate(spec.clip.text, start=1 if len(spec.clip.text) > 1 else 0):
            try:
                given = fill(pattern, columns)
                if damage := damage_of(given):
                    raise DroppedError(damage)
                text = clean_text(given, spec.clean)
            except (DroppedError, NotTextError) as error:
                yield number, Reject(where, clip_id, str(error))
                continue
            if text:
                yield number, text

    def _audio(self, columns: Mapping[str, Any], clip_id: str) -> dict[str, Any]:
        clip, read = self.spec.clip, self.spec.read
        if isinstance(read, HubRead):
            audio, info = self._stored(value_of(read.audio, columns), clip_id)
        else:
            audio, info = self._found(columns), None
        # What is null is left out, so that Lhotse's and Kaldi's columns need not be named in a YAML.
        own = {} if isinstance(read, HubRead) or read.kind == "list" else columns
        offset_sec = self._seconds(columns, clip.offset_sec or ("offset_sec" if "offset_sec" in own else None)) or 0.0
        if offset_sec < 0:
            raise _RejectedError(f"the clip begins at {offset_sec} s")
        duration_sec = self._stated(columns, own, offset_sec)
        if duration_sec is not None:
            self._refuse_long(duration_sec)
        info = info or header_of(audio)
        left_sec = round(info.duration_sec - offset_sec, 6)
        if left_sec <= 0:
            raise _RejectedError(f"the clip begins at {offset_sec:g} s, the file ends {-left_sec:g} s before")
        if duration_sec is not None and duration_sec - left_sec > SHORT_BY_SEC:
            raise _RejectedError(
                f"the clip should last {duration_sec:g} s, the file holds {left_sec:g} s from there on"
            )
        duration_sec = left_sec if duration_sec is None else min(duration_sec, left_sec)
        if not duration_sec >= MIN_SEC:
            raise _RejectedError(f"{duration_sec:g} s of audio; at least {MIN_SEC} s")
        self._refuse_long(duration_sec)
        channels = self._channels(columns, own, info.channels)
        placed = {
            "audio": audio,
            "offset_sec": offset_sec,
            "duration_sec": min(duration_sec, float(WINDOW_SEC)),
            "channel": text_of(channels) or None,
            "unnamed": info.channels > 1 and not channels,
            "content": head_print(os.path.join(self.out, audio)),  # noqa: PTH118
        }
        return placed | (self._level(placed, channels, clip_id) if self.check_audio else {})

    def _channels(self, columns: Mapping[str, Any], own: Mapping[str, Any], held: int) -> Channels:
        """The channels that the row names of a file that has ``held``; none where that is all of a single one."""
        name = self.spec.clip.channel or ("channel" if "channel" in own else None)
        value = value_of(name, columns) if name else None
        if (stated := own.get("num_channels")) is not None and stated != held:
            raise _RejectedError(f"the recording has {stated} channel(s) by its list, its file {held}")
        if value is None and held > 1:  # the side of a call: a file of one channel is that side already
            value = own.get("side")
        try:
            channels = tuple(range(held)) if value == "average" else parse_given(value)
        except ValueError as error:
            raise _RejectedError(f"{name or 'side'} {error}") from None
        if channels and max(channels) >= held:
            raise _RejectedError(f"channel {max(channels)} is named, counted from 0; the file has {held}")
        return channels if held > 1 else ()

    def _refuse_long(self, duration_sec: float) -> None:
        if duration_sec > WINDOW_SEC and self.spec.long_audio == "drop":
            raise _RejectedError(f"longer than Whisper's window of {WINDOW_SEC} s")

    def _level(self, placed: Mapping[str, Any], channels: Channels, clip_id: str) -> dict[str, float]:
        """How loud the clip is, dB RMS of full scale; digital silence is -200."""
        source = locate(placed["audio"], self.out)
        try:
            samples = read_waveform(
                source,
                offset_sec=placed["offset_sec"],
                duration_sec=placed["duration_sec"],
                clip_id=clip_id,
                channels=channels,
            )
        except AudioError as error:
            raise _RejectedError(error.what) from None
        power = float(np.mean(np.square(samples, dtype=np.float64)))
        return {"level_db": max(-200.0, 10 * math.log10(power)) if power else -200.0}

    def _stated(self, columns: Mapping[str, Any], own: Mapping[str, Any], offset_sec: float) -> float | None:
        clip = self.spec.clip
        if (duration_ms := self._seconds(columns, clip.duration_ms)) is not None:
            return round(duration_ms / 1000, 6)
        end = clip.end_sec or ("end_sec" if "end_sec" in own else None)
        if (end_sec := self._seconds(columns, end)) is not None:
            return round(end_sec - offset_sec, 6)
        return self._seconds(columns, clip.duration_sec or ("duration_sec" if "duration_sec" in own else None))

    @staticmethod
    def _seconds(columns: Mapping[str, Any], name: str | None) -> float | None:
        value = value_of(name, columns) if name else None
        if value is None or value == "":
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise _RejectedError(f"{name} is '{value!s:.40}', not a number") from None
        if not math.isfinite(number):
            raise _RejectedError(f"{name} is {number}")
        return number

    def _found(self, columns: Mapping[str, Any]) -> str:
        tried = []
        assert self.root is not None, "files have a folder"
        for pattern in self.spec.clip.audio:
            tried.append(fill(pattern, columns))
            path = contained(str(self.root), tried[-1])
            if is_regular_file(path):
                return path
        hint = next(filter(None, (missing_hint(f"{self.root}/{path}") for path in tried)), "")
        raise _RejectedError(f"there is no file {' or '.join(tried)}{hint}")

    def _stored(self, audio: Any, clip_id: str) -> tuple[str, AudioInfo]:
        content = audio.get("bytes") if isinstance(audio, dict) else None
        if isinstance(content, bytes):
            try:
                return self._store.put(clip_id, content)
            except OSError as error:
                raise cannot_write(error, self.out) from None
        path = audio.get("path") if isinstance(audio, dict) else None
        if not isinstance(path, str) or self.root is None:
            raise _RejectedError("the row has no audio")
        real = contained(str(self.root), path)
        if not is_regular_file(real):
            raise _RejectedError(f"there is no file {path}{missing_hint(real)}")
        return real, header_of(real)

    def _language(self, columns: Mapping[str, Any]) -> str:
        if self.spec.clip.language is None:
            return self.spec.language
        language = fill(self.spec.clip.language, columns).strip().lower()
        if language not in whisper_languages():
            raise _RejectedError(f"'{language}' is no language of Whisper")
        return language

    def _tokens(self, text: str, language: str) -> dict[str, int]:
        if self.text_encoder is None:
            return {}
        try:
            num_tokens = self.text_encoder.num_tokens(text, self.spec.domain, language)
        except ManifestError as error:
            raise _RejectedError(error.what) from None
        if num_tokens > MAX_TOKENS:
            raise _RejectedError(f"{num_tokens} tokens with prompt and end; the decoder has {MAX_TOKENS} positions")
        return {"num_tokens": num_tokens}


def _check_characters(clip: Mapping[str, Any]) -> None:
    """JSON can write halves of characters, and names of files need not be UTF-8; Parquet has neither."""
    for name, value in clip.items():
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise _RejectedError(f"{name} is not UTF-8") from None


@lru_cache(maxsize=1)
def whisper_languages() -> frozenset[str]:
    """Codes of the languages that Whisper knows."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    return frozenset(LANGUAGES)
