"""Findings about files: unreadable ones, and a folder that mixes what does not belong together."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from dinonat.images.faults import COPY_AGAIN
from dinonat.survey.facts import Facts
from dinonat.survey.finding import Finding, Marked, Seen, alone, counted, many, verb
from dinonat.survey.groups import sizes_of

WORDS = {"celsius": "degrees Celsius", "counts": "counts", "grey": "grey levels of display pictures"}
NAMED = 5  # files or kinds that a sentence names
EIGHT_IN_MORE = "need only 8"  # in a warning of the reader
LISTS = "--list (lists/kind-N.txt beside the page names the images of kind N)"


def of_files(seen: Seen) -> Iterator[Finding]:
    """Yield the findings about unreadable and skipped files."""
    lost = [fact for fact in seen.facts if fact.reason]
    if lost:
        yield Finding(
            key="unreadable",
            severity="problem",
            title="Files that cannot be read",
            count=len(lost),
            of=len(seen.facts),
            what=f"{counted(len(lost))} of {len(seen.facts):,} cannot be read: "
            + _first([fact.reason.removesuffix(f" {COPY_AGAIN}").rstrip(".") for fact in lost])
            + ".",
            means="They get no vector and no label; every other image is used.",
            do="Copy them again from their source, or leave them: every command passes over them and says "
            "so.",
            images=tuple(fact.image for fact in lost),
        )
    if seen.skipped:
        said = _first([f"{path}: {reason}" for path, reason in seen.skipped])
        yield Finding(
            key="skipped",
            severity="warn",
            title="Passed over",
            count=len(seen.skipped),
            of=len(seen.facts) + len(seen.skipped),
            what=f"{counted(len(seen.skipped), 'name')} of the folder "
            f"{verb(len(seen.skipped), 'was', 'were')} not looked at: {said}.",
            means="What is not looked at gets no label.",
            do="Mend the names or permissions if images are among them.",
        )


def of_mixes(seen: Seen) -> Iterator[Finding]:
    """Yield the findings about units, cameras, depths and sizes of the thermal images."""
    thermal = seen.thermal
    units = _split(thermal, lambda fact: WORDS[fact.unit])
    if len(units) > 1:
        yield Finding(
            key="mixed-units",
            severity="problem",
            title="Several units",
            count=len(thermal),
            of=len(seen.facts),
            what=f"The thermal images hold {_shares(units)}.",
            means="A number means something else in each of them: temperatures in results, "
            "--prepare window and --prepare dataset hold for one unit only.",
            do=f"Embed each kind as a set of its own with {LISTS}; counts whose scale you know become "
            "degrees with --scale, for example --scale 0.04K.",
            images=tuple(fact.image for fact in thermal),
            examples=tuple((Marked(own[0].image, note=unit),) for unit, own in units.items()),
        )
    yield from _cameras(seen)
    yield from _depths(seen)
    sizes = _split(thermal, lambda fact: fact.size)
    if len(sizes) > 1:
        yield Finding(
            key="mixed-sizes",
            severity="info",
            title="Several sizes",
            count=len(thermal),
            of=len(seen.facts),
            what="The thermal images have several sizes: "
            + (_shares(sizes) if len(sizes) <= NAMED else sizes_of(thermal))
            + ".",
            means="The same thing covers another number of pixels in each, so boxes of one size cannot be "
            "expected; vectors are made at one size whatever the picture's.",
            do="Nothing, unless they come from several lenses or crops that you would rather keep apart.",
        )


def _cameras(seen: Seen) -> Iterator[Finding]:
    cameras = _split(seen.thermal, lambda fact: fact.camera or "files that name no camera")
    if len(cameras) > 1:
        yield Finding(
            key="mixed-cameras",
            severity="warn",
            title="Several cameras",
            count=len(seen.thermal),
            of=len(seen.facts),
            what=f"The thermal images come from {_shares(cameras)}.",
            means="Cameras differ in noise, optics and gain, so images may group by camera rather than by "
            "what they show.",
            do=f"Look at them by camera (column camera in files.parquet), or embed each with {LISTS}.",
            images=tuple(fact.image for fact in seen.thermal),
            examples=tuple((Marked(own[0].image, note=camera),) for camera, own in list(cameras.items())[:6]),
        )
    counts = [fact for fact in seen.thermal if fact.unit == "counts"]
    sources = _split(counts, lambda fact: fact.camera or f"{fact.format} files that name no camera")
    if len(sources) > 1:
        yield Finding(
            key="counts-of-several-cameras",
            severity="problem",
            title="Counts that cannot be compared",
            count=len(counts),
            of=len(seen.facts),
            what=f"Raw counts come from {_shares(sources)}.",
            means="One count is a different step of temperature in each model, and even in each gain mode, "
            "so counts of one must never be compared with counts of another.",
            do=f"Keep them apart with {LISTS}, and use --prepare percentile, which looks at each image "
            "alone.",
            images=tuple(fact.image for fact in counts),
        )
    elif counts:
        yield Finding(
            key="counts",
            severity="info",
            title="Counts without a scale",
            count=len(counts),
            of=len(seen.facts),
            what=f"{many(counts, 'holds', 'hold')} raw counts, and nothing in them says what one count is.",
            means="Hotter is larger, which is enough for labels; temperatures in results are counts, not "
            "degrees.",
            do="Give --scale, for example --scale 0.04K, if you know the camera's; nothing is guessed.",
            images=tuple(fact.image for fact in counts),
        )


def _depths(seen: Seen) -> Iterator[Finding]:
    shallow = [fact for fact in seen.thermal if any(EIGHT_IN_MORE in note for note in fact.warnings)]
    deep = [fact for fact in seen.thermal if fact.unit != "grey"]
    if shallow:
        mixed = f", among {counted(len(deep))} that really use more" if deep else ""
        yield Finding(
            key="eight-bits-in-sixteen",
            severity="problem" if deep else "warn",
            title="8-bit pictures in 16-bit files",
            count=len(shallow),
            of=len(seen.facts),
            what=f"{many(shallow, 'is', 'are')} stored with 16 bits but no value is above 255{mixed}.",
            means="They are display pictures after the camera's gain control: their values are no "
            "temperatures and say nothing about other images.",
            do="Look for the real 16-bit files at the source; if there are none, keep these apart with "
            "--list."
            if deep
            else "Look for the real 16-bit files at the source; if there are none, these serve for labels.",
            images=tuple(fact.image for fact in shallow),
            examples=alone([fact.image for fact in shallow]),
        )


def _split(facts: Sequence[Facts], of: Callable[[Facts], str]) -> dict[str, list[Facts]]:
    """Group the facts by a word about each, the largest group first."""
    groups: dict[str, list[Facts]] = {}
    for fact in facts:
        groups.setdefault(of(fact), []).append(fact)
    return dict(sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0])))


def _shares(groups: dict[str, list[Facts]]) -> str:
    counts = Counter({key: len(own) for key, own in groups.items()})
    said = ", ".join(f"{key} ({count:,})" for key, count in list(counts.items())[:NAMED])
    return said + (f" and {len(counts) - NAMED} more" if len(counts) > NAMED else "")


def _first(sentences: Sequence[str]) -> str:
    more = len(sentences) - NAMED
    return "; ".join(sentences[:NAMED]) + (f"; and {more} more" if more > 0 else "")
