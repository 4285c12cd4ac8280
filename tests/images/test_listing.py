import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinonat.errors import ImageError
from dinonat.images import listing
from dinonat.images.listing import WORKSPACE_FILE, list_images


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 3), 7).save(path, format="PNG")
    return path


def names(folder: Path, **given: Path) -> list[str]:
    return [ref.name for ref in list_images(folder, **given).refs]


def test_lists_images_of_any_case_below_the_folder_sorted_by_posix_path(tmp_path: Path) -> None:
    for path in ("b.PNG", "a/z.Jpg", "a-b/y.tif", "a/x.webp", "a/b/c.bmp", "a/notes.txt", "B.jpeg"):
        picture(tmp_path / path)
    assert names(tmp_path) == ["B.jpeg", "a-b/y.tif", "a/b/c.bmp", "a/x.webp", "a/z.Jpg", "b.PNG"]
    assert list_images(tmp_path).skipped == ()


def test_equal_file_names_in_two_subfolders_are_two_images(tmp_path: Path) -> None:
    picture(tmp_path / "day/1.png")
    picture(tmp_path / "night/1.png")
    refs = list_images(tmp_path).refs
    assert [ref.name for ref in refs] == ["day/1.png", "night/1.png"]
    assert refs[0].file.is_file()


@pytest.mark.parametrize("name", ["two words.png", "Wärme ß.png", "two\nlines.png", "<b>&\"'.png", "a#1.png"])
def test_names_are_kept_as_they_are(tmp_path: Path, name: str) -> None:
    picture(tmp_path / name)
    assert names(tmp_path) == [name]


def test_a_name_with_a_closing_script_tag_is_a_folder_and_a_file(tmp_path: Path) -> None:
    picture(tmp_path / "<" / "script>.png")
    picture(tmp_path / "x</script>.png")  # "/" parts it: folder "x<", file "script>.png"
    assert names(tmp_path) == ["</script>.png", "x</script>.png"]


def test_a_name_that_no_table_could_hold_is_reported(tmp_path: Path) -> None:
    picture(tmp_path / "good.png")
    try:
        picture(Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.png")))
    except OSError:
        pytest.skip("this file system takes only valid names")
    found = list_images(tmp_path)
    assert [ref.name for ref in found.refs] == ["good.png"]
    assert found.skipped == (("bad\\udcff.png", "its name is not valid UTF-8; rename it"),)


def test_hidden_files_folders_and_workspaces_are_passed_over(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "._a.png")
    picture(tmp_path / ".cache/b.png")
    picture(tmp_path / "dinotool-workspace/exports/c.png")
    (tmp_path / "dinotool-workspace" / WORKSPACE_FILE).write_text("{}")
    found = list_images(tmp_path)
    assert [ref.name for ref in found.refs] == ["a.png"]
    assert found.skipped == (("dinotool-workspace", "a workspace"),)


def test_links_to_folders_are_followed_once_and_loops_never(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    picture(root / "z/real.png")
    picture(elsewhere / "linked.png")
    picture(tmp_path / "outside.png")
    (root / "a_link_to_z").symlink_to(root / "z")
    (root / "far").symlink_to(elsewhere)
    (root / "z/loop").symlink_to(root)
    (root / "out").symlink_to(tmp_path)
    (root / "self").symlink_to(root / "self")
    found = list_images(root)
    assert [ref.name for ref in found.refs] == ["far/linked.png", "z/real.png"]
    assert dict(found.skipped) == {
        "a_link_to_z": "a link to a folder that is listed already",
        "out": "a link to a folder above",
        "z/loop": "a link to a folder above",
    }


def test_many_links_to_each_other_end_soon(tmp_path: Path) -> None:
    folders = [tmp_path / f"{number:02d}" for number in range(20)]
    for folder in folders:
        picture(folder / "p.png")
        for other in folders:
            (folder / f"to{other.name}").symlink_to(other)
    assert len(list_images(tmp_path).refs) == 20  # followed along every path they would be 20!


def test_broken_links_and_pipes_are_reported_and_never_opened(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "pipe.tif")
    found = list_images(tmp_path)
    assert [ref.name for ref in found.refs] == ["a.png"]
    assert [path for path, _ in found.skipped] == ["broken.png", "loop.png", "pipe.tif"]
    assert "No such file" in found.skipped[0][1]
    assert found.skipped[2][1] == "not a regular file"


def test_an_unreadable_folder_is_reported_and_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "good/a.png")
    picture(tmp_path / "locked/b.png")
    scandir = os.scandir

    def refuse(path: Path) -> object:  # permissions do not stop the tests where they run as root
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(listing.os, "scandir", refuse)
    found = list_images(tmp_path)
    assert [ref.name for ref in found.refs] == ["good/a.png"]
    assert found.skipped == (("locked", "cannot be read (Permission denied)"),)
    with pytest.raises(ImageError, match=r"locked: cannot be read \(Permission denied\)"):
        list_images(tmp_path / "locked")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder.mkdir(), "no image found.*Give a folder that holds bmp, csq"),
        (lambda folder: None, "no such folder"),
        (lambda folder: folder.write_text("x"), "not a folder"),
        (
            lambda folder: (folder.mkdir(), (folder / WORKSPACE_FILE).touch()),
            r"no image found \(\.: a workspace",
        ),
    ],
)
def test_nothing_to_list_is_one_sentence(tmp_path: Path, make: object, says: str) -> None:
    make(tmp_path / "here")  # type: ignore[operator]
    with pytest.raises(ImageError, match=says) as caught:
        list_images(tmp_path / "here")
    assert "\n" not in str(caught.value)


def test_pages_of_one_shape_are_frames(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "many.tif", np.zeros((3, 5, 6), np.uint16), photometric="minisblack")
    tifffile.imwrite(tmp_path / "one.tiff", np.zeros((5, 6), np.uint16))
    refs = list_images(tmp_path).refs
    assert [ref.name for ref in refs] == ["many.tif#0", "many.tif#1", "many.tif#2", "one.tiff"]
    assert [ref.n_frames for ref in refs] == [3, 3, 3, 1]


def test_damaged_tiffs_are_listed_so_that_reading_can_name_them(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("not a picture")
    (tmp_path / "cut.tif").write_bytes(b"II*\0\x08\0\0\0\xff\xff")
    assert names(tmp_path) == ["cut.tif", "empty.tif", "text.tif"]
    assert capfd.readouterr() == ("", "")


def test_a_list_file_names_images_of_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("a.png", "sub/b.png", "noext", "c.png"):
        picture(root / name)
    picture(tmp_path / "outside.png")
    tifffile.imwrite(root / "many.tif", np.zeros((3, 5, 6), np.uint16), photometric="minisblack")
    wanted = tmp_path / "list.txt"
    lines = ["\ufeffsub/b.png", "", "noext", str(root / "a.png"), "a.png", "many.tif#1", "many.tif#7"]
    wanted.write_text("\n".join([*lines, "gone.png", "../outside.png", "sub"]), encoding="utf-8")
    found = list_images(root, list_file=wanted)
    assert [ref.name for ref in found.refs] == ["a.png", "many.tif#1", "noext", "sub/b.png"]
    reasons = dict(found.skipped)
    assert reasons.keys() == {"many.tif#7", "gone.png", "../outside.png", "sub"}
    assert reasons["many.tif#7"] == "has no frame 7"
    assert reasons["../outside.png"] == "lies outside the folder"


def test_a_list_file_with_nul_ends_can_name_anything(tmp_path: Path) -> None:
    picture(tmp_path / "two\nlines.png")
    picture(tmp_path / "other.png")
    wanted = tmp_path / "list"
    wanted.write_bytes(b"two\nlines.png\0")  # as `find -print0` writes it
    assert names(tmp_path, list_file=wanted) == ["two\nlines.png"]


@pytest.mark.parametrize("name", ["a\rb.png", "a\x0bb.png", "a\u2028b.png", "a\x85b.png", "a\r\nb.png"])
def test_names_of_a_list_end_where_lines_end_and_nowhere_else(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "plain.png").write_bytes(b"x")
    wanted = tmp_path / "list"
    wanted.write_bytes(f"{name}\0plain.png\0".encode())
    assert names(tmp_path, list_file=wanted) == sorted([name, "plain.png"])
    if "\n" not in name:
        wanted.write_bytes(f"{name}\r\nplain.png".encode())
        assert names(tmp_path, list_file=wanted) == sorted([name, "plain.png"])


def test_a_list_file_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "list.bin").write_bytes(b"\xff\xfe\x00")
    for wanted in (tmp_path / "gone.txt", tmp_path / "list.bin", tmp_path):
        with pytest.raises(ImageError, match="cannot be read as a list of images"):
            list_images(tmp_path, list_file=wanted)
