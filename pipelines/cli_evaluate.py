"""The commands of `dinotool evaluate`: what vectors, boxes and proposals are worth, measured on labels."""

from pathlib import Path
from typing import Annotated

import typer

from dinonat.pipelines.options import (
    WORKSPACE,
    Again,
    Config,
    Debug,
    Json,
    Overrides,
    Seed,
    SetName,
    Temperature,
    Threads,
    Workspace,
    sentences,
    show,
)

evaluate_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Measure vectors, boxes and proposals against labels."
)


@evaluate_app.command("knn")
def evaluate_knn(
    gallery: Annotated[
        str | None, typer.Option(metavar="SET", help="Whose items are neighbours (default: newest).")
    ] = None,
    query: Annotated[
        str | None, typer.Option(metavar="SET", help="What is classified (default: the gallery).")
    ] = None,
    labels: Annotated[list[Path] | None, typer.Option(help="Label files (default: folder names).")] = None,
    leave_out: Annotated[str | None, typer.Option(help="recording, image or none.")] = None,
    kind: Annotated[str | None, typer.Option(help="image or region.")] = None,
    k: Annotated[list[int] | None, typer.Option(help="Neighbours that vote (default 5 and 20).")] = None,
    temperature: Temperature = None,
    features: Annotated[list[str] | None, typer.Option(help="Vectors to compare: grid=0.7,hog=1.")] = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Classify by nearest neighbours, and count.

    Top-1 and balanced accuracy for the network's vectors and the hand-made ones, beside majority and
    chance.
    """
    with sentences(debug):
        from dinonat.pipelines.evaluate import EvaluateKnnSettings, run_knn

        named = {
            "gallery": gallery,
            "query": query,
            "labels": labels,
            "leave_out": leave_out,
            "kind": kind,
            "k": k,
            "temperature": temperature,
            "features": features,
        }
        settings = EvaluateKnnSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run_knn(settings, workspace), json)


@evaluate_app.command("linear")
def evaluate_linear(
    gallery: Annotated[
        str | None, typer.Option(metavar="SET", help="Whose items are learned (default: newest).")
    ] = None,
    query: Annotated[
        str | None, typer.Option(metavar="SET", help="What is classified (default: the gallery).")
    ] = None,
    labels: Annotated[list[Path] | None, typer.Option(help="Label files (default: folder names).")] = None,
    leave_out: Annotated[str | None, typer.Option(help="recording, image or none.")] = None,
    kind: Annotated[str | None, typer.Option(help="image or region.")] = None,
    features: Annotated[list[str] | None, typer.Option(help="Vectors to compare: grid=0.7,hog=1.")] = None,
    balanced: Annotated[
        bool | None, typer.Option("--balanced", help="Weigh classes as if all had as many items.")
    ] = None,
    augmented: Annotated[
        bool | None, typer.Option("--augmented", help="Learn from images, augmented anew in each epoch.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Of the network for --augmented (default: the set's).")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Of augmented images (default: see --minutes).")] = None,
    minutes: Annotated[float | None, typer.Option(help="At most 100 epochs in about this (30).")] = None,
    seed: Seed = None,
    threads: Threads = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Classify by a linear layer, and count.

    On stored vectors in seconds, or as in the paper: the network is frozen, each image augmented anew, and
    only the classifier learns.
    """
    with sentences(debug):
        from dinonat.pipelines.evaluate_linear import EvaluateLinearSettings, run

        named = {
            "gallery": gallery,
            "query": query,
            "labels": labels,
            "leave_out": leave_out,
            "kind": kind,
            "features": features,
            "balanced": balanced,
            "augmented": augmented,
            "weights": weights,
            "epochs": epochs,
            "minutes": minutes,
            "seed": seed,
            "threads": threads,
        }
        settings = EvaluateLinearSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run(settings, workspace), json)


@evaluate_app.command("regions")
def evaluate_regions(
    gallery: Annotated[
        Path | None, typer.Argument(metavar="GALLERY", help="Folder whose labelled items are neighbours.")
    ] = None,
    query: Annotated[
        Path | None, typer.Argument(metavar="QUERY", help="Folder that is classified (default: GALLERY).")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Boxes (COCO, CSV), or whole pictures (CSV, folders).")
    ] = None,
    query_labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of QUERY (default: the same file).")
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="As `embed` takes them; repeat to compare (default: newest).")
    ] = None,
    gallery_list: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Which images of GALLERY, a path a line.")
    ] = None,
    query_list: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Which images are classified.")
    ] = None,
    recordings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV image,recording (default: recordings.csv).")
    ] = None,
    leave_out: Annotated[
        str | None, typer.Option(help="recording (default where known), image or none.")
    ] = None,
    k: Annotated[list[int] | None, typer.Option(help="Neighbours that vote (default 5 and 20).")] = None,
    features: Annotated[list[str] | None, typer.Option(help="Vectors to compare: grid=0.7,hog=1.")] = None,
    prepare: Annotated[str | None, typer.Option(help="As `embed` takes it (default percentile).")] = None,
    threads: Threads = None,
    again: Again = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Judge networks by labelled boxes or pictures.

    Embeds what is labelled in GALLERY and QUERY, tells it apart by nearest neighbours, and sets each network
    beside HOG and raw pixels, with paired intervals of the differences.
    """
    with sentences(debug):
        from dinonat.pipelines.evaluate_regions import run
        from dinonat.pipelines.regions_settings import EvaluateRegionsSettings

        named = {
            "gallery": gallery,
            "query": query,
            "labels": labels,
            "query_labels": query_labels,
            "weights": weights,
            "gallery_list": gallery_list,
            "query_list": query_list,
            "recordings": recordings,
            "leave_out": leave_out,
            "k": k,
            "features": features,
            "prepare": prepare,
            "threads": threads,
            "again": again,
        }
        settings = EvaluateRegionsSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run(settings, workspace), json)


@evaluate_app.command("boxes")
def evaluate_boxes(
    set_name: SetName = None,
    labels: Annotated[Path | None, typer.Option(metavar="FILE", help="True boxes: COCO or CSV.")] = None,
    max_boxes: Annotated[int | None, typer.Option(help="In each image (default 30).")] = None,
    seed: Seed = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare boxes with true ones and baselines.

    Recall at IoU 0.5, beside a regular grid, random boxes and hot blobs.
    """
    with sentences(debug):
        from dinonat.pipelines.evaluate import EvaluateBoxesSettings, run_boxes

        named = {"set": set_name, "labels": labels, "max_boxes": max_boxes, "seed": seed}
        settings = EvaluateBoxesSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run_boxes(settings, workspace), json)


@evaluate_app.command("proposals")
def evaluate_proposals(
    run_name: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Run of proposals (default: newest).")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="True labels, as import-labels reads them, or a CSV.")
    ] = None,
    audit: Annotated[
        int | None, typer.Option(help="Items of the audits that are tried on paper (100).")
    ] = None,
    rounds: Annotated[
        list[int] | None, typer.Option(help="No run: label so many images, propose, judge, label more.")
    ] = None,
    per_class: Annotated[bool | None, typer.Option("--per-class", help="Rounds are images a class.")] = None,
    strategies: Annotated[
        list[str] | None, typer.Option(help="Who chooses: random, select, typical, coverage, uncertain.")
    ] = None,
    ways: Annotated[
        list[str] | None, typer.Option(help="Ways to propose: METHOD, METHOD:FEATURES or :FEATURES.")
    ] = None,
    draws: Annotated[int | None, typer.Option(help="Of each round (3).")] = None,
    set_name: Annotated[
        str | None, typer.Option("--set-name", metavar="SET", help="Of the rounds (default: newest).")
    ] = None,
    seed: Seed = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Judge proposals by true labels, and count.

    Accuracy and coverage, how far the score can be believed, boxes found and rightly named, and what a person
    would pay, in clicks. What the run was given as labels is left out. With --rounds, labels are given by the
    truth itself, and a page shows what each round of them brings.
    """
    with sentences(debug):
        from dinonat.pipelines.evaluate_proposals import EvaluateProposalsSettings, run

        named = {
            "run": run_name,
            "labels": labels,
            "audit": audit,
            "rounds": rounds,
            "per_class": per_class,
            "strategies": strategies,
            "ways": ways,
            "draws": draws,
            "set": set_name,
            "seed": seed,
        }
        settings = EvaluateProposalsSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run(settings, workspace), json)
