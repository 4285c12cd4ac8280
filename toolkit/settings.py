"""Settings: defaults in one place, YAML with the differences, key=value on top, no unknown key."""

import difflib
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from dinonat.errors import UsageError


class Settings(BaseModel):
    """Base of every command's settings: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)

    @classmethod
    def resolve(
        cls,
        *,
        config: str | None = None,
        overrides: Sequence[str] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Self:
        """Build settings from defaults, a preset or YAML file, key=value pairs and named options.

        Later sources win in that order; a named option that is None counts as not given.
        Raises UsageError with the nearest key for an unknown one, and with the rule for a bad value.
        """
        values = read_yaml(config) if config else {}
        values |= parse_overrides(overrides)
        values |= {key: value for key, value in (named or {}).items() if value is not None}
        return cls.checked(values)

    @classmethod
    def command(cls) -> str:
        """Name the settings as their user knows them: EvaluateKnnSettings is "evaluate knn"."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cls.__name__.removesuffix("Settings")).lower()

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """Validate ``values``; raise UsageError, one sentence, instead of pydantic's report."""
        for key in values:
            if key not in cls.model_fields:
                raise UsageError(unknown_key(str(key), list(cls.model_fields), cls.command()))
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or cls.__name__
            raise UsageError(f"{where}={first['input']!r}: {first['msg']}.") from error


def unknown_key(key: str, known: Sequence[str], owner: str) -> str:
    """Say that ``key`` does not exist, and which one was probably meant."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'?" if near else f"Known keys: {', '.join(sorted(known))}."
    return f"Unknown key '{key}' for {owner}. {hint}"


def read_yaml(config: str) -> dict[str, Any]:
    """Read a YAML mapping from a file, or from a preset of ``dinonat.configs`` by its name."""
    path = Path(config)
    if not path.is_file():
        presets = {
            Path(entry.name).stem: entry
            for entry in resources.files("dinonat.configs").iterdir()
            if entry.name.endswith(".yaml")
        }
        if config not in presets:
            raise UsageError(
                f"--config {config}: no such file, and no preset of that name. "
                f"Presets: {', '.join(sorted(presets)) or 'none'}."
            )
        text = presets[config].read_text(encoding="utf-8")
    else:
        text = path.read_text(encoding="utf-8")
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"--config {config}: not valid YAML ({error}).") from error
    if not isinstance(values, dict):
        raise UsageError(f"--config {config}: expected lines 'key: value', got {type(values).__name__}.")
    return values


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Turn ``["key=value"]`` into a mapping; values are read as YAML, so 3, true and [1, 2] work."""
    values: dict[str, Any] = {}
    for pair in overrides:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {pair}: expected key=value.")
        values[key.strip()] = yaml.safe_load(text)
    return values
