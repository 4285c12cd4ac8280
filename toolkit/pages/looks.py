"""The page of pictures without partners: where networks look in each of them."""

from collections.abc import Sequence

from dinonat.pages.pictures import data_uri
from dinonat.pages.templating import template


def render(sheets: Sequence[tuple[str, bytes]], *, remarks: Sequence[str] = ()) -> str:
    """Return the page: HTML that needs no other file, runs no script and asks no server for anything.

    ``sheets`` are figures of attention as (caption, PNG), ``remarks`` sentences that stand above them.
    """
    return template("attention.html").render(
        sheets=[(caption, data_uri(png, "png")) for caption, png in sheets], remarks=list(remarks)
    )
