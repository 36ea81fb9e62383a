"""Tar archives of others against Python's tarfile, and every way in which one can be forged or cut off."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from whisper_aut.data.tarfiles import BLOCK, Member, Skipped, TarError, members, packed, parse_header

FORMATS = [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]


def _tar(*entries, tar_format=tarfile.PAX_FORMAT) -> bytes:
    """Each entry is (name, data) or a TarInfo."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                tar.addfile(info, io.BytesIO(entry[1]))
    return buffer.getvalue()


def _info(name, kind, **settings):
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in settings.items():
        setattr(info, key, value)
    return info


def _with_size(archive: bytes, field: bytes) -> bytes:
    """The archive with another size in its first header, and a sum that fits."""
    header = bytearray(archive[:BLOCK])
    header[124:136] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + archive[BLOCK:]


def _listed(archive: bytes) -> list[Member | Skipped]:
    return list(members(io.BytesIO(archive)))


@pytest.mark.parametrize("tar_format", FORMATS)
def test_members_are_where_tarfile_finds_them(tar_format):
    names = ["a.flac", "folder/b.flac", "x" * 60 + "/" + "y" * 80 + ".flac"]
    if tar_format != tarfile.USTAR_FORMAT:
        names += ["z" * 300 + ".txt", "ünïcode/ö.flac"]
    archive = _tar(*((name, bytes([index]) * (index * 700)) for index, name in enumerate(names)), tar_format=tar_format)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        expected = [Member(info.name, info.offset_data, info.size) for info in tar]
    assert [member.name for member in expected] == names
    assert _listed(archive) == expected


def test_our_own_members_are_always_the_same_bytes_and_tarfile_reads_them():
    assert packed("a.flac", b"abc") == packed("a.flac", b"abc")
    with tarfile.open(fileobj=io.BytesIO(packed("a.flac", b"abc") + bytes(1024))) as tar:
        (info,) = tar.getmembers()
        assert (info.mtime, info.uid, info.gid, info.uname, info.mode) == (0, 0, 0, "", 0o644)
        assert tar.extractfile(info).read() == b"abc"
    header = parse_header(packed("a.flac", b"abc")[:BLOCK])
    assert header.name == b"a.flac" and header.size == 3


def test_links_devices_and_names_that_lead_out_are_skipped_with_a_note():
    archive = _tar(
        _info("link.flac", tarfile.SYMTYPE, linkname="/etc/passwd"),
        _info("hard.flac", tarfile.LNKTYPE, linkname="a.flac"),
        _info("null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        _info("disk", tarfile.BLKTYPE),
        _info("pipe", tarfile.FIFOTYPE),
        _info("folder", tarfile.DIRTYPE),
        ("/etc/absolute.flac", b"1"),
        ("../above.flac", b"2"),
        ("a/../../above.flac", b"3"),
        ("./good.flac", b"4"),
    )
    found = _listed(archive)
    assert [member.name for member in found if isinstance(member, Member)] == ["good.flac"]
    reasons = {member.name: member.reason for member in found if isinstance(member, Skipped)}
    assert reasons["link.flac"] == "a symbolic link" and reasons["hard.flac"] == "a hard link"
    assert {reasons[name] for name in ("null", "disk")} == {"a device"}
    for name in ("/etc/absolute.flac", "../above.flac", "a/../../above.flac"):
        assert reasons[name] == "its name leads out of the archive"


def test_data_behind_a_link_are_not_taken_for_a_member():
    link = _tar(_info("link", tarfile.SYMTYPE, linkname="x"))[:BLOCK]
    forged = _with_size(link, b"00000001000\0")
    assert [m.name for m in _listed(forged + _tar(("a.flac", b"1")))] == ["link", "a.flac"]


@pytest.mark.parametrize("tar_format", FORMATS)
@pytest.mark.parametrize("keep", [1, 511, 700, 1600, 2048, 2300])
def test_a_truncated_archive_is_said_to_be_one(tar_format, keep):
    archive = _tar(("a.flac", b"1" * 700), ("b.flac", b"2" * 700), tar_format=tar_format)
    with pytest.raises(TarError, match=r"ends|cut off"):
        _listed(archive[:keep])


@pytest.mark.parametrize("field", [b"\x80" + bytes(5) + b"\x40" + bytes(5), b"77777777777\0"])
def test_a_member_that_claims_terabytes_or_gigabytes_is_refused(field):
    with pytest.raises(TarError, match="cut off or forged"):
        _listed(_with_size(_tar(("a.flac", b"1")), field))


@pytest.mark.parametrize("field", [b"\xff" * 12, b"-0000000777\0", b"0_7\0        ", b"99999999999\0"])
def test_negative_and_damaged_sizes_are_refused(field):
    with pytest.raises(TarError, match="damaged"):
        _listed(_with_size(_tar(("a.flac", b"1")), field))


def _pax(record: bytes, size: int | None = None) -> bytes:
    info = _info("pax", tarfile.XHDTYPE, size=len(record) if size is None else size)
    return info.tobuf(tarfile.USTAR_FORMAT) + record + bytes(-len(record) % BLOCK)


@pytest.mark.parametrize(
    "record",
    [b"99 path=a\n", b"x path=a\n", b"0 path=a\n", b"3 p\n4 q\n", b"999999999999999999999999 a=b\n", b"12 size=-99\n"],
)
def test_damaged_pax_attributes_are_refused(record):
    with pytest.raises(TarError, match=r"PAX|size"):
        _listed(_pax(record) + _tar(("a.flac", b"1")))


def test_a_long_name_that_claims_gigabytes_costs_no_memory():
    with pytest.raises(TarError, match="at most 65536"):
        _listed(_pax(b"", size=2**32) + bytes(4096))


def test_sparse_files_are_not_looked_into():
    record = b"22 GNU.sparse.major=1\n"
    found = _listed(_pax(record) + _tar(("a.flac", b"1"), ("b.flac", b"2")))
    assert [type(member) for member in found] == [Skipped, Member]
    with pytest.raises(TarError, match="sparse"):
        _listed(_tar(_info("a", b"S")))


def test_compressed_archives_and_other_files_are_named():
    with pytest.raises(TarError, match="compressed with gzip"):
        _listed(gzip.compress(_tar(("a.flac", b"1" * 4096))) + bytes(1024))
    with pytest.raises(TarError, match="no header"):
        _listed(b"RIFF" + bytes(range(256)) * 8)
    with pytest.raises(TarError, match="empty"):
        _listed(b"")


def test_an_archive_without_an_end_is_refused_after_its_members():
    found = []
    with pytest.raises(TarError, match="cut off"):
        found.extend(members(io.BytesIO(packed("a.flac", b"1"))))
    listing = members(io.BytesIO(packed("a.flac", b"1")))
    assert next(listing) == Member("a.flac", BLOCK, 1)
