from pathlib import Path

import pytest

from dinonat.errors import LabelError
from dinonat.formats.name_lists import read_names

NAMES = ["night/a b.png", "ü.png", "[1].png"]


@pytest.mark.parametrize(
    "text",
    [
        "night/a b.png\nü.png\n[1].png\n",
        "\ufeffnight/a b.png\r\n\r\nü.png\r\n[1].png",
        "night/a b.png\0ü.png\0[1].png\0",
        "image\nnight/a b.png\nü.png\n[1].png\n",
        "\ufefflabel;File Name\r\ncar;night/a b.png\r\ncar;ü.png\r\ncar;night/a b.png\r\n\r\n;[1].png\r\n",
        'image,label\n"night/a b.png",x\nü.png\n[1].png,y\n',
        '["night/a b.png", "ü.png", "ü.png", "[1].png", ""]',
        '[{"image": "night/a b.png"}, {"file_name": "ü.png", "x": 1}, {"image": "[1].png"}, {"x": 2}, 3]',
        '{"set": "road", "images": ["night/a b.png", "ü.png", "[1].png"]}',
    ],
)
def test_every_form_of_a_list_reads_the_same(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(text.encode())
    assert read_names(path) == NAMES


def test_names_with_commas_brackets_and_line_ends_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("[1].png\na, b.png\nc;d.png\n")
    assert read_names(path) == ["[1].png", "a, b.png", "c;d.png"]
    path.write_bytes(b"a\nb.png\0 c.png\0")
    assert read_names(path) == ["a\nb.png", " c.png"]
    path.write_bytes("a.png\n\u2028b.png\n".encode())
    assert read_names(path) == ["a.png", "b.png"]  # a line separator at an end of a line is space


@pytest.mark.parametrize("text", ["", "\n \n", "[]", "{}", "[1, 2]", "image\n", "\0\0", '{"images": 3}'])
def test_a_list_without_names_is_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(LabelError, match="no image is named in it"):
        read_names(path)


def test_missing_and_monstrous_lists(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="cannot be read"):
        read_names(tmp_path / "none.txt")
    path = tmp_path / "list.csv"
    path.write_text("image,x\n" + "y" * 200_000 + ",1\n")
    with pytest.raises(LabelError, match="not a CSV file"):
        read_names(path)
    path.write_text("[" * 100_000)
    assert read_names(path) == ["[" * 100_000]
