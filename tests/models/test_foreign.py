import os
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dinonat.errors import CheckpointError
from dinonat.models.catalog import build, load_network
from dinonat.models.foreign import read_foreign

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


COUNT = "a.num_batches_tracked"


@pytest.mark.parametrize(
    "count",
    [
        torch.tensor(3, device="meta"),
        torch.tensor(3).to_sparse(),
        torch.tensor([3]),
        torch.tensor(3, dtype=torch.int32),
        3,
    ],
    ids=["meta", "sparse", "row", "int32", "no tensor"],
)
def test_a_count_of_batches_is_one_whole_number_in_memory(tmp_path: Path, count: object) -> None:
    assert read_foreign(Path(written(tmp_path / "a.pth", {COUNT: torch.tensor(3)})))[0][COUNT] == 3
    assert f"'{COUNT}' is no tensor" in refused(tmp_path / "b.pth", TINY | {COUNT: count})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float8_e5m2])
def test_numbers_that_are_none_are_refused_by_the_first_name(
    bad: float, dtype: torch.dtype, tmp_path: Path
) -> None:
    state = {key: value.to(dtype) for key, value in TINY.items()}
    read_foreign(Path(written(tmp_path / "whole.pth", state)))
    for key in ("norm.weight", "norm.bias"):
        state[key] = TINY[key].clone().index_fill(0, torch.tensor(7), bad).to(dtype)
    assert "'norm.weight' holds NaN or infinity" in refused(tmp_path / "a.pth", state)
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"'norm\.\w+' holds NaN or infinity"):
        load_network(str(tmp_path / "a.safetensors"))


def test_numbers_too_large_for_a_network_are_infinite(tmp_path: Path) -> None:
    large = TINY["norm.bias"].double() + 1e300
    assert "'norm.bias' holds NaN or infinity" in refused(tmp_path / "a.pth", TINY | {"norm.bias": large})


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
