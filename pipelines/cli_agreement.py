"""The command `dinotool agreement`."""

from pathlib import Path
from typing import Annotated

import typer

from dinonat.pipelines.options import (
    WORKSPACE,
    Config,
    Debug,
    Json,
    Overrides,
    PairOffset,
    Seed,
    Threads,
    Workspace,
    sentences,
    show,
)


def agreement(
    colour: Annotated[Path | None, typer.Argument(metavar="RGB", help="Folder of colour images.")] = None,
    thermal: Annotated[
        Path | None, typer.Argument(metavar="THERMAL", help="Folder of thermal images of the same scenes.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option("--weights", "--compare", help="Run, starter, file, ...; may be repeated."),
    ] = None,
    prepare: Annotated[
        list[str] | None, typer.Option(help="Of the thermal images, as of embed; may be repeated.")
    ] = None,
    pair_list: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV colour,thermal (default: names and times).")
    ] = None,
    pair_offset: PairOffset = None,
    recordings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV image,recording (default: found).")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Boxes or labels, for k-NN from colour to thermal.")
    ] = None,
    pictures: Annotated[
        int | None, typer.Option(metavar="N", help="Draw the attention of N pairs, by head and stage.")
    ] = None,
    blind: Annotated[
        int | None, typer.Option(metavar="N", help="Draw N pairs without captions, half of them shuffled.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side at which networks see them (default 224).")] = None,
    seed: Seed = None,
    threads: Threads = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure if colour carries over to thermal.

    Attention, features and tokens of aligned pairs, beside strangers, untrained networks and what is made
    by hand, with a verdict and a page.
    """
    with sentences(debug):
        from dinonat.pipelines.agreement import run
        from dinonat.pipelines.agreement_settings import AgreementSettings

        named = {
            "colour": colour,
            "thermal": thermal,
            "weights": weights,
            "prepare": prepare,
            "pair_list": pair_list,
            "pair_offset": pair_offset,
            "recordings": recordings,
            "labels": labels,
            "pictures": pictures,
            "blind": blind,
            "size": size,
            "seed": seed,
            "threads": threads,
        }
        settings = AgreementSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run(settings, workspace), json)
