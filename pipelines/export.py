"""`dinotool export`: labels out, as files that open the first time in the tool that corrects them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dinonat import labels as store
from dinonat.embeddings.store import EmbeddingSet, open_set
from dinonat.errors import LabelError, UsageError, WorkspaceError
from dinonat.files import short_hash
from dinonat.formats.catalog import FORMATS
from dinonat.formats.handover import Check, Outgoing, Written, outgoing, sentences
from dinonat.formats.matching import match_names
from dinonat.formats.measured import mixed_units, units_of
from dinonat.formats.name_lists import read_names
from dinonat.formats.splits import parse_shares, split
from dinonat.pipelines import workspace as places
from dinonat.pipelines.coming_in import bring_in
from dinonat.pipelines.export_folder import LOSSES, MANIFEST, RECORD, refuse_corrected, staged
from dinonat.pipelines.export_labels import VOTERS, gather, partly_labelled, select
from dinonat.pipelines.export_pictures import (
    PROXIES,
    file_names,
    places_of,
    put_copies,
    put_proxies,
    remarks,
    write_names,
)
from dinonat.pipelines.export_report import (
    ExportReport,
    counted,
    facts_of,
    keep_record,
    numbered,
    write_manifest,
)
from dinonat.pipelines.export_settings import NOT_IN_NAME, ExportSettings
from dinonat.pipelines.labelled import GIVEN
from dinonat.pipelines.people import complete_images, database, digest, said
from dinonat.settings import unknown_key

NO_VOTERS = "lists of the labelled neighbours that voted: only in proposals.parquet"
POINTS_AT = ("yolo", "yolo-segment", "label-studio")  # their files are of no use without the pictures beside
FRAMES = "images that are one frame of a file: named path#frame, which only dinotool can open; see --proxies"


def run(settings: ExportSettings, workspace: Path) -> ExportReport:
    """Write the labels of a run, proposed and given, that are neither rejected nor unknown.

    Raises UsageError for an unknown format, a bad ``where`` or a folder that holds other files;
    WorkspaceError where the run or its set is missing, was made with untrained weights, or no label
    fulfils --status and --where, or corrections in the folder were not brought in; LabelError for a split
    that cannot be made.
    """
    if settings.format not in FORMATS:
        raise UsageError(unknown_key(settings.format, list(FORMATS), "--format"))
    if settings.proxies and settings.copies:
        raise UsageError("export: give --proxies (8-bit pictures) or --copies (the files themselves).")
    run_name = places.chosen(workspace, "proposals", settings.proposals)
    made = places.read_object(places.proposals_folder(workspace, run_name) / "meta.json")
    known = open_set(places.set_folder(workspace, str(made["set"])))
    _refuse_among_images(settings, known)
    _adopt(workspace, run_name, known)
    everything = gather(workspace, run_name, known)
    _refuse_untrained(everything, known, run_name)
    images, notes = _images(known, settings)
    only = None if settings.only is None else images["image"].to_list()
    chosen, left_out = select(everything, status=settings.status, expression=settings.where, only=only)
    by_split: Mapping[str, Mapping[str, Any]] = {}
    if settings.split is not None:
        images, by_split, remarked = _split(images, chosen, settings)
        notes += remarked
    classes = _classes(workspace, known, everything, made)
    now = digest(said(workspace, known.folder.name))
    name = export_name(settings, run_name, "" if now == made.get("said", "") else now, only)
    asked = _asked(chosen, images, classes, known, settings, name)
    folder = settings.out.resolve() if settings.out else places.exports_folder(workspace, name)
    if not settings.again:
        refuse_corrected(folder)
    notes += partly_labelled(chosen, complete_images(workspace, known.folder.name))
    if settings.where is not None:
        whole, _ = select(everything, status=settings.status, expression=None, only=only)
        notes += mixed_units(whole, settings.where)
    facts = {**facts_of(settings, known, made), "classes": numbered(classes, settings)}
    if settings.out is not None:  # first: an export of which nothing is known cannot come back
        with staged(places.exports_folder(workspace, name) / RECORD) as staging:
            keep_record(asked, staging, known.folder.name, settings.format)
    with staged(folder) as staging:
        written, pictures = _written(asked, staging, known, settings, chosen)
        notes += _warnings(asked, staging, known, settings, written)
        held = asked.labels if written.annotations else asked.labels[asked.labels["kind"] == "image"]
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
            by_class=counted(held["label"]),
            by_status=counted(held["status"]),
            by_split=by_split,
            temperatures=units_of(asked.labels),
            left_out=left_out,
            losses=written.losses,
            warnings=tuple(notes),
        )
        write_manifest(
            staging, report, {**facts, "pictures": pictures.to_dict("records")}, set(pictures["proxy"])
        )
        if settings.out is None:
            keep_record(asked, staging / RECORD, known.folder.name, settings.format)
    places.remember(workspace, "export", name)
    return report


def _adopt(workspace: Path, run_name: str, known: EmbeddingSet) -> None:
    """Take up the labels that a run of an earlier version was given: it kept them beside its proposals."""
    given = places.proposals_folder(workspace, run_name) / GIVEN
    if given.is_file() and said(workspace, known.folder.name).empty:
        bring_in(given, known, workspace)


def export_name(settings: ExportSettings, run_name: str, said_since: str, only: list[str] | None) -> str:
    """Name an export by its run, its format and, where they differ from the start, settings and labels.

    ``said_since`` names what people said since the run, so that an export that somebody corrects stays.
    """
    differs: dict[str, Any] = settings.model_dump(mode="json", exclude=NOT_IN_NAME, exclude_defaults=True)
    if said_since:
        differs["said"] = said_since
    if only is not None:
        differs["only"] = only  # the images, not the name of the list: it may hold others tomorrow
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
    where = places_of(asked, format_)
    files, pictures = list(written.files), pd.DataFrame({"proxy": []})
    if settings.proxies:
        pictures = put_proxies(asked, where, folder, known)
        files.append(PROXIES)
    else:
        if settings.copies or format_.holds_pictures:
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
    format_, check = (
        FORMATS[settings.format],
        Check(target=settings.format, category_base=settings.category_base),
    )
    nothing = not written.annotations and not written.image_labels
    if nothing and format_.holds_pictures:
        return ["No label is written: this format holds labels of whole images, and there are none."]
    said = [line.replace(f"{folder.name}: ", "") for line in sentences(format_.faults(folder, check))]
    if not settings.proxies:
        said += remarks(asked.images["image"], known)
        if settings.format in POINTS_AT and not settings.copies:
            first = format_.picture(*asked.images.iloc[0][["split", "file_name"]])
            said.append(
                f"Pictures are looked for in this folder, {first} the first: --proxies writes them there."
            )
    if nothing:
        said.append("No label is written: every proposal was left unknown. The images are listed.")
    return said


def _refuse_among_images(settings: ExportSettings, known: EmbeddingSet) -> None:
    """Refuse to put pictures where the next `embed` would take them for images of the set."""
    pictures = settings.proxies or settings.copies or FORMATS[settings.format].holds_pictures
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
