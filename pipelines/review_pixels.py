"""The pictures of the review page: measured values in 16 bits, what the network saw, crops, colour twins."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dinonat.errors import ImageError, UsageError
from dinonat.images.faults import printable
from dinonat.images.served import COLOURED, OUTSIDE, Box, Served, Wanted
from dinonat.pipelines.review_list import Shown
from dinonat.pipelines.review_reading import STOPPED, Pixels

CROP_SIDE, SHOWN_SIDE, TWIN_SIDE, MOST_SIDE = 256, 1600, 2048, 4096
STATUS = {COLOURED: 415, OUTSIDE: 400, STOPPED: 503}  # of faults; 404 of all others
KEEP = {"Cache-Control": "private, max-age=3600"}  # addresses hold the run
GONE = 499  # the page has turned away: nobody reads this answer
FAR = 1e9  # pixels that no box reaches
SAME_FRAME = 0.02  # by which the ratio of two sides may differ where both show the same

Answer = Callable[[Pixels, Request], Awaitable[Response]]


def routes(shown: Shown, pixels: Pixels | None = None) -> list[Route]:
    """Return the addresses of pictures: images are numbers, labels are ids, no address holds a path.

    Whoever brings ``pixels`` closes them in the end.
    """
    pixels = pixels or Pixels(shown)
    return [Route(address, partial(_in_sentences, pixels, answer)) for address, answer in ADDRESSES.items()]


async def _in_sentences(pixels: Pixels, answer: Answer, request: Request) -> Response:
    try:
        return await answer(pixels, request)
    except UsageError as error:
        return _fault(400, str(error))
    except ImageError as error:
        return _fault(404, str(error))


async def _values(pixels: Pixels, request: Request) -> Response:
    """Answer with sixteen bits of an image, or of its part x, y, w, h."""
    return _response(await pixels.of_image(request, _image(request), "values", box=_box(request)))


async def _whole(pixels: Pixels, request: Request) -> Response:
    """Answer with eight bits of an image, as the network saw it."""
    side = _side(request, SHOWN_SIDE)
    return _response(await pixels.of_image(request, _image(request), "whole", side=side))


async def _crop_of(pixels: Pixels, request: Request) -> Response:
    """Answer with a box of an image and what is around it, without a box with the whole image, small."""
    return await _cut(pixels, request, _image(request), _box(request))


async def _crop(pixels: Pixels, request: Request) -> Response:
    """Answer likewise for a proposal: its own box, or a given one, since a person may have moved it."""
    shown, row = pixels.shown, _row(pixels.shown, request)
    box = _box(request)
    if box is None and not shown.whole[row]:
        x, y, w, h = shown.boxes[row].tolist()
        box = (x, y, w, h)
    return await _cut(pixels, request, int(shown.image_of[row]), box)


async def _cut(pixels: Pixels, request: Request, image: int, box: Box | None) -> Response:
    form = "whole" if box is None else "crop"
    side = _side(request, CROP_SIDE)
    return _response(await pixels.of_image(request, image, form, box=box, side=side))


async def _twin(pixels: Pixels, request: Request) -> Response:
    """Answer with the colour image of the same moment; X-Note says where it is framed otherwise."""
    image = _image(request)
    own = pixels.shown.ref(image)
    ref = (await run_in_threadpool(lambda: pixels.twins)).get(image)
    if ref is None:
        raise ImageError(f"{printable(own.name)}: no colour twin is known. `dinotool inspect` finds twins.")
    served = await pixels.of_file(request, ref, Wanted("photograph", ref.name, Path(), side=TWIN_SIDE))
    if served is not None and not served.fault:
        note = _framing(pixels.shown.pictures.iloc[image], served.facts)
        served = replace(served, facts=served.facts | ({"Note": note} if note else {}))
    return _response(served)


def _framing(own: pd.Series, twin: Mapping[str, str]) -> str:
    """Say where a twin cannot show the same section as the thermal image: its sides have another ratio."""
    ratio = float(own["width"]) / float(own["height"])
    other = float(twin["Full-Width"]) / float(twin["Full-Height"])
    if abs(other / ratio - 1) <= SAME_FRAME:
        return ""
    return (
        f"The colour image has other proportions ({other:.2f} : 1, not {ratio:.2f} : 1), so it shows another "
        "section: boxes do not lie on the same things."
    )


async def _mask(pixels: Pixels, request: Request) -> Response:
    """Answer with the COCO run lengths of a proposal's mask, column by column."""
    row = _row(pixels.shown, request)
    own = pixels.shown.table.iloc[row]
    counts = pixels.shown.mask(row)
    if not counts:
        raise ImageError("This proposal has no mask.")
    size = [int(own["height"]), int(own["width"])]
    return JSONResponse({"size": size, "counts": list(counts)}, headers=KEEP)


ADDRESSES: dict[str, Answer] = {
    "/pixels/{image:int}": _values,
    "/shown/{image:int}": _whole,
    "/crop-of/{image:int}": _crop_of,
    "/crop/{label}": _crop,
    "/twin/{image:int}": _twin,
    "/mask/{label}": _mask,
}


def _response(served: Served | None) -> Response:
    if served is None:
        return Response(status_code=GONE)
    if served.fault:
        return _fault(STATUS.get(served.fault, 404), served.reason)
    facts = {f"X-{name}": value for name, value in served.facts.items()}
    return Response(served.body, media_type=served.media, headers=facts | KEEP)


def _fault(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status_code=status)


def _image(request: Request) -> int:
    return int(request.path_params["image"])


def _row(shown: Shown, request: Request) -> int:
    row = shown.place_of.get(request.path_params["label"])
    if row is None:
        raise ImageError(f"No proposal of this id in run {shown.run}.")
    return row


def _box(request: Request) -> Box | None:
    """Return x, y, w, h of the address, in pixels of the whole image; None where it has none of them."""
    given = [request.query_params.get(side) for side in "xywh"]
    if all(text is None for text in given):
        return None
    try:
        x, y, w, h = (float(text or "") for text in given)
    except ValueError:
        raise UsageError("A part of an image needs the four numbers x, y, w and h.") from None
    if not all(abs(side) < FAR for side in (x, y, w, h)) or min(w, h) <= 0:
        raise UsageError("A part of an image needs x and y that lie near it, and w and h above 0.")
    return x, y, w, h


def _side(request: Request, default: int) -> int:
    """Return the longest side that is asked for, in pixels."""
    text = request.query_params.get("side", str(default))
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= MOST_SIDE:
        raise UsageError(f"side={text[:20]}: expected a number of pixels from 1 to {MOST_SIDE}.")
    return int(text)
