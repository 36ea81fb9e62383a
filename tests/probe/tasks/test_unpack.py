import io
import shutil
import tarfile
import zipfile

import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.tasks import unpack as unpack_module
from whisper_aut.probe.tasks.unpack import unpack


def make_tar(path, *members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            if kind in {tarfile.SYMTYPE, tarfile.LNKTYPE}:
                info.linkname = "/etc/passwd"
            archive.addfile(info, io.BytesIO(content))
    return path


def make_zip(path, files, links=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for name in links:
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2"])
def test_a_tar_archive(tmp_path, mode):
    archive = make_tar(
        tmp_path / "a", ("./top/", b"", tarfile.DIRTYPE), ("./top/one", b"1", tarfile.REGTYPE),
        ("two", b"22", tarfile.REGTYPE), mode=mode,
    )  # fmt: skip
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "top" / "one").read_bytes() == b"1"
    assert (tmp_path / "out" / "two").read_bytes() == b"22"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["top", "two"]


def test_a_zip_archive_without_what_a_mac_puts_into_it(tmp_path):
    files = {"top/one": b"1", "top/deep/two": b"22", "__MACOSX/top/._one": b"", "top/._one": b"", "top/.DS_Store": b""}
    unpack(make_zip(tmp_path / "a", files), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["deep", "one", "top", "two"]
    assert (tmp_path / "out" / "top" / "deep" / "two").read_bytes() == b"22"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "a\\..\\evil"])
@pytest.mark.parametrize("form", ["tar", "zip"])
def test_no_path_leaves_the_folder_and_nothing_is_left(tmp_path, name, form):
    if form == "tar":
        archive = make_tar(tmp_path / "a", ("good", b"1", tarfile.REGTYPE), (name, b"2", tarfile.REGTYPE))
    else:
        archive = make_zip(tmp_path / "a", {"good": b"1", name: b"2"})
    with pytest.raises(ProbeError, match="leaves the folder"):
        unpack(archive, tmp_path / "deep" / "out")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_tar_archive_with_a_link_or_a_device_is_refused(tmp_path, kind):
    with pytest.raises(ProbeError, match="a link or a device: 'x'"):
        unpack(make_tar(tmp_path / "a", ("x", b"", kind)), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_zip_archive_with_a_link_is_refused(tmp_path):
    with pytest.raises(ProbeError, match="a link: 'x'"):
        unpack(make_zip(tmp_path / "a", {"good": b"1"}, links=["x"]), tmp_path / "out")


@pytest.mark.parametrize("form", ["tar", "zip", "neither"])
def test_a_damaged_archive_leaves_nothing(tmp_path, form):
    content = bytes(range(256)) * 200
    if form == "tar":
        archive = make_tar(tmp_path / "a", ("x", content, tarfile.REGTYPE))
    elif form == "zip":
        archive = make_zip(tmp_path / "a", {"x": content})
    else:
        archive = tmp_path / "a"
        archive.write_bytes(b"text")
    data = bytearray(archive.read_bytes())
    if form != "neither":
        data[len(data) // 3] ^= 0xFF
        archive.write_bytes(data[: len(data) // 2] if form == "tar" else data)
    with pytest.raises(ProbeError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_what_is_there_is_not_replaced(tmp_path):
    (tmp_path / "out" / "top").mkdir(parents=True)
    with pytest.raises(ProbeError, match="'top', which is there already"):
        unpack(make_zip(tmp_path / "a", {"top/one": b"1"}), tmp_path / "out")


def test_too_little_room_is_said_first(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "a", {"one": bytes(10_000)})
    monkeypatch.setattr(unpack_module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 5))
    with pytest.raises(ProbeError, match="GB are free"):
        unpack(archive, tmp_path / "out")
