"""`dinotool embed`: every image of a folder, and every salient region in it, becomes vectors."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, field_validator

from dinonat.embeddings.extract import Recipe, embed_shard
from dinonat.embeddings.given import given_boxes
from dinonat.embeddings.store import META, Meta, SetWriter, clear, read_meta
from dinonat.errors import ImageError, UsageError
from dinonat.files import short_hash
from dinonat.images.batches import Shown, read_prepared
from dinonat.images.listing import list_images
from dinonat.images.prepare import Preparation, parse_preparation
from dinonat.images.reading import Reading, parse_reading
from dinonat.models.catalog import load_network
from dinonat.models.network import Network
from dinonat.models.timm_built import PREFIX
from dinonat.pipelines import workspace as places
from dinonat.pipelines.devices import device_named, limited_to
from dinonat.pipelines.embed_report import EmbedReport
from dinonat.pipelines.inputs import find_recordings, remarked, shown, shown_as
from dinonat.pipelines.progress import say, track
from dinonat.records import STARTER, ImageRef, Region


class EmbedSettings(Recipe):
    """What `dinotool embed` can be told; what decides the vectors is in Recipe."""

    images: Path | None = None  # folder
    list_file: Path | None = None  # names the images instead, a path a line
    regions: Path | None = None  # labelled boxes (COCO, CSV) that take the place of saliency
    recordings: Path | None = None  # CSV image,recording; None = recordings.csv in or beside the folder
    name: str | None = None  # of the set; None = name of the folder
    weights: str | None = None  # run, starter, file, timm:NAME=FILE or untrained:SEED; None: newest run
    prepare: str = "percentile"  # or recording, dataset, window=LO:HI, clahe
    invert: str = "auto"  # auto: pictures known to show hot as dark are turned around; or yes, no
    scale: str = ""  # what one count is, where files do not say: 0.04K or 0.1C
    object: str = ""  # replaces what the camera noted: emissivity=0.95,distance=10
    limits_of: str | None = None  # set whose images have their limits already, for the same pixels again
    shard_images: int = Field(64, ge=1)  # images that a kill can cost
    workers: int = Field(1, ge=0)  # processes that read images while the network works
    threads: int | None = Field(None, ge=1)
    device: str = "auto"
    again: bool = False
    strict: bool = False

    @field_validator("invert", mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        """Take back what YAML makes of yes and no."""
        return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value

    @property
    def reading(self) -> Reading:
        """How files are read. Raises UsageError for a bad scale or object."""
        return parse_reading(self.scale, self.object)

    @property
    def preparation(self) -> Preparation:
        """How frames become pictures. Raises UsageError for a bad one."""
        return parse_preparation(self.prepare, invert=self.invert)


# Of the settings: those that decide the bytes.
DECIDING = {*Recipe.model_fields, "prepare", "invert", "scale", "object", "shard_images"}


@dataclass(frozen=True, eq=False)
class _Job:
    """What one call embeds, with what."""

    name: str
    refs: tuple[ImageRef, ...]
    weights: str
    network: Network
    fingerprint: str
    given: dict[str, list[Region]] | None
    recordings: dict[str, str]
    recordings_file: Path | None
    remarks: list[str]


def run(settings: EmbedSettings, workspace: Path) -> EmbedReport:
    """Embed the images of ``settings.images`` into a set of ``workspace``; go on where a run was killed.

    Raises UsageError without a folder, ImageError where no image can be read, WorkspaceError where the
    set exists and was made otherwise, LabelError for a bad file of regions or recordings.
    """
    if settings.images is None:
        raise UsageError("embed: no folder of images was given. Write `dinotool embed FOLDER`.")
    places.create(workspace)
    _ = settings.preparation, settings.reading  # a slip in them is said before anything is read
    job = _job(settings, settings.images, workspace)
    folder = places.set_folder(workspace, job.name)
    making = _making(settings, settings.images, job, folder, workspace)
    if settings.again:
        clear(folder)
    files = {"regions_file": settings.regions, "recordings_file": job.recordings_file}
    notes = {key: str(file.resolve()) if file else None for key, file in files.items()}
    writer = SetWriter(folder, making, notes={"weights": job.weights, **notes})
    if writer.complete:
        report = _report(job, folder, already_done=True)
    else:
        shown = _shown(settings, job, workspace)
        resumed, per_second = _embed(settings, job, writer, shown)
        report = _report(job, folder, images_per_second=per_second, resumed=resumed)
    if report.failed >= report.images and report.regions == 0:
        raise ImageError(
            f"{settings.images}: none of {report.images} images can be read ({report.failures[0][1]})."
        )
    places.remember(workspace, "set", job.name)
    return report


def _job(settings: EmbedSettings, images: Path, workspace: Path) -> _Job:
    listing = list_images(images, list_file=settings.list_file)
    remarks = [f"{path}: {reason}" for path, reason in listing.skipped]
    weights, file = _weights(settings.weights, workspace, remark=remarks.append)
    network, fingerprint = load_network(file, remark=remarks.append)
    if settings.saliency == "attention" and not network.attends:
        raise UsageError(
            f"--saliency attention: {weights} has no attention to tell of. Take the default, ncut+attention, "
            "which then goes by cuts and contrast, or --saliency ncut."
        )
    warn = remarks.append
    recordings, recordings_file = find_recordings(
        settings.recordings, images, listing.refs, workspace=workspace, warn=warn
    )
    return _Job(
        name=settings.name or images.resolve().name,
        refs=listing.refs,
        weights=weights,
        network=network,
        fingerprint=fingerprint,
        given=given_boxes(settings.regions, listing.refs, warn=warn) if settings.regions else None,
        recordings=recordings,
        recordings_file=recordings_file,
        remarks=remarks,
    )


def _weights(asked: str | None, workspace: Path, *, remark: Callable[[str], object]) -> tuple[str, str]:
    """Return how to name the weights again, and what ``load_network`` takes: a file, or as asked.

    Where none are asked for: the newest run of the workspace, what it began with where that was better, or
    the starter weights where there is no run. ``remark`` gets a sentence that says which.
    """
    if asked is None:
        asked, said = places.newest_weights(workspace)
        remark(said)
    file = places.weights_file(workspace, asked)
    if asked.startswith(PREFIX):
        named, equals, path = asked.partition("=")
        return f"{named}={Path(path).resolve()}" if equals else asked, file
    if file == asked and asked != STARTER and not asked.startswith("untrained:"):
        return str(Path(asked).resolve()), file
    return asked, file


def _making(settings: EmbedSettings, images: Path, job: _Job, folder: Path, workspace: Path) -> Meta:
    """Return all that decides the bytes of the set, as meta.json keeps it."""
    lender = settings.limits_of and read_meta(places.set_folder(workspace, settings.limits_of))
    return {
        "root": str(images.resolve()),
        "images": len(job.refs),
        "image_files": short_hash([(ref.name, ref.file.stat().st_size) for ref in job.refs]),
        "model": job.fingerprint,
        "settings": _deciding(settings, folder),
        "regions": None if job.given is None else short_hash(_plain(job.given)),
        "recordings": short_hash(job.recordings) if job.recordings else None,
        "limits_of": lender["identity"] if lender else None,
        "threads": settings.threads or _threads_before(folder) or torch.get_num_threads(),
        "device": device_named(settings.device).type,
    }


def _plain(given: dict[str, list[Region]]) -> list[tuple[str, str, tuple[float, ...]]]:
    return [(image, region.label, region.box_xywh) for image, own in given.items() for region in own]


def _deciding(settings: EmbedSettings, folder: Path) -> dict[str, Any]:
    """Return the settings that decide the bytes; those newer than the set in ``folder`` only where set.

    A set made before a setting was there is one made with its default, and stays the same set.
    """
    now = settings.model_dump(mode="json", include=DECIDING)
    usual = EmbedSettings.checked({}).model_dump(mode="json", include=DECIDING)
    before = read_meta(folder)["settings"] if (folder / META).exists() and not settings.again else now
    return {key: value for key, value in now.items() if key in before or value != usual[key]}


def _threads_before(folder: Path) -> int | None:
    """Return with how many threads a set was begun: it goes on with as many, for the same last digits."""
    return read_meta(folder).get("threads") if (folder / META).exists() else None


def _shown(settings: EmbedSettings, job: _Job, workspace: Path) -> Shown:
    """Return how the images are read and prepared."""
    preparation, reading = settings.preparation, settings.reading
    if settings.limits_of is not None:
        return shown_as(places.set_folder(workspace, settings.limits_of), job.refs, preparation, reading)
    return shown(
        job.refs, preparation, reading, recordings=job.recordings, workers=settings.workers, title=job.name
    )


def _embed(settings: EmbedSettings, job: _Job, writer: SetWriter, shown: Shown) -> tuple[int, float]:
    """Write the shards that are not there yet; return how many images were, and images/s for the rest."""
    size = settings.shard_images
    shards = {i: job.refs[i * size : (i + 1) * size] for i in range(-(-len(job.refs) // size))}
    todo = [ref for shard, refs in shards.items() if shard not in writer.done for ref in refs]
    network = job.network.to(writer.making["device"])
    recipe = Recipe.checked(settings.model_dump(include=set(Recipe.model_fields)))
    say(f"{job.name}: {len(todo)} of {len(job.refs)} images, network {job.weights} ({job.fingerprint})")
    start = time.perf_counter()
    loaded = remarked(read_prepared(todo, workers=settings.workers, shown=shown), job.remarks)
    with closing(loaded), limited_to(writer.making["threads"]):
        images = track(loaded, "embed", total=len(todo))
        for shard, refs in shards.items():
            if shard not in writer.done:
                own = islice(images, len(refs))
                items, parts = embed_shard(network, own, recipe, given=job.given, recordings=job.recordings)
                writer.write(shard, items, parts)
    writer.finish(shards=len(shards))
    return len(job.refs) - len(todo), len(todo) / (time.perf_counter() - start)


def _report(
    job: _Job, folder: Path, *, images_per_second: float = 0.0, resumed: int = 0, already_done: bool = False
) -> EmbedReport:
    meta = read_meta(folder)
    counts = meta["counts"]
    return EmbedReport(
        set=job.name,
        folder=str(folder),
        images=counts["images"],
        regions=counts["regions"],
        failed=counts["failed"],
        failures=tuple((image, reason) for image, reason in meta["failures"]),
        recordings=len(set(job.recordings.values())),
        units=meta["units"],
        weights=job.weights,
        model=job.fingerprint,
        settings=meta["settings"],
        images_per_second=round(images_per_second, 2),
        resumed=resumed,
        already_done=already_done,
        remarks=tuple(job.remarks),
    )
