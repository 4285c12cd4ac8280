"""The command `dinotool review`."""

from typing import Annotated

import typer

from dinonat.pipelines.options import WORKSPACE, Config, Debug, Json, Overrides, Workspace, sentences, show


def review(
    proposals: Annotated[str | None, typer.Option(metavar="RUN", help="Default: the newest.")] = None,
    audit: Annotated[
        str | None, typer.Option(metavar="NAME", help="Open with this audit (`select --audit`).")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Default: 7878, or the next that is free.")] = None,
    host: Annotated[str | None, typer.Option(help="Let others in: an address of this machine.")] = None,
    browser: Annotated[bool | None, typer.Option("--browser/--no-browser", help="Open it there.")] = None,
    who: Annotated[str | None, typer.Option(help="Who reviews (default: the account).")] = None,
    config: Config = None,
    set_: Overrides = None,
    workspace: Workspace = WORKSPACE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Go through proposals in the browser.

    Accept, reject, relabel, move and draw by keys, on the pixels as they were measured. Serves this machine
    only, until Ctrl-C; what was acknowledged is on disk.
    """
    with sentences(debug):
        from dinonat.pipelines.review import ReviewSettings, announce, announce_json, run

        named = {
            "proposals": proposals,
            "audit": audit,
            "port": port,
            "host": host,
            "browser": browser,
            "who": who,
        }
        settings = ReviewSettings.resolve(config=config, overrides=set_ or (), named=named)
        report = run(settings, workspace, listening=announce_json if json else announce)
        if not json:
            show(report, json)
