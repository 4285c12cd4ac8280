"""The review page: the files that a browser needs for it, as they are in the package."""

from collections.abc import Mapping
from functools import cache
from importlib import resources

FOLDER = ("templates", "review")
KINDS = {  # media types by ending; a browser runs a module only under the right one
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
FIRST = "index.html"


@cache
def files() -> Mapping[str, tuple[bytes, str]]:
    """Return the files of the page, name -> bytes and media type; FIRST is the page itself."""
    folder = resources.files("dinonat.pages").joinpath(*FOLDER)
    ends = [(each, each.name.rpartition(".")[2]) for each in folder.iterdir()]
    return {each.name: (each.read_bytes(), KINDS[end]) for each, end in ends if end in KINDS}
