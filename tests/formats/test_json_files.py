import gc
import math
from pathlib import Path

import pytest

from dinonat.errors import LabelError
from dinonat.formats.collecting import no_collecting
from dinonat.formats.json_files import has_picture, load_json


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b"\xef\xbb\xbf[1]", [1]),
        ('["ü"]'.encode("utf-16"), ["ü"]),
    ],
)
def test_json_is_read_in_the_encodings_that_people_save(
    tmp_path: Path, content: bytes, value: object
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert load_json(path, "tasks") == value


def test_nan_is_understood_and_nonsense_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[NaN]")
    assert math.isnan(load_json(path, "tasks")[0])
    for content in ("[", "[" * 100_000):
        path.write_text(content)
        with pytest.raises(LabelError, match=r"a\.json: not JSON .* Give tasks\."):
            load_json(path, "tasks")


def test_pictures_are_looked_for_within_their_folder_only(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "a.png").touch()
    (tmp_path / "b.png").touch()
    assert has_picture(inside, "a.png")
    for name in ("", "b.png", "../b.png", str(tmp_path / "b.png"), "x" * 5000, "a\x00.png"):
        assert not has_picture(inside, name)


def test_the_collector_runs_again_afterwards() -> None:
    assert gc.isenabled()
    seen = []

    @no_collecting()
    def fail() -> None:
        seen.append(gc.isenabled())
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert seen == [False]
    assert gc.isenabled()
    gc.disable()
    try:
        with no_collecting():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
