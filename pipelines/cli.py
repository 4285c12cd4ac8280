"""The commands of dinotool. Each body loads its stage when it runs, so that help needs no torch."""

import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from dinonat.pipelines.options import (
    FAILED,
    WORKSPACE,
    Again,
    Config,
    Debug,
    Json,
    Overrides,
    Seed,
    Threads,
    Workspace,
    sentences,
    show,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From thermal images without labels to annotation files that a person can correct.",
)
evaluate_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Measure vectors and boxes against labels."
)


def main() -> None:
    """Run the command line."""
    app(prog_name=Path(sys.argv[0]).name if sys.argv[0].endswith(("dinotool", "dinonat")) else "dinotool")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"dinotool (dinonat {metadata.version('dinonat')})")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """From thermal images without labels to annotation files that a person can correct."""


@app.command()
def pretrain(
    folders: Annotated[list[Path], typer.Argument(help="Folders of images without labels.")],
    minutes: Annotated[float | None, typer.Option(help="How long, about (default 30).")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the images, instead of minutes.")] = None,
    network: Annotated[str | None, typer.Option(help="Which network (default nat_nano).")] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Go on with this run for longer.")] = None,
    seed: Seed = None,
    threads: Threads = None,
    again: Again = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a network on images without labels (DINO on a Neighborhood Attention Transformer)."""
    with sentences(debug):
        from dinonat.pipelines.pretrain import PretrainSettings, run

        named = {
            "folders": folders,
            "minutes": minutes,
            "epochs": epochs,
            "network": network,
            "resume": resume,
            "seed": seed,
            "threads": threads,
            "again": again,
        }
        settings = PretrainSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run(settings, workspace), json)


@app.command()
def doctor(workspace: Workspace = WORKSPACE, json: Json = False, debug: Debug = False) -> None:
    """Say what this machine has for dinotool, and what to do where something is wrong."""
    with sentences(debug):
        from dinonat.pipelines.doctor import run

        report = run(workspace)
        show(report, json)
        if not report.healthy:
            raise typer.Exit(FAILED)
