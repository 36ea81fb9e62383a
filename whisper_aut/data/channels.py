"""Which channels of its file a clip is: the column ``channel``, a whole number from 0, or a list of them to be mixed.

A row that names none is the mix of all channels. In tables the value is a text, ``0`` or ``0,1``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.json as pa_json

from whisper_aut.errors import AudioError

CHANNEL = "channel"
MAX_CHANNELS = 32
Channels = tuple[int, ...]  # that are mixed; none: all that the file has

CHANNEL_LISTS = pa.list_(pa.int64())  # a column that has rows of both kinds
_WANTED = f"must be a channel's number, 0 to {MAX_CHANNELS - 1}, or a list of different ones to be mixed"
_QUIET = 0.01  # of the louder channel: a channel this quiet adds nothing that is heard
_ALIKE = 0.9  # correlation from which on two channels are one sound, as a stereo microphone hears it


def parse_channel(value: Any) -> Channels:
    """The channels that a value of the column names; nothing for none.

    Raises:
        ValueError: it is no such value.
    """
    if value is None or value != value:  # not a number is what pandas writes for none
        return ()
    numbers = value if isinstance(value, list | tuple) else [value]
    for number in numbers:
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_number or not 0 <= number < MAX_CHANNELS or number != int(number):
            raise ValueError(f"{_WANTED}; found {value!r:.80}")
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"{_WANTED}; found {value!r:.80}")
    return tuple(int(number) for number in numbers)


def parse_given(value: Any) -> Channels:
    """As :func:`parse_channel`, of a cell of any table: ``1``, ``0,1`` and ``[0, 1]`` may be texts.

    Raises:
        ValueError: it is no such value.
    """
    if not isinstance(value, str):
        return parse_channel(value.tolist() if hasattr(value, "tolist") else value)
    parts = re.split(r"[\s,;+]+", value.strip().strip("[]()").strip())
    if parts == [""]:
        return ()
    if not all(part.isdecimal() for part in parts):
        raise ValueError(f"{_WANTED}; found {value!r:.80}")
    return parse_channel([int(part) for part in parts])


def text_of(channels: Channels) -> str:
    """``0,1`` for (0, 1); empty for none."""
    return ",".join(map(str, channels))


@lru_cache(maxsize=1024)
def from_text(text: str) -> Channels:
    """What :func:`text_of` has written."""
    return tuple(int(part) for part in text.split(",")) if text else ()


def texts_of(column: Iterable[Any]) -> tuple[list[str | None], list[tuple[int, str]]]:
    """(a text or nothing for each value of the column; row and message of every value that is none)."""
    texts: list[str | None] = []
    wrong: list[tuple[int, str]] = []
    for row, value in enumerate(column):
        try:
            texts.append(text_of(parse_channel(value)) or None)
        except ValueError as error:
            texts.append(None)
            wrong.append((row, str(error)))
    return texts, wrong


def column_of_lines(block: bytes, num_rows: int) -> list[str | None] | None:
    """The column of JSON lines, by Arrow's parser; None where a value is wrong or types are mixed."""
    for kind in (pa.int64(), CHANNEL_LISTS):
        try:
            table = pa_json.read_json(
                pa.BufferReader(block),
                read_options=pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
                parse_options=pa_json.ParseOptions(
                    explicit_schema=pa.schema([(CHANNEL, kind)]), unexpected_field_behavior="ignore"
                ),
            )
        except (pa.ArrowException, ValueError):
            continue
        texts, wrong = texts_of(table[CHANNEL].to_pylist())
        return texts if len(texts) == num_rows and not wrong else None
    return None


def is_channel_type(data_type: pa.DataType) -> bool:
    """Whether a column of a table may hold channels: numbers, lists of numbers, or nothing."""
    is_list = pa.types.is_list(data_type) or pa.types.is_large_list(data_type)
    kind = data_type.value_type if is_list else data_type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind))


def as_type(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """Numbers as lists of one where lists are wanted; whatever else as it is."""
    if not pa.types.is_list(wanted) or pa.types.is_list(column.type) or not is_channel_type(column.type):
        return column
    values = [None if value is None or value != value else [value] for value in column.to_pylist()]
    return pa.chunked_array([pa.array(values, pa.list_(column.type))])


def with_one_channel_type(one: pa.Schema, other: pa.Schema) -> tuple[pa.Schema, pa.Schema]:
    """Two schemas whose column of channels is lists in both where it is in one."""
    schemas = []
    for ours, theirs in ((one, other), (other, one)):
        both = CHANNEL in ours.names and CHANNEL in theirs.names
        if both and pa.types.is_list(theirs.field(CHANNEL).type) and pa.types.is_integer(ours.field(CHANNEL).type):
            ours = ours.set(ours.get_field_index(CHANNEL), pa.field(CHANNEL, CHANNEL_LISTS))
        schemas.append(ours)
    return schemas[0], schemas[1]


def with_even_channels(rows: list[dict[str, Any]], schema: pa.Schema | None) -> list[dict[str, Any]]:
    """Rows whose channels are lists in all where they are in one, or in the schema."""
    wanted = schema is not None and CHANNEL in schema.names and pa.types.is_list(schema.field(CHANNEL).type)
    if not wanted and not any(isinstance(row.get(CHANNEL), list) for row in rows):
        return rows
    return [row | {CHANNEL: [row[CHANNEL]]} if isinstance(row.get(CHANNEL), int | float) else row for row in rows]


def mixed(frames: npt.NDArray[np.float32], channels: Channels, where: str) -> npt.NDArray[np.float32]:
    """The mean [S] of the named channels of frames [S, C], of all where none is named.

    Raises:
        AudioError: the file has no such channel.
    """
    if channels and max(channels) >= frames.shape[1]:
        raise AudioError(
            f"channel {max(channels)} is wanted, the file has {frames.shape[1]}",
            where=where,
            remedy="correct the column channel, which counts from 0",
        )
    if len(channels) == 1 or frames.shape[1] == 1:
        return frames[:, channels[0] if channels else 0]
    chosen = frames[:, list(channels)] if channels else frames
    mono: npt.NDArray[np.float32] = chosen.mean(axis=1, dtype=np.float32)
    return mono


def differing(frames: npt.NDArray[np.float32]) -> float | None:
    """Correlation of the two loudest channels of frames [S, C] where they are different sounds; None where not.

    Two microphones in a room hear nearly the same; the two sides of a telephone call do not. A channel that is as good
    as silent differs from nothing.
    """
    if frames.shape[1] < 2:
        return None
    centred = frames - frames.mean(axis=0, dtype=np.float64)
    energy = np.einsum("sc,sc->c", centred, centred)
    second, first = np.argsort(energy, kind="stable")[-2:]
    if energy[first] == 0 or energy[second] < _QUIET**2 * energy[first]:
        return None
    correlation = float(centred[:, first] @ centred[:, second] / np.sqrt(energy[first] * energy[second]))
    return correlation if abs(correlation) < _ALIKE else None
