"""How every page is made: its template with what all share, names escaped, numbers as people read them."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import jinja2

from dinonat.pages.pictures import printable


def template(name: str) -> jinja2.Template:
    """Return a template of ``pages/templates``; what it is given is escaped, and a missing name an error."""
    return _environment().get_template(name)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = printable
    environment.filters["count"] = "{:,}".format
    return environment


def _source(name: str) -> str:
    return resources.files("dinonat.pages").joinpath("templates", name).read_text(encoding="utf-8")


def figure(value: object) -> str:
    """Write a cell: floats with three digits, nothing for what is not there.

    >>> figure(0.12345), figure(61.234), figure(12345), figure(None)
    ('0.123', '61.2', '12,345', '')
    """
    if isinstance(value, float):
        return "" if value != value else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def settings_line(settings: Mapping[str, Any]) -> str:
    """Write settings in one line.

    >>> settings_line({"seed": 0, "batch": 48, "threads": None})
    'batch 48, seed 0'
    """
    return ", ".join(f"{key} {figure(value)}" for key, value in sorted(settings.items()) if value is not None)
