"""What an export says of itself: to people, and in the manifest that travels with it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.files import write_json
from dinonat.formats.handover import Outgoing
from dinonat.formats.measured import units_text
from dinonat.pipelines.export_folder import ABOUT, LOSSES, MANIFEST, digests, write_record
from dinonat.pipelines.export_settings import ExportSettings

SHOWN = 8  # files that the summary names, the most important first
GRID = "EXIF orientation applied; x to the right, y down, from the outer corner of the upper left pixel"


@dataclass(frozen=True)
class ExportReport:
    """What an export holds, and what it could not."""

    name: str
    run: str
    set: str
    format: str
    folder: str
    files: tuple[str, ...]
    images: int
    annotations: int
    image_labels: int
    by_class: Mapping[str, int]
    by_status: Mapping[str, int]
    by_split: Mapping[
        str, Mapping[str, Any]
    ]  # images, groups, share, labels: class -> how many; {} = no split
    temperatures: Mapping[str, int]  # unit of t_min ... t_max -> labels; "not measured" with them
    left_out: Mapping[str, int]  # why -> labels that were not chosen
    losses: Mapping[str, int]  # what the format cannot hold -> how often
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        out = ", ".join(f"{count} {why}" for why, count in self.left_out.items()) or "none"
        classes = ", ".join(f"{label} {count}" for label, count in self.by_class.items()) or "none"
        split = (
            f"{name} {of['images']} images of {of['groups']} groups, {sum(of['labels'].values())} labels"
            for name, of in self.by_split.items()
        )
        return [
            f"Proposals {self.run} of set {self.set}: {self.annotations} boxes and {self.image_labels} "
            f"labels of whole images in {self.images} images",
            f"Classes: {classes}",
            f"Status: {', '.join(f'{status} {count}' for status, count in self.by_status.items()) or 'none'}",
            *([f"Split: {'; '.join(split)}"] if self.by_split else []),
            f"Temperatures: {units_text(self.temperatures)}",
            f"Left out: {out}",
            *(f"Loss report: {count} {what}" for what, count in self.losses.items()),
            *self.warnings,
            *(str(Path(self.folder) / file) for file in self.files[:SHOWN]),
            *(
                [f"... and {len(self.files) - SHOWN} more in {self.folder}"]
                if len(self.files) > SHOWN
                else []
            ),
        ]


def facts_of(settings: ExportSettings, known: EmbeddingSet, made: Mapping[str, Any]) -> dict[str, Any]:
    """Return from what an export was made: settings, images, network, and how the labels came about."""
    return {
        "settings": settings.model_dump(mode="json", exclude={"out"}),
        "inputs": {
            "images": known.meta["root"],
            "model": known.meta["model"],
            "weights": known.meta.get("weights"),
            "embed": known.meta.get("settings"),
            "propose": dict(made),
        },
        "preparation": counted(known.items.loc[known.items["kind"] == "image", "prepare"]),
    }


def numbered(classes: Sequence[str], settings: ExportSettings) -> list[dict[str, Any]]:
    """Return the classes with the ids that they have in the file."""
    return [{"id": i, "name": name} for i, name in enumerate(classes, settings.category_base)]


def write_manifest(folder: Path, report: ExportReport, facts: Mapping[str, Any], pictures: set[str]) -> None:
    """Write from what and how the files were made and, for people, what they do not hold."""
    losses = [f"{count} {what}" for what, count in report.losses.items()]
    left_out = [f"{count} {why}" for why, count in report.left_out.items()]
    text = [
        "Not written:",
        *(left_out or ["nothing"]),
        "",
        "Not held by the format:",
        *(losses or ["nothing"]),
    ]
    said = "\n".join([*text, "", *report.warnings]).rstrip() + "\n"
    (folder / LOSSES).write_text(said, encoding="utf-8")
    counts = {key: value for key, value in asdict(report).items() if key not in ("folder", "files")}
    tool = f"dinonat {metadata.version('dinonat')}"
    files = digests(folder, but=pictures)
    write_json(folder / MANIFEST, {"tool": tool, "pixel_grid": GRID, "files": files, **counts, **facts})


def keep_record(asked: Outgoing, folder: Path, set_name: str, format_: str) -> None:
    """Keep what was exported, for the day when it comes back."""
    write_record(asked, folder)
    write_json(folder / ABOUT, {"set": set_name, "format": format_})


def counted(values: pd.Series) -> dict[str, int]:
    """Count values, the most frequent first."""
    counts = {str(value): int(count) for value, count in values.value_counts().items() if count}
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
