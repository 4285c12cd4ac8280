"""The figures of `dinotool agreement`: attention by head and stage, colour above thermal; a test by eye."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dinonat.agreement.heads import head_maps
from dinonat.embeddings.framing import shown as squashed
from dinonat.errors import ImageError, UsageError
from dinonat.files import short_hash, write_bytes, write_json
from dinonat.images.batches import read_prepared
from dinonat.images.listing import list_images, spread
from dinonat.images.prepare import parse_preparation
from dinonat.images.reading import parse_reading
from dinonat.pages.attention_sheets import Pair, Row, sheet
from dinonat.pages.blind_sheets import blind_key, blind_sheet
from dinonat.pages.looks import render
from dinonat.pages.pictures import png
from dinonat.pipelines import workspace as places
from dinonat.pipelines.agreement_networks import Weights
from dinonat.pipelines.agreement_pictures import Pictures
from dinonat.pipelines.agreement_report import ANSWERS, BLIND, PicturesReport
from dinonat.pipelines.agreement_settings import AgreementSettings
from dinonat.pipelines.inputs import find_recordings, shown
from dinonat.pipelines.partners import counted
from dinonat.records import Int64, UInt8

DRAWS, FEWER = 20, 3  # of pairs for the test by eye: each so often, of each of so many numbers

BlindOrder = tuple[Int64, list[tuple[int, int]]]  # places of the pairs, (colour, thermal) among them in order


def draw_pairs(
    settings: AgreementSettings,
    pictures: Pictures,
    weights: Sequence[Weights],
    folder: Path,
    blind: BlindOrder | None,
) -> list[Path]:
    """Draw pairs spread over the set, a sheet for each network that has attention; and the test by eye."""
    weights = [own for own in weights if own.network.attends]
    drawn = []
    pairs = pictures.pairs
    chosen = spread(range(len(pairs)), settings.pictures) if settings.pictures else []
    lights = pictures.colour, next(iter(pictures.thermal.values()))
    whole = [light.squares.whole for light in lights] if settings.pictures or settings.blind else []
    for own in weights if chosen else ():
        looks = [head_maps(own.network, list(side[chosen])) for side in whole]
        made = [
            Pair(
                f"{pairs.colour[at].name} and {pairs.thermal[at].name}",
                [
                    Row(name, side[at], seen[i])
                    for name, side, seen in zip(("colour", "thermal"), whole, looks, strict=True)
                ],
            )
            for i, at in enumerate(chosen)
        ]
        drawn.append(_keep(sheet(made, heading=_heading(own)), folder / f"attention-{_short(own)}.png"))
    if blind and weights:
        drawn += _blind(settings, weights[0], whole, folder, blind)
    return drawn


def undrawn(settings: AgreementSettings, weights: Sequence[Weights]) -> list[str]:
    """Say of which networks nothing is drawn though pictures are asked for, as they have no attention."""
    names = [own.name for own in weights if not own.network.attends]
    if not names or not (settings.pictures or settings.blind):
        return []
    return [counted(names, "network has no attention to draw", "networks have no attention to draw")]


def blind_order(settings: AgreementSettings, pictures: Pictures) -> BlindOrder | None:
    """Return the pairs of the test by eye and their order, None where it is not asked for.

    Which pairs they are is drawn by the seed: where they lay evenly, whoever knows the set could guess. A
    draw of nearly one recording is drawn again, and one or two pairs fewer are taken where it has to be: of
    two recordings three cannot be shuffled. Raises UsageError where none can.
    """
    if not settings.blind:
        return None
    groups, generator = pictures.groups, np.random.default_rng(settings.seed)
    most, said = min(settings.blind, len(groups)), ""
    for count in np.repeat(range(most, max(0, most - FEWER), -1), DRAWS).tolist():
        chosen = generator.choice(len(groups), count, replace=False)
        try:
            return chosen, blind_key([str(group) for group in groups[chosen]], seed=settings.seed)
        except UsageError as error:
            said = said or f"--blind {settings.blind}: {error}"
    raise UsageError(said)


def draw_alone(
    settings: AgreementSettings, weights: Sequence[Weights], workspace: Path, remarks: Sequence[str]
) -> PicturesReport:
    """Draw pictures of one folder, or of two that do not belong together, each picture for itself.

    Raises ImageError where none can be read, UsageError where no network has attention.
    """
    remarks = [*remarks, *undrawn(settings, weights)]
    if settings.blind or settings.labels:
        remarks.append("--blind and --labels need pairs of two folders and are left out.")
    folders = {"colour": settings.colour, "thermal": settings.thermal}
    rows: list[tuple[str, str, UInt8]] = []
    failed: list[str] = []
    for name, folder in folders.items():
        if folder is not None:
            alone = settings.thermal is None
            for title, pixels in _some(folder, settings, workspace, remarks, failed):
                rows.append(("" if alone else name, title, pixels))
    if not rows:
        raise ImageError(f"{settings.colour}: no picture can be read. The first: {failed[0]}")
    asked = settings.model_dump(mode="json", exclude={"workers", "threads", "device"})
    place = places.agreements_folder(workspace, f"pictures-{short_hash(asked)}")
    drawn = []
    attending = [own for own in weights if own.network.attends]
    for own in attending or weights:  # where none attends, the first says so
        looks = [head_maps(own.network, [pixels])[0] for _, _, pixels in rows]
        made = [
            Pair(title, [Row(word, pixels, seen)])
            for (word, title, pixels), seen in zip(rows, looks, strict=True)
        ]
        drawn.append(_keep(sheet(made, heading=_heading(own)), place / f"attention-{_short(own)}.png"))
    sheets = [(path.name, path.read_bytes()) for path in drawn]
    write_bytes(place / "report.html", render(sheets, remarks=(*remarks, *failed)).encode())
    return PicturesReport(tuple(map(str, drawn)), str(place / "report.html"), (*remarks, *failed))


def _some(
    folder: Path, settings: AgreementSettings, workspace: Path, remarks: list[str], failed: list[str]
) -> list[tuple[str, UInt8]]:
    """Return names and squares of pictures spread over a folder, shown as all of it would be."""
    refs = list_images(folder).refs
    preparation = parse_preparation(settings.prepare[0], invert=settings.invert)
    reading = parse_reading(settings.scale, settings.object)
    known, _ = find_recordings(settings.recordings, folder, refs, workspace=workspace, warn=remarks.append)
    how = shown(
        refs, preparation, reading, recordings=known, workers=settings.workers, title=folder.resolve().name
    )
    found = []
    for one in read_prepared(spread(refs, settings.pictures), workers=0, shown=how):
        if one.prepared is None:
            failed.append(one.reason)
        else:
            found.append((one.ref.name, squashed(one.prepared.pixels, (settings.size, settings.size))))
    return found


def _blind(
    settings: AgreementSettings, own: Weights, whole: Sequence[UInt8], folder: Path, order: BlindOrder
) -> list[Path]:
    """Draw attention of pairs without pictures and captions, half of them shuffled, and write the answers."""
    chosen, key = order
    looks = [[each.overall for each in head_maps(own.network, list(side[chosen]))] for side in whole]
    answers = {str(place): "partners" if i == j else "strangers" for place, (i, j) in enumerate(key, start=1)}
    write_json(folder / ANSWERS, answers)
    shape = (settings.size, settings.size)
    return [_keep(blind_sheet(looks[0], looks[1], key, shape), folder / BLIND)]


def _heading(own: Weights) -> str:
    return f"Attention of {own.name} ({own.built}): last block of each stage, by head"


def _short(own: Weights) -> str:
    return own.fingerprint.replace("untrained-", "u")[:12]


def _keep(image: Image.Image, path: Path) -> Path:
    write_bytes(path, png(image))
    return path
