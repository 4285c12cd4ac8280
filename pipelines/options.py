"""What every command shares: its common options, how it shows a result, how it says an error."""

import dataclasses
import json
import math
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol

import typer

from dinonat.errors import DinonatError, UsageError
from dinonat.pipelines.progress import say
from dinonat.pipelines.workspace import DEFAULT_ROOT

FAILED, WRONG_USAGE, STOPPED = 1, 2, 130

Workspace = Annotated[
    Path,
    typer.Option(
        "--workspace", "-w", envvar="DINOTOOL_WORKSPACE", help="Where commands keep things for each other."
    ),
]
Config = Annotated[
    str | None,
    typer.Option("--config", "-c", metavar="NAME|FILE", help="A preset or a YAML file of differences."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other setting; may be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Again = Annotated[bool | None, typer.Option("--again", help="Redo what is already done.")]
Strict = Annotated[bool | None, typer.Option("--strict", help="Exit with 1 if any input failed.")]
Seed = Annotated[int | None, typer.Option(help="Everything random follows from it.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; another number gives other last digits.")]

PairOffset = Annotated[
    str | None, typer.Option(metavar="DX,DY", help="Of the thermal picture, in pixels of the colour one.")
]
SetName = Annotated[str | None, typer.Argument(metavar="[SET]", help="Set of embeddings (default: newest).")]
Temperature = Annotated[float | None, typer.Option(help="Of the vote (default 0.07).")]

WORKSPACE = DEFAULT_ROOT


class Report(Protocol):
    """What a command returns: a frozen dataclass that can say itself in a few lines."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def lines(self) -> list[str]:
        """Text for people, the most important line last."""
        ...


def show(report: Report, as_json: bool) -> None:
    """Print a report to stdout: its lines, or one JSON object."""
    if as_json:
        print(json.dumps(plain(dataclasses.asdict(report)), ensure_ascii=False, allow_nan=False))
    else:
        print("\n".join(report.lines()))


def plain(value: Any) -> Any:
    """Return ``value`` as JSON can hold it: paths as text, NaN and infinity as null.

    >>> plain({"a": float("nan"), "b": (Path("x/y"), 1)})
    {'a': None, 'b': ['x/y', 1]}
    """
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    return plain(value.item()) if hasattr(value, "item") else str(value)  # NumPy scalars; paths


@contextmanager
def sentences(debug: bool) -> Iterator[None]:
    """Turn an error into one sentence on stderr and the exit code that belongs to it."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        say("Stopped. What was finished is kept: the same command goes on from there.")
        raise typer.Exit(STOPPED) from None
    except Exception as error:
        if debug:
            traceback.print_exc(file=sys.stderr)
        else:
            say(f"dinotool: {sentence(error)}")
        raise typer.Exit(WRONG_USAGE if isinstance(error, UsageError) else FAILED) from None


def sentence(error: Exception) -> str:
    """Say an error in one line: ours as it is, the system's with its file, anything else as a defect."""
    if isinstance(error, DinonatError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}. What was finished before is kept, so the same command goes on."
    said = " ".join(str(error).split()) or "no message"
    return (
        f"{type(error).__name__}: {said}. This is a defect of dinotool: run the command again with "
        "--debug and report what it prints."
    )
