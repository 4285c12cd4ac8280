"""The figures of `dinotool agreement`: attention by head and stage, colour above thermal; a test by eye."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dinonat.agreement.heads import head_maps
from dinonat.embeddings.framing import shown
from dinonat.errors import ImageError
from dinonat.files import short_hash, write_bytes, write_json
from dinonat.images.batches import Shown, read_prepared
from dinonat.images.listing import list_images, spread
from dinonat.images.prepare import parse_preparation
from dinonat.images.reading import parse_reading
from dinonat.pages.attention_sheets import Pair, Row, sheet
from dinonat.pages.blind_sheets import blind_key, blind_sheet
from dinonat.pipelines import workspace as places
from dinonat.pipelines.agreement_pictures import Pictures
from dinonat.pipelines.agreement_report import PicturesReport
from dinonat.pipelines.agreement_settings import AgreementSettings
from dinonat.pipelines.agreement_table import Weights
from dinonat.records import UInt8


def draw_pairs(
    settings: AgreementSettings, pictures: Pictures, weights: Sequence[Weights], folder: Path
) -> list[Path]:
    """Draw pairs spread over the set, a sheet for each network that has attention; and the test by eye."""
    drawn = []
    pairs = pictures.pairs
    chosen = spread(range(len(pairs)), settings.pictures) if settings.pictures else []
    lights = pictures.colour, next(iter(pictures.thermal.values()))
    whole = [light.squares.whole for light in lights] if settings.pictures or settings.blind else []
    for own in weights if chosen else ():
        if own.network.attends:
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
    if settings.blind:
        drawn += _blind(settings, pictures, weights[0], whole, folder)
    return drawn


def draw_alone(
    settings: AgreementSettings, weights: Sequence[Weights], workspace: Path, remarks: Sequence[str]
) -> PicturesReport:
    """Draw pictures of one folder, or of two that do not belong together, each picture for itself.

    Raises ImageError where none can be read.
    """
    folders = {"colour": settings.colour, "thermal": settings.thermal}
    rows: list[tuple[str, str, UInt8]] = []
    failed: list[str] = []
    for name, folder in folders.items():
        if folder is not None:
            alone = settings.thermal is None
            for title, pixels in _some(folder, settings, failed):
                rows.append(("" if alone else name, title, pixels))
    if not rows:
        raise ImageError(f"{settings.colour}: no picture can be read. The first: {failed[0]}")
    name = short_hash([str(folder) for folder in folders.values()], settings.pictures, settings.prepare)
    place = places.agreements_folder(workspace, f"pictures-{name}")
    drawn = []
    for own in weights:
        looks = [head_maps(own.network, [pixels])[0] for _, _, pixels in rows]
        made = [
            Pair(title, [Row(word, pixels, seen)])
            for (word, title, pixels), seen in zip(rows, looks, strict=True)
        ]
        drawn.append(_keep(sheet(made, heading=_heading(own)), place / f"attention-{_short(own)}.png"))
    return PicturesReport(tuple(map(str, drawn)), (*remarks, *failed))


def _some(folder: Path, settings: AgreementSettings, failed: list[str]) -> list[tuple[str, UInt8]]:
    refs = spread(list_images(folder).refs, settings.pictures)
    how = Shown(
        parse_preparation(settings.prepare[0], invert=settings.invert),
        reading=parse_reading(settings.scale, settings.object),
    )
    found = []
    for one in read_prepared(refs, workers=0, shown=how):
        if one.prepared is None:
            failed.append(one.reason)
        else:
            found.append((one.ref.name, shown(one.prepared.pixels, (settings.size, settings.size))))
    return found


def _blind(
    settings: AgreementSettings, pictures: Pictures, own: Weights, whole: Sequence[UInt8], folder: Path
) -> list[Path]:
    """Draw attention of pairs without pictures and captions, half of them shuffled, and write the answers.

    Which pairs they are is drawn by the seed: where they lay evenly, whoever knows the set could guess.
    """
    count = min(settings.blind, len(pictures.groups))
    chosen = np.random.default_rng(settings.seed).choice(len(pictures.groups), count, replace=False)
    key = blind_key([str(group) for group in pictures.groups[chosen]], seed=settings.seed)
    looks = [[each.overall for each in head_maps(own.network, list(side[chosen]))] for side in whole]
    answers = {str(place): "partners" if i == j else "strangers" for place, (i, j) in enumerate(key, start=1)}
    write_json(folder / "blind-answers.json", answers)
    shape = (settings.size, settings.size)
    return [_keep(blind_sheet(looks[0], looks[1], key, shape), folder / "blind.png")]


def _heading(own: Weights) -> str:
    return f"Attention of {own.name} ({own.built}): last block of each stage, by head"


def _short(own: Weights) -> str:
    return own.fingerprint.replace("untrained-", "u")[:12]


def _keep(image: Image.Image, path: Path) -> Path:
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    write_bytes(path, stream.getvalue())
    return path
