"""The workspace folder: where commands leave things for each other, and which one came last."""

import json
from pathlib import Path
from typing import Literal

from dinonat.errors import UsageError, WorkspaceError
from dinonat.files import write_json
from dinonat.records import STARTER

Kind = Literal["weights", "set", "proposals", "export", "inspection", "agreement", "selection", "map"]

MARKER = "dinotool-workspace.json"  # a listing of images never descends into a folder that holds it
LATEST = "latest.json"
DEFAULT_ROOT = Path("dinotool-workspace")
VERSION = 1

FOLDERS: dict[Kind, str] = {
    "weights": "weights",
    "set": "embeddings",
    "proposals": "proposals",
    "export": "exports",
    "inspection": "inspections",
    "agreement": "agreements",
    "map": "maps",
    "selection": "selections",
}
WORDS: dict[Kind, str] = {
    "weights": "pretraining run",
    "set": "set of embeddings",
    "proposals": "run of proposals",
    "export": "export",
    "inspection": "inspection",
    "agreement": "measure of agreement",
    "map": "map",
    "selection": "selection",
}
MADE_BY: dict[Kind, str] = {
    "weights": "dinotool pretrain FOLDER",
    "set": "dinotool embed FOLDER",
    "proposals": "dinotool propose-labels",
    "export": "dinotool export",
    "inspection": "dinotool inspect FOLDER",
    "agreement": "dinotool agreement RGB THERMAL",
    "map": "dinotool map",
    "selection": "dinotool select",
}


def create(root: Path) -> Path:
    """Make ``root`` a workspace (or leave it one) and return it.

    Raises WorkspaceError when ``root`` is a file, cannot be written, or was made by a newer dinotool.
    """
    marker = root / MARKER
    if marker.is_file():
        check_version(marker)
        return root
    if root.exists() and not root.is_dir():
        raise WorkspaceError(f"{root}: a file, not a folder. Give another workspace with -w FOLDER.")
    write_json(marker, {"version": VERSION})
    return root


def check_version(marker: Path) -> None:
    """Refuse a workspace whose marker is unreadable or newer than this dinotool."""
    version = read_object(marker).get("version")
    if version != VERSION:
        raise WorkspaceError(
            f"{marker}: workspace version {version!r}, but this dinotool reads {VERSION}. "
            "Update dinotool or give another folder with -w."
        )


def read_object(path: Path) -> dict[str, object]:
    """Read a JSON object that the workspace wrote; raise WorkspaceError where it is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WorkspaceError(
            f"{path}: cannot be read ({error}). Delete this one file and run the command again."
        ) from error
    if not isinstance(value, dict):
        raise WorkspaceError(f"{path}: not a JSON object. Delete this one file and run the command again.")
    return value


def folder(root: Path, kind: Kind, name: str) -> Path:
    """Return the folder of the run or set ``name``; raise UsageError for a name that is a path."""
    if not name or name.startswith(".") or any(sign in name for sign in "/\\\0"):
        raise UsageError(f"Name {name!r}: give a plain name without slashes that does not start with a dot.")
    return root / FOLDERS[kind] / name


def weights_folder(root: Path, run: str) -> Path:
    """Folder of one pretraining run."""
    return folder(root, "weights", run)


def set_folder(root: Path, name: str) -> Path:
    """Folder of one embedded set."""
    return folder(root, "set", name)


def proposals_folder(root: Path, run: str) -> Path:
    """Folder of one run of proposals."""
    return folder(root, "proposals", run)


def exports_folder(root: Path, name: str) -> Path:
    """Folder of one export."""
    return folder(root, "export", name)


def inspections_folder(root: Path, name: str) -> Path:
    """Folder of what was found about one folder of images."""
    return folder(root, "inspection", name)


def agreements_folder(root: Path, name: str) -> Path:
    """Folder of what was found about the agreement of two folders."""
    return folder(root, "agreement", name)


def selections_folder(root: Path, name: str) -> Path:
    """Folder of images that were chosen to be labelled, or of an audit."""
    return folder(root, "selection", name)


def rounds_folder(root: Path, name: str) -> Path:
    """Folder of the rounds of labelling that were played on a set."""
    return root / "rounds" / name


def names(root: Path, kind: Kind) -> list[str]:
    """Names of what lies in the workspace, sorted."""
    parent = root / FOLDERS[kind]
    if not parent.is_dir():
        return []
    return sorted(entry.name for entry in parent.iterdir() if entry.is_dir() and entry.name[0] != ".")


def remember(root: Path, kind: Kind, name: str) -> None:
    """Write down that ``name`` is what the next command takes when it is told nothing."""
    latest = root / LATEST
    known = read_object(latest) if latest.is_file() else {}
    if known.get(kind) != name:
        write_json(latest, {**known, kind: name})


def newest(root: Path, kind: Kind) -> str:
    """Return the name that was last remembered; raise WorkspaceError with the command that makes one."""
    name = _remembered(root, kind)
    if name is None:
        raise WorkspaceError(
            f"{root}: no {WORDS[kind]} here yet. Run `{MADE_BY[kind]}` first, or give the workspace "
            "that has one with -w FOLDER."
        )
    return chosen(root, kind, name)


def newest_weights(root: Path) -> tuple[str, str]:
    """Return the newest pretraining run that has ended, else STARTER, and a sentence that says which.

    Where the run's monitor found it worse than the weights it began with, these.
    """
    if _remembered(root, "weights") is not None:
        name = newest(root, "weights")
        better = better_weights(root, name)
        if better is not None:
            return better, f"Run {name} ended worse than it began, by its monitor: taking {better} instead."
        return name, f"Taking the newest weights of the workspace, {name}."
    begun = ", ".join(names(root, "weights"))
    still = f" (begun: {begun}; the same `dinotool pretrain` goes on with it)" if begun else ""
    return (
        STARTER,
        f"{root}: no pretraining run has ended here{still}. Taking the starter weights of dinotool.",
    )


def weights_file(root: Path, asked: str) -> str:
    """Return what ``load_network`` takes for weights as a user names them: of a run its file, else as asked.

    Raises WorkspaceError for a run that is not here.
    """
    if asked == STARTER or ":" in asked or "/" in asked or Path(asked).is_file():
        return asked
    return str(weights_folder(root, chosen(root, "weights", asked)) / "teacher.safetensors")


def better_weights(root: Path, run: str) -> str | None:
    """Return the weights that a run began with, where its monitor found them better than what it made."""
    path = weights_folder(root, run) / "report.json"
    better = read_object(path).get("better") if path.is_file() else None
    return better if isinstance(better, str) else None


def _remembered(root: Path, kind: Kind) -> str | None:
    latest = root / LATEST
    name = read_object(latest).get(kind) if latest.is_file() else None
    return name if isinstance(name, str) else None


def chosen(root: Path, kind: Kind, name: str | None) -> str:
    """Return ``name`` if it lies in the workspace, or the newest where it is None.

    Raises WorkspaceError that lists what is there.
    """
    if name is None:
        return newest(root, kind)
    if not folder(root, kind, name).is_dir():
        there = ", ".join(names(root, kind)) or "none"
        raise WorkspaceError(
            f"{root}: no {WORDS[kind]} called '{name}' (there: {there}). "
            f"Name one of these or run `{MADE_BY[kind]}`."
        )
    return name
