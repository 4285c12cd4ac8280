"""The commands of dinotool. Each body loads its stage when it runs, so that help needs no torch."""

import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from dinonat.pipelines.cli_agreement import agreement
from dinonat.pipelines.cli_bench import bench_app
from dinonat.pipelines.cli_evaluate import evaluate_app
from dinonat.pipelines.cli_map import map_set
from dinonat.pipelines.cli_review import review
from dinonat.pipelines.cli_select import select
from dinonat.pipelines.options import (
    FAILED,
    WORKSPACE,
    Again,
    Config,
    Debug,
    Json,
    Overrides,
    PairOffset,
    Seed,
    SetName,
    Strict,
    Threads,
    Workspace,
    sentences,
    show,
)

Labels = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Labels: CSV, any format of export, folder per class.")
]
Neighbours = Annotated[int | None, typer.Option(help="How many labelled neighbours vote (default 20).")]
Object = Annotated[
    str | None, typer.Option("--object", help="Replaces the camera's: emissivity=0.95,distance=10.")
]
Scale = Annotated[str | None, typer.Option(help="What one count is, if files do not say: 0.04K or 0.1C.")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From thermal images without labels to annotation files that a person can correct.",
)


def main() -> None:
    """Run the command line."""
    # OpenMP threads that spin while they wait are ten times slower as soon as any other program is busy;
    # it must be said before torch loads. A user's own setting stays.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
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
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of images without labels.")] = None,
    minutes: Annotated[float | None, typer.Option(help="How long, about (default 30).")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the images, instead of minutes.")] = None,
    network: Annotated[str | None, typer.Option(help="Which, or timm:NAME (default nat_nano).")] = None,
    init: Annotated[
        str | None, typer.Option(metavar="FILE|RUN", help="Weights to begin with (default: starter).")
    ] = None,
    from_scratch: Annotated[
        bool | None, typer.Option("--from-scratch", help="Begin with weights by chance.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="plain (default), or thermal: late views look thermal.")
    ] = None,
    pairs: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="RGB THERMAL", help="Folders of aligned images: each light teaches the other."),
    ] = None,
    pair_offset: PairOffset = None,
    dense: Annotated[float | None, typer.Option(help="Weight of a loss between regions (default 0).")] = None,
    monitor: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Images in class folders, to judge by.")
    ] = None,
    open_: Annotated[
        bool | None, typer.Option("--open", help="No fixed end: --resume goes on as long as there is time.")
    ] = None,
    cool_down: Annotated[
        bool | None, typer.Option("--cool-down", help="End a run of --open well (with --resume).")
    ] = None,
    check: Annotated[
        bool | None, typer.Option("--check", help="Learn one batch, say time and memory, make no run.")
    ] = None,
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
    """Train a network on images without labels.

    DINO on a Neighborhood Attention Transformer, by default for half an hour on two CPU cores, from the
    starter weights. Under torchrun several processes train together.
    """
    with sentences(debug):
        from dinonat.pipelines.pretrain import run
        from dinonat.pipelines.pretrain_settings import PretrainSettings

        named = {
            "folders": folders,
            "minutes": minutes,
            "epochs": epochs,
            "network": network,
            "init": init,
            "from_scratch": from_scratch,
            "profile": profile,
            "pairs": pairs,
            "pair_offset": pair_offset,
            "dense": dense,
            "monitor": monitor,
            "schedule": "open" if open_ else None,
            "cool_down": cool_down,
            "check": check,
            "resume": resume,
            "seed": seed,
            "threads": threads,
            "again": again,
        }
        settings = PretrainSettings.resolve(config=config, overrides=set_ or (), named=named)
        report = run(settings, workspace)
        if os.environ.get("RANK", "0") == "0":  # of the processes of torchrun one speaks
            show(report, json)


@app.command()
def embed(
    images: Annotated[Path | None, typer.Argument(help="Folder of images.")] = None,
    list_file: Annotated[Path | None, typer.Option("--list", help="Text file, an image a line.")] = None,
    regions: Annotated[Path | None, typer.Option(help="Embed these boxes (COCO or CSV).")] = None,
    recordings: Annotated[Path | None, typer.Option(help="CSV image,recording.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the set (default: of the folder).")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Run, starter, FILE, timm:NAME=FILE, untrained:SEED (default: newest).")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Shorter side in pixels (default 224).")] = None,
    saliency: Annotated[
        str | None,
        typer.Option(
            help="ncut+attention (default; or with +split), ncut, attention, rarity, contrast, none."
        ),
    ] = None,
    prepare: Annotated[
        str | None, typer.Option(help="percentile (default), recording, dataset, window=LO:HI or clahe.")
    ] = None,
    scale: Scale = None,
    object_: Object = None,
    threads: Threads = None,
    again: Again = None,
    strict: Strict = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Turn images and their regions into vectors.

    A set that was stopped goes on where it was.
    """
    with sentences(debug):
        from dinonat.pipelines.embed import EmbedSettings, run

        named = {
            "images": images,
            "list_file": list_file,
            "regions": regions,
            "recordings": recordings,
            "name": name,
            "weights": weights,
            "size": size,
            "saliency": saliency,
            "prepare": prepare,
            "scale": scale,
            "object": object_,
            "threads": threads,
            "again": again,
            "strict": strict,
        }
        settings = EmbedSettings.resolve(config=config, overrides=set_ or (), named=named)
        report = run(settings, workspace)
        show(report, json)
        if settings.strict and report.failed:
            raise typer.Exit(FAILED)


@app.command()
def inspect(
    folder: Annotated[Path | None, typer.Argument(help="Folder of images.")] = None,
    rgb: Annotated[Path | None, typer.Option(help="Folder of colour images of the same moments.")] = None,
    list_file: Annotated[Path | None, typer.Option("--list", help="Text file, an image a line.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the inspection (default: of the folder).")] = None,
    scale: Scale = None,
    object_: Object = None,
    gap: Annotated[
        int | None, typer.Option(help="Jump of the number in names that parts recordings.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that read (default: one a core).")] = None,
    again: Again = None,
    strict: Strict = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a folder holds and what is odd.

    Formats, units, defects, duplicates, recordings and twins: a table and a page with pictures.
    """
    with sentences(debug):
        from dinonat.pipelines.inspection import InspectSettings, run

        named = {
            "folder": folder,
            "rgb": rgb,
            "list_file": list_file,
            "name": name,
            "scale": scale,
            "object": object_,
            "gap": gap,
            "workers": workers,
            "again": again,
            "strict": strict,
        }
        settings = InspectSettings.resolve(config=config, overrides=set_ or (), named=named)
        report = run(settings, workspace)
        show(report, json)
        if settings.strict and report.failed:
            raise typer.Exit(FAILED)


@app.command("propose-labels")
def propose_labels(
    set_name: SetName = None,
    labels: Labels = None,
    method: Annotated[
        str | None, typer.Option(help="auto (default), vote, diffuse, linear or joint: all three.")
    ] = None,
    k: Neighbours = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of the vote (default: what the labels favour).")
    ] = None,
    features: Annotated[str | None, typer.Option(help="auto (default), or like grid=0.7,hog=1.")] = None,
    precision: Annotated[
        float | None, typer.Option(help="Of what an audit lets be accepted (default 0.95).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run (default: a hash).")] = None,
    seed: Seed = None,
    again: Again = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Propose labels for all from a few labels.

    Each has a score and a reason, or is left unknown. Without labels: clusters.
    """
    with sentences(debug):
        from dinonat.pipelines.propose import ProposeSettings, run

        named = {
            "set": set_name,
            "labels": labels,
            "method": method,
            "k": k,
            "temperature": temperature,
            "features": features,
            "precision": precision,
            "name": name,
            "seed": seed,
            "again": again,
        }
        settings = ProposeSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run(settings, workspace), json)


app.command()(select)
app.command()(review)


@app.command()
def export(
    proposals: Annotated[str | None, typer.Option(metavar="RUN", help="Default: the newest.")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="coco (default), yolo, voc, cvat, label-studio, csv, ...")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder (default: in the workspace).")] = None,
    status: Annotated[str | None, typer.Option(help="Only labels of this status.")] = None,
    where: Annotated[str | None, typer.Option(help="Only labels with, say, score > 0.8.")] = None,
    only: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only the images named in this file.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="train=0.8,val=0.2: whole recordings to one side.")
    ] = None,
    proxies: Annotated[
        bool | None, typer.Option("--proxies", help="Write 8-bit pictures for tools that need them.")
    ] = None,
    copies: Annotated[
        bool | None, typer.Option("--copies", help="Copy the pictures: a data set of its own.")
    ] = None,
    masks: Annotated[str | None, typer.Option(help="auto (default), polygon or rle.")] = None,
    category_base: Annotated[int | None, typer.Option(help="Number of the first class: 1 or 0.")] = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write labels as an annotation file.

    For the tool in which a person corrects them. What is rejected or unknown stays out.
    """
    with sentences(debug):
        from dinonat.pipelines.export import run
        from dinonat.pipelines.export_settings import ExportSettings

        named = {
            "proposals": proposals,
            "format": format_,
            "out": out,
            "status": status,
            "where": where,
            "only": only,
            "split": split,
            "proxies": proxies,
            "copies": copies,
            "masks": masks,
            "category_base": category_base,
        }
        settings = ExportSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run(settings, workspace), json)


@app.command("import-labels")
def import_labels(
    file: Annotated[Path | None, typer.Argument(help="Corrected export, zip, CSV, folder.")] = None,
    set_name: Annotated[str | None, typer.Option("--set-name", help="Set (default: newest).")] = None,
    export: Annotated[
        str | None, typer.Option(metavar="NAME", help="The export that was corrected (default: found out).")
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="Of the file (default: by its content).")
    ] = None,
    accept: Annotated[
        str | None,
        typer.Option(help="Unchanged labels to accept: of images that were touched (default), or all."),
    ] = None,
    who: Annotated[str | None, typer.Option(help="Who did it (default: the account).")] = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring corrected labels back.

    Says what was kept, changed, removed and new; the next propose-labels learns from it.
    """
    with sentences(debug):
        from dinonat.pipelines.import_labels import ImportSettings, run

        named = {
            "file": file,
            "set": set_name,
            "export": export,
            "format": format_,
            "accept": accept,
            "who": who,
        }
        settings = ImportSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run(settings, workspace), json)


@app.command()
def validate(
    file: Annotated[Path | None, typer.Argument(help="File of labels, folder or zip.")] = None,
    target: Annotated[
        str | None, typer.Option("--for", help="Tool: coco, cvat, label-studio, yolo, voc, datumaro, ...")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the images.")] = None,
    category_base: Annotated[int | None, typer.Option(help="Number of the first class: 1 or 0.")] = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,  # as every command; nothing is read or left there
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find what a tool would refuse in a file.

    Each fault with its place and its mend, in files of whoever made them; exit code 1 where there are any.
    """
    with sentences(debug):
        from dinonat.pipelines.validate import ValidateSettings, run

        named = {"file": file, "target": target, "images": images, "category_base": category_base}
        settings = ValidateSettings.resolve(config=config, overrides=set_ or (), named=named)
        report = run(settings)
        show(report, json)
        if report.faults:
            raise typer.Exit(FAILED)


app.command("map")(map_set)
app.command()(agreement)
app.add_typer(evaluate_app, name="evaluate")


app.add_typer(bench_app, name="bench")


@app.command("run")
def run_chain(
    images: Annotated[Path | None, typer.Argument(help="Folder of thermal images.")] = None,
    rgb: Annotated[list[Path] | None, typer.Option(help="Colour images to learn from (repeatable).")] = None,
    labels: Labels = None,
    demo: Annotated[bool | None, typer.Option("--demo", help="Draw scenes and run on them.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Of pretraining (default 30; demo 1.5).")] = None,
    weights: Annotated[str | None, typer.Option(help="Run, file or starter: no pretraining.")] = None,
    k: Neighbours = None,
    seed: Seed = None,
    threads: Threads = None,
    again: Again = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Run the whole chain, ending with a page.

    pretrain, embed, propose-labels, export; what is done already is not redone.
    """
    with sentences(debug):
        from dinonat.pipelines.run import RunSettings, run

        named = {
            "images": images,
            "rgb": rgb,
            "labels": labels,
            "demo": demo,
            "minutes": minutes,
            "weights": weights,
            "k": k,
            "seed": seed,
            "threads": threads,
            "again": again,
        }
        settings = RunSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run(settings, workspace), json)


@app.command()
def doctor(workspace: Workspace = WORKSPACE, json: Json = False, debug: Debug = False) -> None:
    """Say what this machine has and lacks."""
    with sentences(debug):
        from dinonat.pipelines.doctor import run

        report = run(workspace)
        show(report, json)
        if not report.healthy:
            raise typer.Exit(FAILED)
