"""The command `dinotool map`."""

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
    Workspace,
    sentences,
    show,
)


def map_set(
    set_name: SetName = None,
    kind: Annotated[
        str | None, typer.Option(help="image or region (default: what the labels are of).")
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="umap (default), or pca: seconds instead of minutes.")
    ] = None,
    proposals: Annotated[
        str | None, typer.Option(metavar="RUN", help="Whose labels (default: the newest of the set).")
    ] = None,
    features: Annotated[str | None, typer.Option(help="auto (default), or like grid=0.7,hog=1.")] = None,
    pictures: Annotated[int | None, typer.Option(help="Thumbnails in the page (default 3000).")] = None,
    seed: Seed = None,
    again: Again = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw a set as a page of points to explore.

    Alike images or regions lie side by side; colours, pictures, and a lasso that saves a list of names.
    """
    with sentences(debug):
        from dinonat.pipelines.mapping import MapSettings, run

        named = {
            "set": set_name,
            "kind": kind,
            "layout": layout,
            "proposals": proposals,
            "features": features,
            "pictures": pictures,
            "seed": seed,
            "again": again,
        }
        settings = MapSettings.resolve(config=config, overrides=set_ or (), named=named)
        show(run(settings, workspace), json)
