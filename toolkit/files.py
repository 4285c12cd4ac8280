"""Write files whole or not at all: temporary name, fsync, rename."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from dinonat.errors import WorkspaceError


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write`` with a temporary file beside ``path`` and rename it into place.

    After a kill at any moment ``path`` is either the old file or the new one, never a part.
    Raises WorkspaceError when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise WorkspaceError(
            f"{path}: cannot be written ({error.strerror or error}). Free some space or give another "
            "folder with -w; what was finished before is kept, so the same command goes on."
        ) from error
    finally:  # after Ctrl-C too; where the rename came first there is nothing left to remove
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all."""
    write_whole(path, lambda stream: stream.write(data))


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as readable JSON with sorted keys; NaN and infinity are refused."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes(path, text.encode() + b"\n")


def short_hash(*parts: object) -> str:
    """Return 12 hexadecimal digits that name ``parts``: equal parts, equal name.

    Parts are compared by their JSON with sorted keys; paths as text.
    """
    text = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
