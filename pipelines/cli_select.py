"""The command `dinotool select`."""

from typing import Annotated

import typer

from dinonat.pipelines.options import (
    WORKSPACE,
    Config,
    Debug,
    Json,
    Overrides,
    Seed,
    SetName,
    Workspace,
    sentences,
    show,
)


def select(
    set_name: SetName = None,
    n: Annotated[int | None, typer.Option("--n", help="How many images (default 50).")] = None,
    share: Annotated[float | None, typer.Option(help="Share of the images instead: 0.05.")] = None,
    audit: Annotated[
        int | None, typer.Option(metavar="N", help="Proposals to judge by, drawn at random, instead.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="coverage (default, but for large shares), typical, random, uncertain.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Compare by image (default) or region.")] = None,
    features: Annotated[str | None, typer.Option(help="auto (default), or like grid=0.7,hog=1.")] = None,
    proposals: Annotated[str | None, typer.Option(metavar="RUN", help="Default: the newest.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the selection (default: by what it is).")] = None,
    seed: Seed = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Choose what to label next, or to audit.

    Spread over recordings, without near duplicates, never what is labelled already. With --audit: a random
    sample of the proposals, with a page to answer on, from which propose-labels learns what to accept.
    """
    with sentences(debug):
        from dinonat.pipelines.selection import SelectSettings, run

        named = {
            "set": set_name,
            "n": n,
            "share": share,
            "audit": audit,
            "strategy": strategy,
            "kind": kind,
            "features": features,
            "proposals": proposals,
            "name": name,
            "seed": seed,
        }
        settings = SelectSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run(settings, workspace), json)
