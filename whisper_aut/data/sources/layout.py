"""How separated values are written: the keys of a source's YAML for it."""

from __future__ import annotations

import codecs
from typing import Literal

from pydantic import Field, field_validator

from whisper_aut.config import Section


class Separated(Section):
    """How CSV and TSV are written; the other formats need none of it."""

    delimiter: str | None = Field(
        default=None, description="Of cells, one character; the default is `,` for CSV, a tab for TSV."
    )
    quote: Literal['"', "'", ""] | None = Field(
        default=None, description='Around cells; empty where marks are text. The default is `"` for CSV, none for TSV.'
    )
    skip_spaces: bool = Field(default=False, description="Whether spaces behind a delimiter are no part of the cell.")
    encoding: str = Field(
        default="utf-8", description="Of a text file without a byte-order mark, which counts where there is one."
    )

    @field_validator("delimiter")
    @classmethod
    def _is_one_character(cls, delimiter: str | None) -> str | None:
        if delimiter is not None and (len(delimiter) != 1 or delimiter in "\r\n\"'"):
            raise ValueError("is one character, neither a quotation mark nor a line break")
        return delimiter

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str) -> str:
        try:
            "a".encode(encoding)  # some codecs are of bytes, not of text
            return codecs.lookup(encoding).name
        except (LookupError, ValueError):
            raise ValueError("is no encoding that Python knows; utf-8, latin-1, cp1252, gb18030, … are") from None
