import os
import zipfile
from pathlib import Path

import pytest
import torch

from dinonat.errors import CheckpointError
from dinonat.models.catalog import build, load_network

TINY = build("vit_tiny", seed=0).state_dict()


def written(path: Path, content: object, **how: bool) -> str:
    torch.save(content, path, **how)
    return str(path)


def refused(path: Path, content: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_network(written(path, content))
    return str(caught.value)


class Runs:
    """What a hostile pickle holds: loading it would call os.mkdir."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path, old: bool) -> None:
    path = written(
        tmp_path / "evil.pth",
        {**TINY, "x": Runs(tmp_path / "ran")},
        _use_new_zipfile_serialization=not old,
    )
    with pytest.raises(CheckpointError, match=r"evil\.pth: holds \w+\.mkdir, which is code and not weights"):
        load_network(path)
    assert not (tmp_path / "ran").exists()


def test_other_things_in_a_file_are_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    assert "which is code" in refused(path, torch.nn.Linear(2, 2))
    assert "'epoch' is no tensor" in refused(path, TINY | {"epoch": 3})
    assert "'count' is no tensor" in refused(path, TINY | {"count": torch.ones(2, dtype=torch.int64)})
    assert "'norm.bias' is no tensor" in refused(path, TINY | {"norm.bias": torch.ones(1).expand(10**12)})
    assert "holds no state dict" in refused(path, [1, 2])
    assert "of no network known here; its first keys are a" in refused(path, {"a": torch.ones(2)})
    assert "100 channels, patches of 16 px" in refused(path, TINY | {"cls_token": torch.ones(1, 1, 100)})


def test_damaged_and_compressed_files_are_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pth"
    torch.save(TINY, whole)
    content = whole.read_bytes()
    torn = tmp_path / "torn.pth"
    for cut in (5, 300, len(content) // 2, len(content) - 100):
        torn.write_bytes(content[:cut])
        with pytest.raises(CheckpointError, match=r"not a file of torch\.save or a damaged one"):
            load_network(str(torn))
    packed = tmp_path / "packed.pth"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(CheckpointError, match="compressed"):
        load_network(str(packed))


def test_hostile_names_are_shortened_and_printable(tmp_path: Path) -> None:
    said = refused(tmp_path / "a.pth", TINY | {"\x1b[31m" + "x" * 10_000: torch.ones(1)})
    assert "\x1b" not in said
    assert len(said) < 500
