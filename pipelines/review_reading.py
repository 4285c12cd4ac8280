"""Worker processes that read the images of the review page, and the last of their answers.

Decoders are native and files come from outside, so that they run in processes of their own, which stay; one
that dies costs its image a sentence. The last answers are kept, by their size. A request whose page does
not want its answer any more is dropped before anything is decoded for it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from threading import Lock

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from dinonat.errors import DinonatError
from dinonat.images.faults import printable
from dinonat.images.served import UNREADABLE, Box, Served, Wanted, lost, serve
from dinonat.images.workers import Standing
from dinonat.pipelines.review_list import Shown
from dinonat.pipelines.review_twins import twins_of
from dinonat.records import ImageRef

PROCESSES = 2
CACHED_BYTES = 2**26
SECONDS = 60.0  # that reading one image may take
STOPPED = "stopped"  # no process reads: nothing is wrong with the file


class Answers:
    """The last answers, most recently used last, at most so many bytes."""

    def __init__(self, most: int = CACHED_BYTES) -> None:
        self._most, self.bytes = most, 0
        self._kept: OrderedDict[Wanted, Served] = OrderedDict()
        self._lock = Lock()

    def get(self, wanted: Wanted) -> Served | None:
        """Return what is known already."""
        with self._lock:
            if wanted in self._kept:
                self._kept.move_to_end(wanted)
            return self._kept.get(wanted)

    def put(self, wanted: Wanted, served: Served) -> None:
        """Keep an answer; those that were not asked for the longest go."""
        with self._lock:
            if wanted in self._kept or len(served.body) > self._most:
                return
            self._kept[wanted] = served
            self.bytes += len(served.body)
            while self.bytes > self._most:
                self.bytes -= len(self._kept.popitem(last=False)[1].body)


class Pixels:
    """Reads the images of one run in two processes, which are started when they are first needed."""

    def __init__(self, shown: Shown) -> None:
        self.shown, self.known = shown, shown.known.shown
        self.answers = Answers()
        self._free = asyncio.Semaphore(PROCESSES)
        reading = partial(serve, shown=replace(self.known, limits={}))
        self._processes: Standing[Wanted, Served] = Standing(
            reading, workers=PROCESSES, on_death=lost, belongs_to=_file, seconds=SECONDS
        )

    @cached_property
    def twins(self) -> Mapping[int, ImageRef]:
        """The colour twins, by the place of the thermal image."""
        return twins_of(self.shown)

    async def of_image(
        self, request: Request, image: int, form: str, *, box: Box | None = None, side: int = 0
    ) -> Served | None:
        """Return what is asked of the image at a place of the list; None where nobody waits any more.

        Raises ImageError where there is no such place.
        """
        ref = await run_in_threadpool(self.shown.ref, image)  # asks the disk, which may be slow
        limits = self.known.limits.get(ref.name)
        return await self.of_file(request, ref, Wanted(form, ref.name, Path(), 0, (0, 0), limits, box, side))

    async def of_file(self, request: Request, ref: ImageRef, wanted: Wanted) -> Served | None:
        """Return what is wanted of a file, or None where nobody waits for it any more."""
        located = await run_in_threadpool(_located, ref, wanted)
        if isinstance(located, Served):
            return located
        if (known := self.answers.get(located)) is not None:
            return known
        async with self._free:
            known = self.answers.get(located)  # another request may have asked for the same meanwhile
            if known is not None or await request.is_disconnected():
                return known
            try:
                served = await asyncio.wrap_future(self._processes.submit(located))
            except DinonatError as error:
                return Served(fault=STOPPED, reason=str(error))
        self.answers.put(located, served)
        return served

    def close(self) -> None:
        """End the processes."""
        self._processes.close()


def _file(wanted: Wanted) -> tuple[Path, tuple[int, int]]:
    return wanted.file, wanted.stamp  # a file that was replaced gets another chance


def _located(ref: ImageRef, wanted: Wanted) -> Wanted | Served:
    """Find the file itself, links followed, with its size and time of change; it lies below its folder."""
    name = printable(ref.name)
    try:
        real = ref.file.resolve(strict=True)
        facts = real.stat()
    except OSError as error:
        why = error.strerror or type(error).__name__
        return Served(fault=UNREADABLE, reason=f"{name}: cannot be read ({why}).")
    if not real.is_relative_to(ref.root.resolve()):
        return Served(fault=UNREADABLE, reason=f"{name}: leads out of its folder, so it is not read.")
    return replace(wanted, file=real, frame=ref.frame, stamp=(facts.st_size, facts.st_mtime_ns))
