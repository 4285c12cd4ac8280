"""`dinotool export`: labels out, as files that open the first time in the tool that corrects them."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from dinonat.embeddings.store import EmbeddingSet, open_set
from dinonat.errors import UsageError, WorkspaceError
from dinonat.files import short_hash, write_bytes, write_json
from dinonat.formats.catalog import VALIDATORS, WRITERS
from dinonat.formats.coco import PICTURES, Written
from dinonat.formats.handover import Masks
from dinonat.formats.measured import mixed_units, units_of, units_text
from dinonat.formats.where import where
from dinonat.pages.proxies import turned_files, write_manifest, write_proxies
from dinonat.pipelines import workspace as places
from dinonat.pipelines.labelled import GIVEN, own_labels
from dinonat.pipelines.progress import say
from dinonat.records import read_proposals
from dinonat.settings import Settings, unknown_key

GRID = "EXIF orientation applied; x to the right, y down, from the outer corner of the upper left pixel"
REJECTED, UNKNOWN, NO_LABEL = "rejected", "left unknown", "without a label"
NOT_STATUS, NOT_WHERE = "not of --status", "not within --where"
MANIFEST, LOSSES, PROXIES = "manifest.json", "loss_report.txt", "proxies.csv"


class ExportSettings(Settings):
    """What `dinotool export` can be told."""

    proposals: str | None = None  # run of propose-labels; the newest where none is named
    format: str = "coco"
    out: Path | None = None  # a folder; exports/NAME of the workspace where none is given
    status: str | None = None  # only labels of this status: proposed, accepted, ...
    where: str | None = None  # only labels for which this holds: score > 0.8 and label == "car"
    masks: Masks = "auto"  # polygons, and run lengths where a mask has holes; or one of them always
    category_base: Literal[0, 1] = 1  # id of the first class; CVAT and datumaro misread 0
    proxies: bool = False  # write 8-bit pictures for tools that cannot show the raw files


NOT_IN_NAME = {"proposals", "format", "out"}  # these are said by the name's other parts


@dataclass(frozen=True)
class ExportReport:
    """What an export holds, and what it could not."""

    name: str
    run: str
    set: str
    folder: str
    files: tuple[str, ...]
    images: int
    annotations: int
    image_labels: int
    by_class: Mapping[str, int]
    by_status: Mapping[str, int]
    temperatures: Mapping[str, int]  # unit of t_min ... t_max -> labels; "not measured" with them
    left_out: Mapping[str, int]  # why -> labels that were not chosen
    losses: Mapping[str, int]  # what the format cannot hold -> how often
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        out = ", ".join(f"{count} {why}" for why, count in self.left_out.items()) or "none"
        classes = ", ".join(f"{label} {count}" for label, count in self.by_class.items()) or "none"
        return [
            f"Proposals {self.run} of set {self.set}: {self.annotations} boxes and {self.image_labels} "
            f"labels of whole images in {self.images} images",
            f"Classes: {classes}",
            f"Status: {', '.join(f'{status} {count}' for status, count in self.by_status.items()) or 'none'}",
            f"Temperatures: {units_text(self.temperatures)}",
            f"Left out: {out}",
            *(f"Loss report: {count} {what}" for what, count in self.losses.items()),
            *self.warnings,
            *(str(Path(self.folder) / file) for file in self.files),
        ]


def run(settings: ExportSettings, workspace: Path) -> ExportReport:
    """Write the labels of a run, proposed and given, that are neither rejected nor unknown.

    Raises UsageError for an unknown format or a bad ``where``; WorkspaceError where the run or its
    set is missing, was made with untrained weights, or no label fulfils --status and --where.
    """
    if settings.format not in WRITERS:
        raise UsageError(unknown_key(settings.format, list(WRITERS), "--format"))
    run_name = places.chosen(workspace, "proposals", settings.proposals)
    source = places.proposals_folder(workspace, run_name)
    proposals, made = read_proposals(source / "proposals.parquet"), places.read_object(source / "meta.json")
    known = open_set(places.set_folder(workspace, str(made["set"])))
    _refuse_untrained(proposals, known, run_name)
    if (source / GIVEN).is_file():
        own = own_labels(source / GIVEN, known, workspace)
        proposals = pd.concat([proposals, own], ignore_index=True) if len(proposals) else own
    chosen, left_out = select(proposals, settings)
    name = export_name(settings, run_name)
    folder = settings.out or places.exports_folder(workspace, name)
    images, pictures = _images(known, folder, settings)
    classes = sorted({str(label) for label in proposals["label"]} - {""})
    written = WRITERS[settings.format](
        chosen,
        folder,
        images=images,
        classes=classes,
        masks=settings.masks,
        category_base=settings.category_base,
    )
    files = (*written.files, *([PROXIES] if settings.proxies else []))
    warnings = (*_compared(proposals, settings), *_warnings(known, folder, settings, written))
    report = ExportReport(
        name=name,
        run=run_name,
        set=known.folder.name,
        folder=str(folder),
        files=(*files, MANIFEST, LOSSES),
        images=len(images),
        annotations=written.annotations,
        image_labels=written.image_labels,
        by_class=_counted(chosen["label"]),
        by_status=_counted(chosen["status"]),
        temperatures=units_of(chosen),
        left_out=left_out,
        losses=written.losses,
        warnings=warnings,
    )
    digests = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files}
    facts = {**_facts(settings, known, made), "classes": _numbered(classes, settings), "pictures": pictures}
    _write_manifest(folder, report, digests, facts)
    if settings.out is None:
        places.remember(workspace, "export", name)
    return report


def select(proposals: pd.DataFrame, settings: ExportSettings) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the labels to write, and how many were left out for which reason, in this order.

    Raises WorkspaceError where --status or --where leave none of those that could be written.
    """
    left_out: Counter[str] = Counter()
    rows = proposals

    def keep(kept: pd.DataFrame, why: str) -> pd.DataFrame:
        left_out[why] += len(rows) - len(kept)
        return kept

    rows = keep(rows[rows["status"] != "rejected"], REJECTED)
    rows = keep(rows[rows["advice"] != "unknown"], UNKNOWN)
    rows = keep(rows[rows["label"] != ""], NO_LABEL)
    usable = len(rows)
    if settings.status is not None:
        rows = keep(rows[rows["status"] == settings.status], f"{NOT_STATUS} {settings.status}")
    if settings.where is not None:
        rows = keep(where(rows, settings.where), f"{NOT_WHERE} {settings.where}")
    if usable and not len(rows):
        there = ", ".join(f"{count} {why}" for why, count in left_out.items() if count)
        raise WorkspaceError(f"Nothing to export of {len(proposals)} labels: {there}. Ask for less.")
    return rows.reset_index(drop=True), {why: count for why, count in left_out.items() if count}


def _compared(proposals: pd.DataFrame, settings: ExportSettings) -> list[str]:
    """Say it where --where compared temperatures in different units."""
    if settings.where is None:
        return []
    asked, _ = select(proposals, settings.model_copy(update={"where": None}))
    return mixed_units(asked, settings.where)


def export_name(settings: ExportSettings, run_name: str) -> str:
    """Name an export by its run, its format and, where they are not the defaults, its settings."""
    differs = settings.model_dump(mode="json", exclude=NOT_IN_NAME, exclude_defaults=True)
    return f"{run_name}-{settings.format}" + (f"-{short_hash(differs)[:6]}" if differs else "")


def _refuse_untrained(proposals: pd.DataFrame, known: EmbeddingSet, run_name: str) -> None:
    """Untrained weights are for control rows of a table; labels made with them help nobody."""
    models = {
        *map(str, proposals["model"]),
        str(known.meta.get("weights", "")),
        str(known.meta.get("model", "")),
    }
    if any(model.startswith("untrained") for model in models):
        raise WorkspaceError(
            f"Proposals {run_name}: made with untrained weights, which are for comparison only. Run "
            "`dinotool pretrain FOLDER`, then embed and propose-labels again."
        )


def _images(
    known: EmbeddingSet, folder: Path, settings: ExportSettings
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Return the readable images of a set (image, width, height), labelled or not, and their proxies."""
    items = known.items
    readable = items[(items["kind"] == "image") & (items["status"] == "ok")]
    images = readable[["image", "width", "height", "sha256"]].sort_values("image").reset_index(drop=True)
    if not settings.proxies:
        (folder / PROXIES).unlink(missing_ok=True)  # of an earlier export into the same folder
        return images, []
    root = Path(known.meta["root"])
    if folder.resolve().is_relative_to(root.resolve()) and settings.out is not None:
        raise UsageError(
            f"--out {folder}: lies among the images; the next `embed` would take the proxies too."
        )
    say(f"Writing {len(images)} pictures to {folder / PICTURES}")
    proxies = write_proxies(images, folder / PICTURES, root=root, shown=known.shown)
    manifest = proxies.assign(proxy=f"{PICTURES}/" + proxies["proxy"])
    write_manifest(manifest, folder / PROXIES)
    rows = [{str(key): value for key, value in row.items()} for row in manifest.to_dict("records")]
    return images.assign(file_name=proxies["proxy"]), rows


def _warnings(
    known: EmbeddingSet, folder: Path, settings: ExportSettings, written: Written
) -> tuple[str, ...]:
    """Say what a reader may stumble over: our own check of the file, and images turned by EXIF."""
    check = VALIDATORS[settings.format]
    warnings = check(folder / written.files[0], category_base=settings.category_base)
    failed = int((known.items["kind"].eq("image") & known.items["status"].ne("ok")).sum())
    if failed:
        warnings.append(f"{failed} images could not be read or prepared and are not listed.")
    if not settings.proxies:
        deep = int((known.items["kind"].eq("image") & known.items["unit"].isin(["celsius", "counts"])).sum())
        if deep:
            warnings.append(
                f"{deep} images hold temperatures or counts, which many tools show black or not at all. "
                "--proxies writes 8-bit pictures for them."
            )
        names = known.items.loc[known.items["kind"] == "image", "image"]
        turned = turned_files(names, root=Path(known.meta["root"]))
        if turned:
            warnings.append(
                f"{turned[0]}{f' and {len(turned) - 1} more' if len(turned) > 1 else ''}: turned by an EXIF "
                "tag; tools that ignore it show boxes elsewhere. --proxies writes upright pictures."
            )
    if not written.annotations and not written.image_labels:
        warnings.append("No label is written: every proposal was left unknown. The images are listed.")
    return tuple(warnings)


def _facts(settings: ExportSettings, known: EmbeddingSet, made: Mapping[str, Any]) -> dict[str, Any]:
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
        "preparation": _counted(known.items.loc[known.items["kind"] == "image", "prepare"]),
    }


def _numbered(classes: Sequence[str], settings: ExportSettings) -> list[dict[str, Any]]:
    """Return the classes with the ids that they have in the file."""
    return [{"id": i, "name": name} for i, name in enumerate(classes, settings.category_base)]


def _write_manifest(
    folder: Path, report: ExportReport, digests: Mapping[str, str], facts: Mapping[str, Any]
) -> None:
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
    write_bytes(folder / LOSSES, ("\n".join([*text, "", *report.warnings]).rstrip() + "\n").encode())
    counts = {key: value for key, value in asdict(report).items() if key not in ("folder", "files")}
    tool = f"dinonat {metadata.version('dinonat')}"
    write_json(folder / MANIFEST, {"tool": tool, "pixel_grid": GRID, "files": digests, **counts, **facts})


def _counted(values: pd.Series) -> dict[str, int]:
    """Count values, the most frequent first."""
    counts = Counter(map(str, values))
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
