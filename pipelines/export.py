"""`dinotool export`: labels out, as files that open the first time in the tool that corrects them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from dinonat import labels as store
from dinonat.embeddings.store import EmbeddingSet, open_set
from dinonat.errors import LabelError, UsageError, WorkspaceError
from dinonat.files import short_hash, write_json
from dinonat.formats.catalog import FORMATS
from dinonat.formats.class_folders import places as class_places
from dinonat.formats.handover import Check, Masks, Outgoing, Written, outgoing, sentences
from dinonat.formats.matching import match_names
from dinonat.formats.measured import mixed_units, units_of, units_text
from dinonat.formats.name_lists import read_names
from dinonat.formats.splits import parse_shares, split
from dinonat.pipelines import workspace as places
from dinonat.pipelines.export_folder import ABOUT, LOSSES, MANIFEST, RECORD, digests, staged, write_record
from dinonat.pipelines.export_labels import VOTERS, gather, select
from dinonat.pipelines.export_pictures import (
    PROXIES,
    file_names,
    places_of,
    put_copies,
    put_proxies,
    remarks,
    write_names,
)
from dinonat.pipelines.people import database
from dinonat.settings import Settings, unknown_key

GRID = "EXIF orientation applied; x to the right, y down, from the outer corner of the upper left pixel"
NO_VOTERS = "lists of the labelled neighbours that voted: only in proposals.parquet"
FRAMES = "images that are one frame of a file: named path#frame, which only dinotool can open; see --proxies"
BY_CLASS = ("yolo-classify", "folders")  # their pictures lie in folders of classes


class ExportSettings(Settings):
    """What `dinotool export` can be told."""

    proposals: str | None = None  # run of propose-labels; the newest where none is named
    format: str = "coco"
    out: Path | None = None  # a folder; exports/NAME of the workspace where none is given
    status: str | None = None  # only labels of this status: proposed, accepted; several with commas
    where: str | None = None  # only labels for which this holds: score > 0.8 and label == "car"
    only: Path | None = None  # a list of names: only these images, with or without labels
    split: str | None = None  # train=0.8,val=0.2: whole recordings to one side
    masks: Masks = "auto"  # polygons, and run lengths where a mask has holes; or one of them always
    category_base: Literal[0, 1] = 1  # id of the first class; CVAT and datumaro misread 0
    voc_base: Literal[0, 1] = 0  # 1: boxes of VOC as its authors meant them, 1-based and inclusive
    multipart: Literal["bridge", "split"] = "bridge"  # masks of several parts where one ring must do
    proxies: bool = False  # write 8-bit pictures for tools that cannot show the raw files
    seed: int = 0  # of the split


NOT_IN_NAME = {"proposals", "format", "out"}  # these are said by the name's other parts


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
            *(str(Path(self.folder) / file) for file in self.files),
        ]


def run(settings: ExportSettings, workspace: Path) -> ExportReport:
    """Write the labels of a run, proposed and given, that are neither rejected nor unknown.

    Raises UsageError for an unknown format, a bad ``where`` or a folder that holds other files;
    WorkspaceError where the run or its set is missing, was made with untrained weights, or no label
    fulfils --status and --where; LabelError for a split that cannot be made.
    """
    if settings.format not in FORMATS:
        raise UsageError(unknown_key(settings.format, list(FORMATS), "--format"))
    run_name = places.chosen(workspace, "proposals", settings.proposals)
    made = places.read_object(places.proposals_folder(workspace, run_name) / "meta.json")
    known = open_set(places.set_folder(workspace, str(made["set"])))
    _refuse_among_images(settings, known)
    everything = gather(workspace, run_name, known)
    _refuse_untrained(everything, known, run_name)
    images, said = _images(known, settings)
    only = None if settings.only is None else images["image"].to_list()
    chosen, left_out = select(everything, status=settings.status, expression=settings.where, only=only)
    by_split: Mapping[str, Mapping[str, Any]] = {}
    if settings.split is not None:
        images, by_split, remarked = _split(images, chosen, settings)
        said += remarked
    classes = _classes(workspace, known, everything, made)
    name = export_name(settings, run_name, everything)
    asked = _asked(chosen, images, classes, known, settings, name)
    folder = settings.out or places.exports_folder(workspace, name)
    if settings.where is not None:
        whole, _ = select(everything, status=settings.status, expression=None, only=only)
        said += mixed_units(whole, settings.where)
    facts = {**_facts(settings, known, made), "classes": _numbered(classes, settings)}
    with staged(folder) as staging:
        written, pictures = _written(asked, staging, known, settings, chosen)
        said += _warnings(asked, staging, known, settings, written)
        report = ExportReport(
            name=name,
            run=run_name,
            set=known.folder.name,
            format=settings.format,
            folder=str(folder),
            files=(*written.files, MANIFEST, LOSSES),
            images=len(images),
            annotations=written.annotations,
            image_labels=written.image_labels,
            by_class=_counted(asked.labels["label"]),
            by_status=_counted(asked.labels["status"]),
            by_split=by_split,
            temperatures=units_of(asked.labels),
            left_out=left_out,
            losses=written.losses,
            warnings=tuple(said),
        )
        _write_manifest(
            staging, report, {**facts, "pictures": pictures.to_dict("records")}, set(pictures["proxy"])
        )
        if settings.out is None:
            _write_record(asked, staging / RECORD, report)
    if settings.out is not None:
        with staged(places.exports_folder(workspace, name)) as staging:
            _write_record(asked, staging / RECORD, report)
    places.remember(workspace, "export", name)
    return report


def export_name(settings: ExportSettings, run_name: str, everything: pd.DataFrame) -> str:
    """Name an export by its run, its format and, where they differ from the start, settings and labels.

    What people said since goes into the name, so that an export that somebody is correcting stays.
    """
    differs: dict[str, Any] = settings.model_dump(mode="json", exclude=NOT_IN_NAME, exclude_defaults=True)
    touched = everything[everything["status"] != "proposed"]
    if (touched["run"] != "").any():
        columns = ["proposal", "label", "status", *"xywh"]
        differs["labels"] = touched[columns].astype("str").sort_values("proposal").to_numpy().tolist()
    return f"{run_name}-{settings.format}" + (f"-{short_hash(differs)[:6]}" if differs else "")


def _images(known: EmbeddingSet, settings: ExportSettings) -> tuple[pd.DataFrame, list[str]]:
    """Return the readable images of a set, or those of --only, labelled or not, and what is to be said."""
    items = known.items
    readable = items[(items["kind"] == "image") & (items["status"] == "ok")]
    images = readable[["image", "width", "height", "sha256", "recording"]].sort_values("image")
    failed = int((items["kind"].eq("image") & items["status"].ne("ok")).sum())
    said = [f"{failed} images could not be read or prepared and are not listed."] if failed else []
    if settings.only is not None:
        matches = match_names(read_names(settings.only), images["image"].to_list())
        images = images[images["image"].isin(list(matches.found.values()))]
        said += [problem.replace("its labels are left out", "left out") for problem in matches.problems[:5]]
        if images.empty:
            raise LabelError(f"--only {settings.only}: names no readable image of set '{known.folder.name}'.")
    return images.reset_index(drop=True), said


def _split(
    images: pd.DataFrame, chosen: pd.DataFrame, settings: ExportSettings
) -> tuple[pd.DataFrame, Mapping[str, Mapping[str, Any]], list[str]]:
    """Give each image its side, and return what each side holds, and what is to be said of it."""
    shares = parse_shares(str(settings.split))
    done = split(images, chosen[["image", "label"]].astype("str"), shares, seed=settings.seed)
    sides = images.assign(split=done.of.to_numpy())
    return sides, done.counts, [done.note] if done.note else []


def _classes(
    workspace: Path, known: EmbeddingSet, everything: pd.DataFrame, made: Mapping[str, Any]
) -> list[str]:
    """Return the classes in the order of their export ids, which stay; new ones are numbered.

    Names that nobody gave (clusters, "object") come last and get no number that stays.
    """
    there = sorted({str(label) for label in everything["label"].unique()} - {""})
    with store.reading(database(workspace)) as db:
        numbered = store.class_names(db, known.folder.name)
    new = [name for name in there if name not in set(numbered)]
    if not new or made.get("clusters"):
        return numbered + new
    with store.writing(database(workspace)) as db:
        return store.number_classes(db, known.folder.name, new)


def _asked(
    chosen: pd.DataFrame,
    images: pd.DataFrame,
    classes: Sequence[str],
    known: EmbeddingSet,
    settings: ExportSettings,
    name: str,
) -> Outgoing:
    """Return what the format is to write."""
    flat = FORMATS[settings.format].flat
    ordered = images.sort_values("image", kind="stable")
    names = file_names(
        ordered["image"].to_list(), root=Path(known.meta["root"]), proxies=settings.proxies, flat=flat
    )
    return outgoing(
        chosen,
        ordered.assign(file_name=names),
        classes,
        name=name,
        masks=settings.masks,
        category_base=settings.category_base,
        voc_base=settings.voc_base,
        multipart=settings.multipart,
    )


def _written(
    asked: Outgoing, folder: Path, known: EmbeddingSet, settings: ExportSettings, chosen: pd.DataFrame
) -> tuple[Written, pd.DataFrame]:
    """Write labels and, where they are asked for or needed, pictures; return both, losses completed."""
    format_ = FORMATS[settings.format]
    written = format_.write(asked, folder)
    by_class = settings.format in BY_CLASS
    where = class_places(asked) if by_class else places_of(asked, format_)
    files, pictures = list(written.files), pd.DataFrame({"proxy": []})
    if settings.proxies:
        pictures = put_proxies(asked, where, folder, known)
        files.append(PROXIES)
    else:
        if format_.holds_pictures:
            put_copies(asked, where, folder, known)
        if write_names(asked, folder):
            files.append("names.csv")
    frames = 0 if settings.proxies else int(asked.images["image"].str.contains(r"#\d+$").sum())
    more = {NO_VOTERS: int((chosen[VOTERS] > 0).sum()), FRAMES: frames}
    losses = {**written.losses, **{what: count for what, count in more.items() if count}}
    return Written(tuple(files), written.annotations, written.image_labels, losses), pictures


def _warnings(
    asked: Outgoing, folder: Path, known: EmbeddingSet, settings: ExportSettings, written: Written
) -> list[str]:
    """Say what a reader may stumble over: our own check of the files, and pictures that tools cannot show."""
    check = Check(category_base=settings.category_base)
    said = sentences(FORMATS[settings.format].faults(folder, check))
    if not settings.proxies:
        said += remarks(asked.images["image"], known)
    if not written.annotations and not written.image_labels:
        said.append("No label is written: every proposal was left unknown. The images are listed.")
    return said


def _refuse_among_images(settings: ExportSettings, known: EmbeddingSet) -> None:
    """Refuse to put pictures where the next `embed` would take them for images of the set."""
    pictures = settings.proxies or FORMATS[settings.format].holds_pictures
    root = Path(known.meta["root"]).resolve()
    if pictures and settings.out is not None and settings.out.resolve().is_relative_to(root):
        raise UsageError(
            f"--out {settings.out}: lies among the images; the next `embed` would take the pictures too."
        )


def _refuse_untrained(proposals: pd.DataFrame, known: EmbeddingSet, run_name: str) -> None:
    """Untrained weights are for control rows of a table; labels made with them help nobody."""
    models = {
        *map(str, proposals["model"].unique()),
        str(known.meta.get("weights", "")),
        str(known.meta.get("model", "")),
    }
    if any(model.startswith("untrained") for model in models):
        raise WorkspaceError(
            f"Proposals {run_name}: made with untrained weights, which are for comparison only. Run "
            "`dinotool pretrain FOLDER`, then embed and propose-labels again."
        )


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


def _write_manifest(folder: Path, report: ExportReport, facts: Mapping[str, Any], pictures: set[str]) -> None:
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


def _write_record(asked: Outgoing, folder: Path, report: ExportReport) -> None:
    """Keep what was exported, for the day when it comes back."""
    write_record(asked, folder)
    write_json(folder / ABOUT, {"set": report.set, "format": report.format, "folder": report.folder})


def _counted(values: pd.Series) -> dict[str, int]:
    """Count values, the most frequent first."""
    counts = {str(value): int(count) for value, count in values.value_counts().items() if count}
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
