import errno
import json

import pytest

from dinonat.errors import WorkspaceError
from dinonat.files import short_hash, write_bytes, write_json, write_whole


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "deep/er/file.bin"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("defect")])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")

    def broken(stream):
        stream.write(b"half")
        raise error

    with pytest.raises(type(error)):
        write_whole(path, broken)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_sentence(tmp_path):
    def full(stream):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WorkspaceError, match="No space left on device"):
        write_whole(tmp_path / "file.bin", full)
    assert list(tmp_path.iterdir()) == []


def test_json_is_sorted_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": "ü"})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n "a": "ü",\n "b": 1\n}\n'
    with pytest.raises(ValueError, match=r"NaN|nan|Out of range"):
        write_json(tmp_path / "b.json", float("nan"))
    assert json.loads((tmp_path / "a.json").read_text())["b"] == 1


def test_names_are_the_hash_of_what_they_name():
    assert short_hash("a", {"x": 1, "y": 2}) == short_hash("a", {"y": 2, "x": 1})
    assert short_hash("a", "b") != short_hash("ab")
    assert len(short_hash()) == 12
