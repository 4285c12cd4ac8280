"""The commands of `dinotool bench`. Each body loads what it times when it runs: help needs no torch."""

from pathlib import Path
from typing import Annotated

import typer

from dinonat.pipelines.options import (
    WORKSPACE,
    Config,
    Debug,
    Json,
    Overrides,
    Threads,
    Workspace,
    sentences,
    show,
)

Device = Annotated[str | None, typer.Option(help="cpu (default), cuda or auto.")]

bench_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Time what takes the time.")


@bench_app.command("reading")
def bench_reading(
    folder: Annotated[Path | None, typer.Argument(help="Folder of images.")] = None,
    rounds: Annotated[int | None, typer.Option(help="How often each is read (default 20).")] = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Time the reading of images.

    Milliseconds to decode and prepare, by format and size; beside another library where there is one.
    """
    with sentences(debug):
        from dinonat.pipelines.bench import BenchReadingSettings, run_reading

        named = {"folder": folder, "rounds": rounds}
        settings = BenchReadingSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run_reading(settings, workspace), json)


@bench_app.command("attention")
def bench_attention(
    rounds: Annotated[int | None, typer.Option(help="How often each runs (default 7).")] = None,
    device: Device = None,
    threads: Threads = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Time the backends of attention.

    Milliseconds of forward and backward passes, and their ratio to the naive gather.
    """
    with sentences(debug):
        from dinonat.pipelines.bench_attention import BenchAttentionSettings, run_attention

        named = {"rounds": rounds, "device": device, "threads": threads}
        settings = BenchAttentionSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run_attention(settings, workspace), json)


@bench_app.command("embed")
def bench_embed(
    folder: Annotated[Path | None, typer.Argument(help="Folder of images (default: made ones).")] = None,
    images: Annotated[int | None, typer.Option(help="How many at most (default 64).")] = None,
    weights: Annotated[str | None, typer.Option(help="File, untrained:SEED (default untrained:0).")] = None,
    size: Annotated[int | None, typer.Option(help="Shorter side in pixels (default 224).")] = None,
    rounds: Annotated[int | None, typer.Option(help="How often each part runs (default 5).")] = None,
    threads: Threads = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Time images to vectors, part by part.

    `embed` without saliency: milliseconds of the forward pass, and of all that is not it.
    """
    with sentences(debug):
        from dinonat.pipelines.bench_embed import BenchEmbedSettings, run_embed

        named = {
            "folder": folder,
            "images": images,
            "weights": weights,
            "size": size,
            "rounds": rounds,
            "threads": threads,
        }
        settings = BenchEmbedSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run_embed(settings, workspace), json)


@bench_app.command("formats")
def bench_formats(
    images: Annotated[int | None, typer.Option(help="How many images (default 20000).")] = None,
    boxes: Annotated[int | None, typer.Option(help="Labels on each (default 5).")] = None,
    rounds: Annotated[int | None, typer.Option(help="How often each is written (default 3).")] = None,
    against: Annotated[Path | None, typer.Option(help="Python with datumaro, supervision.")] = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Time the writing of labels, by format.

    Seconds and memory, beside datumaro and supervision where a Python is named that has them.
    """
    with sentences(debug):
        from dinonat.pipelines.bench_formats import BenchFormatsSettings, run_formats

        named = {"images": images, "boxes": boxes, "rounds": rounds, "against": against}
        settings = BenchFormatsSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run_formats(settings, workspace), json)


@bench_app.command("labels")
def bench_labels(
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Time export and import by how many labels.

    Made workspaces of 10,000, 100,000 and 1,000,000 labels (--set "labels=[10000]"), a process for each.
    """
    with sentences(debug):
        from dinonat.pipelines.bench_labels import BenchLabelsSettings, run_labels

        settings = BenchLabelsSettings.resolve(config=config, overrides=set_ or (), named={})
        show(run_labels(settings, workspace), json)


@bench_app.command("model")
def bench_model(
    network: Annotated[str | None, typer.Option(help="Which network (default nat_mini).")] = None,
    size: Annotated[int | None, typer.Option(help="Pixels a side (default 224).")] = None,
    batch: Annotated[int | None, typer.Option(help="Images at once (default 8).")] = None,
    rounds: Annotated[int | None, typer.Option(help="How often each runs (default 5).")] = None,
    device: Device = None,
    threads: Threads = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Time whole networks.

    Beside Swin-T and ViT-S/16 where timm is installed: forward and backward, float32 and bfloat16.
    """
    with sentences(debug):
        from dinonat.pipelines.bench_model import BenchModelSettings, run_model

        named = {
            "network": network,
            "size": size,
            "batch": batch,
            "rounds": rounds,
            "device": device,
            "threads": threads,
        }
        settings = BenchModelSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run_model(settings, workspace), json)


@bench_app.command("neighbors")
def bench_neighbors(
    rounds: Annotated[int | None, typer.Option(help="How often each runs (default 3).")] = None,
    queries: Annotated[int | None, typer.Option(help="Searched for in each round (default 4096).")] = None,
    threads: Threads = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Time search, vote, graph and diffusion.

    Beside FAISS's own search, with 20,000 and 200,000 made vectors (--set "sizes=[20000,200000,500000]").
    """
    with sentences(debug):
        from dinonat.pipelines.bench_neighbors import BenchNeighborsSettings, run_neighbors

        named = {"rounds": rounds, "queries": queries, "threads": threads}
        settings = BenchNeighborsSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run_neighbors(settings, workspace), json)


@bench_app.command("saliency")
def bench_saliency(
    folder: Annotated[Path | None, typer.Argument(help="Folder of images (default: made scenes).")] = None,
    images: Annotated[int | None, typer.Option(help="How many at most (default 8).")] = None,
    weights: Annotated[str | None, typer.Option(help="File, untrained:SEED (default untrained:0).")] = None,
    rounds: Annotated[int | None, typer.Option(help="How often each runs (default 5).")] = None,
    threads: Threads = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Time regions, without the network.

    CPU milliseconds an image by stage and saliency; our normalised cut beside a dense float64 solver.
    """
    with sentences(debug):
        from dinonat.pipelines.bench_saliency import BenchSaliencySettings, run_saliency

        named = {"folder": folder, "images": images, "weights": weights, "rounds": rounds, "threads": threads}
        settings = BenchSaliencySettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run_saliency(settings, workspace), json)


@bench_app.command("train")
def bench_train(
    folder: Annotated[Path | None, typer.Argument(help="Folder of images (default: noise).")] = None,
    network: Annotated[str | None, typer.Option(help="Which network (default nat_nano).")] = None,
    batch: Annotated[int | None, typer.Option(help="Images a step (default 48).")] = None,
    rounds: Annotated[int | None, typer.Option(help="How many steps of each (default 5).")] = None,
    device: Device = None,
    threads: Threads = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Time steps of pretraining.

    Images a second with one attention path and another, and how much of it goes into views.
    """
    with sentences(debug):
        from dinonat.pipelines.bench_train import BenchTrainSettings, run_train

        named = {
            "folder": folder,
            "network": network,
            "batch": batch,
            "rounds": rounds,
            "device": device,
            "threads": threads,
        }
        settings = BenchTrainSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run_train(settings, workspace), json)


@bench_app.command("views")
def bench_views(
    folder: Annotated[Path | None, typer.Argument(help="Folder of images (default: made ones).")] = None,
    images: Annotated[int | None, typer.Option(help="How many, one batch (default 48).")] = None,
    rounds: Annotated[int | None, typer.Option(help="How often each is made (default 5).")] = None,
    threads: Threads = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Time the views of pretraining.

    CPU milliseconds a picture for ours, in batches, and for the official ones with Pillow.
    """
    with sentences(debug):
        from dinonat.pipelines.bench_views import BenchViewsSettings, run_views

        named = {"folder": folder, "images": images, "rounds": rounds, "threads": threads}
        settings = BenchViewsSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run_views(settings, workspace), json)
