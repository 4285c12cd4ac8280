"""Weight files of others, opened without running anything that is in them: tensors by name, or an error."""

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dinonat.errors import CheckpointError

ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # how files of torch.save begin, new and old
WRAPPERS = ("teacher", "student", "model", "state_dict")  # under which training scripts store a network
PREFIXES = ("module.", "backbone.")  # of DistributedDataParallel and of DINO's wrapper, in that order
MODULES = r"[A-Za-z_][\w.]*"
NAMED = 3  # keys that a message names


def is_foreign(path: Path) -> bool:
    """Whether a file is one of torch.save, or safetensors without a word of this toolkit."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        start = stream.read(4)
    if start == ZIP or start[:1] == PICKLE:
        return True
    try:
        with safe_open(path, framework="pt") as file:
            return "dinonat" not in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False  # the reader of our own files says what is wrong with it


def read_foreign(path: Path) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a state dict by name, and under which word it was stored ("" = none).

    A file may hold the state dict itself or, as those of DINO's and DINOv2's training do, a mapping with
    it under "teacher", "student", "model" or "state_dict", the first of these that is there. "module."
    and "backbone." are taken off the names. Raises CheckpointError for anything else: damaged files, code
    and objects, entries that are no numbers, NaN and infinity.
    """
    content: Any = _unpickled(path) if path.open("rb").read(1) in (b"P", PICKLE) else _safe(path)
    word = next(
        (w for w in WRAPPERS if isinstance(content, Mapping) and isinstance(content.get(w), Mapping)), ""
    )
    entries = content[word] if word else content
    if not isinstance(entries, Mapping) or not entries:
        raise CheckpointError(f"{path}: holds no state dict; expected names with a tensor each.")
    for key, value in entries.items():
        if not isinstance(key, str) or not (_is_plain(value) or _is_count(key, value)):
            raise CheckpointError(
                f"{path}: entry {str(key)[:80]!r} is no tensor of floating-point numbers; "
                "expected a state dict (torch.save(model.state_dict(), FILE))."
            )
        refuse_infinite(path, key, value)
    return {_without_prefixes(key): value for key, value in entries.items()}, word


def refuse_infinite(path: Path, key: str, value: Tensor) -> None:
    """Raise CheckpointError for a weight that holds what is no number."""
    if not value.float().isfinite().all():  # as networks hold it: a large float64 is infinite too
        raise CheckpointError(
            f"{path}: entry {key[:80]!r} holds NaN or infinity, and so would every vector: the training "
            "that wrote it failed, or the file is damaged. Get another file."
        )


def _is_plain(value: object) -> bool:
    """Whether a value is a tensor of real numbers that all lie in memory."""
    return isinstance(value, Tensor) and value.is_floating_point() and _in_memory(value)


def _is_count(key: str, value: object) -> bool:
    """Whether a value is the count of batches that a BatchNorm keeps: networks hold no other whole number."""
    return (
        key.endswith(".num_batches_tracked")
        and isinstance(value, Tensor)
        and value.dtype == torch.int64
        and value.ndim == 0
        and _in_memory(value)
    )


def _in_memory(value: Tensor) -> bool:
    """Whether the numbers of a tensor all lie in memory, as many as its shape says."""
    return (
        value.layout == torch.strided
        and value.device.type == "cpu"
        and value.untyped_storage().nbytes() >= value.numel() * value.element_size()
    )


def _without_prefixes(key: str) -> str:
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    return key


def _safe(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict


def _unpickled(path: Path) -> Any:
    """Load a file of torch.save: tensors, plain containers and the options of an argparse, nothing else."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise CheckpointError(f"{path}: a compressed archive; torch.save writes none.")
    try:
        # DINO's training script stores its options beside the networks: an argparse.Namespace runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(rf"GLOBAL ({MODULES})", str(error))
        raise CheckpointError(
            f"{path}: holds {named[1] if named else 'objects'}, which is code and not weights; nothing of "
            "it was run. Get a file that holds tensors alone (torch.save(model.state_dict(), FILE))."
        ) from error
    except Exception as error:  # a hostile or torn pickle can raise anything
        raise CheckpointError(f"{path}: not a file of torch.save or a damaged one.") from error


def compare(
    path: Path, what: str, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, Tensor]
) -> None:
    """Raise CheckpointError with the first few keys that are missing, left over or of another shape.

    ``wanted`` are the shapes that ``what`` has.
    """
    missing = [key for key in wanted if key not in found]
    extra = [key for key in found if key not in wanted]
    other = [
        f"{key}: expected {wanted[key]}, got {tuple(found[key].shape)}"
        for key in wanted
        if key in found and tuple(found[key].shape) != wanted[key]
    ]
    parts = [
        f"{len(keys)} {what} ({some(keys)})"
        for what, keys in (("missing", missing), ("not of it", extra), ("of another shape", other))
        if keys
    ]
    if parts:
        raise CheckpointError(f"{path}: not {what}: {', '.join(parts)}.")


def some(keys: list[str]) -> str:
    """Name the first few keys, shortened: they come from a file that nobody has vouched for."""
    more = [f"and {len(keys) - NAMED} more"] if len(keys) > NAMED else []
    return ", ".join([*(repr(key[:80])[1:-1] for key in keys[:NAMED]), *more])
