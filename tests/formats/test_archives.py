import io
import struct
import zipfile
from pathlib import Path

import pytest

from dinonat.errors import LabelError
from dinonat.formats import archives, yolo_reading
from dinonat.formats.archives import opened
from dinonat.formats.catalog import FORMATS
from dinonat.formats.handover import Check


def packed(path: Path, files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_label_files_are_unpacked_and_pictures_are_not(tmp_path: Path) -> None:
    files = {"data.yaml": b"names: [car]", "labels/train/\xc3\xbc b.txt": b"0 0.5 0.5 0.2 0.2",
             "images/train/a.png": b"x",
             "obj.names": b"car", "A.JSON": b"{}"}  # fmt: skip
    with opened(packed(tmp_path / "a.zip", files)) as folder:
        assert below(folder) == {name: data for name, data in files.items() if not name.endswith(".png")}
        assert len(yolo_reading.read(folder, sizes={"\xc3\xbc b.png": (8, 10)}).labels) == 1
    assert not folder.exists()


def test_folders_around_everything_and_what_macos_adds_are_looked_through(tmp_path: Path) -> None:
    files = {
        "job 7/set/data.yaml": b"a",
        "job 7/set/labels/a.txt": b"b",
        "__MACOSX/job 7/._a.txt": b"c",
        "job 7/.x.txt": b"",
    }
    with opened(packed(tmp_path / "a.zip", files)) as folder:
        assert below(folder) == {"data.yaml": b"a", "labels/a.txt": b"b"}
    with opened(packed(tmp_path / "b.zip", {"labels/a.txt": b"b"})) as folder:
        assert below(folder) == {"labels/a.txt": b"b"}  # this folder means something


def test_what_is_no_archive_is_given_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,label\n")
    for path in (tmp_path, tmp_path / "a.csv", tmp_path / "none.csv"):
        with opened(path) as same:
            assert same == path


@pytest.mark.parametrize(
    "name",
    [
        "../a.txt",
        "a/../../b.txt",
        "/etc/a.txt",
        "C:/a.txt",
        "..\\a.txt",
        "C:\\a.txt",
        "\\\\host\\a.txt",
        "../a.png",
    ],
)
def test_no_entry_leads_out(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / "a.zip", {"good.txt": b"1", name: b"2"})
    before = sorted(tmp_path.parent.rglob("*"))
    with pytest.raises(LabelError, match="leads out of the archive"), opened(path):
        pass
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_links_are_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("a.txt")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(LabelError, match="is a link"), opened(tmp_path / "a.zip"):
        pass


def test_archives_that_swell_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path / "a.zip", {"a.json": bytes(3 << 20)})
    with pytest.raises(LabelError, match="200 times"), opened(path):
        pass
    monkeypatch.setattr(archives, "MOST_BYTES", 100)
    with (
        pytest.raises(LabelError, match="larger than"),
        opened(packed(path, {"a.txt": b"x" * 60, "b.txt": b"x" * 60})),
    ):
        pass
    monkeypatch.setattr(archives, "MOST_ENTRIES", 1)
    with pytest.raises(LabelError, match="2 entries"), opened(path):
        pass


def test_an_entry_that_says_it_is_small_is_counted_while_it_is_unpacked(tmp_path: Path) -> None:
    data = bytearray(packed(tmp_path / "a.zip", {"a.json": bytes(3 << 20)}).read_bytes())
    said = struct.pack("<L", 3 << 20)
    while said in data:
        data[data.index(said) : data.index(said) + 4] = struct.pack("<L", 10)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(LabelError), opened(tmp_path / "a.zip"):
        pass


def test_encrypted_torn_and_nested(tmp_path: Path) -> None:
    whole = packed(tmp_path / "a.zip", {"a.txt": b"labels " * 50, "b.txt": b"x"}).read_bytes()
    locked = bytearray(whole)
    for start in (b"PK\x03\x04", b"PK\x01\x02"):
        at = locked.index(start)
        locked[at + (6 if start.endswith(b"\x04") else 8)] |= 1
    spoilt = bytearray(whole)
    spoilt[45] ^= 0xFF
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a.txt", "x")
    cases = {"encrypted": bytes(locked), "not a whole zip": whole[:-30], "Download it": bytes(spoilt)}
    for word, data in cases.items():
        (tmp_path / "b.zip").write_bytes(data)
        with pytest.raises(LabelError, match=word), opened(tmp_path / "b.zip"):
            pass
    for files, word in (
        ({"in.zip": inner.getvalue()}, "other archives"),
        ({"a.png": b"x"}, "no label file"),
        ({}, "no label"),
    ):
        with pytest.raises(LabelError, match=word), opened(packed(tmp_path / "c.zip", files)):
            pass


def test_what_goes_wrong_inside_is_not_taken_for_the_archive(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"a.txt": b"x"})
    with pytest.raises(ValueError, match="mine"), opened(path):
        raise ValueError("mine")


COCO = b'{"images": [], "annotations": [], "categories": []}'
YOLO = {"data.yaml": b"names: [car]", "labels/a.txt": b""}


def inside(name: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{name}/{file}": data for file, data in files.items()}


def test_the_one_export_of_several_folders_is_taken(tmp_path: Path) -> None:
    notes = {"notes/readme.txt": b"x", "readme.txt": b"x"}
    for files in (inside("trip/mine", YOLO), inside("mine", YOLO), inside("mine/deep/er", YOLO)):
        with opened(packed(tmp_path / "a.zip", {**files, **notes})) as folder:
            assert below(folder) == YOLO
    with opened(packed(tmp_path / "a.zip", {"my labels.csv": b"image,label\n"})) as file:
        assert file.name == "my labels.csv"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({**inside("one", YOLO), "two/annotations.json": COCO}, r"several exports \(one, two\).*one of its"),
        (inside("set", {**inside("one", YOLO), "two/a.json": COCO}), r"several exports \(one, two\)"),
        ({"notes/a.txt": b"x", "more/b.txt": b"x"}, r"no export in its folders \(more, notes\)"),
    ],
)
def test_archives_of_several_exports_or_none_say_what_they_hold(
    tmp_path: Path, files: dict[str, bytes], words: str
) -> None:
    path = packed(tmp_path / "a.zip", files)
    with pytest.raises(LabelError, match=words), opened(path):
        pass


BROKEN = {
    "yolo": {"data.yaml": b"names: 3", "labels/a.txt": b""},
    "cvat": {"annotations.xml": b"<annotations>"},
    "voc": {"Annotations/a.xml": b"<x/>", "Annotations/b.xml": b"<"},
    "coco": {"instances.json": b'{"images": ['},
    "csv": {"labels.csv": b"x\n"},
    "folders": {"classes.csv": b"x\n"},
}


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", BROKEN)
def test_nothing_names_the_folder_that_was_unpacked_into(tmp_path: Path, name: str, wrapped: bool) -> None:
    path = packed(tmp_path / "a.zip", inside("set", BROKEN[name]) if wrapped else BROKEN[name])
    with opened(path) as place:
        made = place.as_posix()
        found = list(FORMATS[name].faults(place, Check()))
    assert found
    assert not [each for each in found if "dinotool-" in f"{each}" or made in f"{each}"]
    with pytest.raises(LabelError) as error, opened(path) as place:
        FORMATS[name].read(place)
    assert str(error.value).startswith(f"{path}")
    assert "dinotool-" not in str(error.value)
