"""Tags that stand before and behind the audio of MP3, AAC and FLAC files: ID3v1, ID3v2, APE, Lyrics3."""

from __future__ import annotations

from whisper_aut.data.containers.content import Content

_ID3V1_BYTES = 128
_APE_BYTES = 32  # of its header and of its footer


def tag_size(content: Content, place: int) -> int:
    """Bytes of the tag that begins at ``place``; 0 where none does."""
    head = content.at(place, _APE_BYTES)
    if head.startswith(b"ID3") and len(head) >= 10 and max(head[6:10]) < 128:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        return 10 + size + (10 if head[5] & 0x10 else 0)  # with a footer
    if head.startswith(b"APETAGEX") and len(head) == _APE_BYTES:
        has_header = bool(head[23] & 0x80)
        return int.from_bytes(head[12:16], "little") + (_APE_BYTES if has_header else 0)
    if head.startswith(b"TAG") and content.size - place == _ID3V1_BYTES:
        return _ID3V1_BYTES
    return 0


def audio_start(content: Content, place: int = 0) -> int:
    """Where the audio begins behind all tags that stand in front."""
    while size := tag_size(content, place):
        place += size
    return place


def audio_end(content: Content) -> int:
    """Where the audio ends before the tags at the end of the file."""
    end = content.size
    for _ in range(4):
        tail = content.at(max(0, end - _ID3V1_BYTES), min(end, _ID3V1_BYTES))
        if tail.startswith(b"TAG") and len(tail) == _ID3V1_BYTES:
            end -= _ID3V1_BYTES
        elif tail[-_APE_BYTES:].startswith(b"APETAGEX"):
            footer = tail[-_APE_BYTES:]
            has_header = bool(footer[23] & 0x80)
            end -= int.from_bytes(footer[12:16], "little") + (_APE_BYTES if has_header else 0)
        elif tail.endswith(b"LYRICS200") and tail[-15:-9].isdigit():
            end -= 15 + int(tail[-15:-9])
        else:
            break
    return max(end, 0)
