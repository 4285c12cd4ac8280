"""Findings about pixels: cut off values, frames that show nothing, stuck pixels, drawings, units."""

import re
from collections import Counter
from collections.abc import Iterator

from dinonat.images.faults import printable
from dinonat.images.frames import COLOUR_NOTES
from dinonat.survey.facts import Facts
from dinonat.survey.finding import Finding, Marked, Seen, alone, counted, evenly, many, verb
from dinonat.survey.findings_files import EIGHT_IN_MORE

CUT = 0.01  # share of an image's pixels in a plateau at one end of the range
FEWEST_CUT = 8  # pixels; in tiny images one is more than its share
CUT_MUCH = 0.05  # share of the images above which it is no longer a matter of a few
ENDS = (("cut_high", "Cut off at the top", "highest"), ("cut_low", "Cut off at the bottom", "lowest"))
NAMED = 5  # values that a sentence names
OBJECT_UNITS = {"emissivity": "", "distance": " m", "reflected": " \N{DEGREE SIGN}C"}
BEYOND_NOTE = "outside the calibrated"  # in a warning of the reader
BEYOND = 0.01  # share of an image's pixels beyond the calibrated range


def _share(fact: Facts) -> float:
    """Return the share of an image's pixels above which a plateau is one."""
    return max(CUT, FEWEST_CUT / max(1, fact.width * fact.height))


def of_values(seen: Seen) -> Iterator[Finding]:
    """Yield the findings about values that were cut off, never measured, or have no temperature."""
    for end, title, name in ENDS:
        cut = [fact for fact in seen.thermal if getattr(fact.levels, end) > _share(fact)]
        if cut:
            worst = max(cut, key=lambda fact: (getattr(fact.levels, end), fact.image))
            most = f"{getattr(worst.levels, end):.0%}, in {printable(worst.image)}"
            yield Finding(
                key=end.replace("_", "-"),
                severity="warn" if len(cut) > CUT_MUCH * len(seen.thermal) else "info",
                title=title,
                count=len(cut),
                of=len(seen.facts),
                what=f"In {counted(len(cut))} more than {CUT:.0%} of the pixels repeat the {name} value "
                f"(at most {most}), so what lies beyond was cut off, or the area filled in.",
                means="Inside those areas nothing can be told apart, and temperatures there are limits, not "
                "measurements.",
                do="Nothing for labels of whole things; for temperatures export with a wider range or use "
                "the radiometric files.",
                images=tuple(fact.image for fact in cut),
                examples=alone([worst.image, *(fact.image for fact in cut if fact is not worst)][:4]),
            )
    yield from _beyond(seen)
    yield from _units(seen)
    yield from _objects(seen)
    yield from _notes(seen)


def _beyond(seen: Seen) -> Iterator[Finding]:
    beyond = [fact for fact in seen.thermal if fact.out_of_range > BEYOND]
    if beyond:
        worst = max(beyond, key=lambda fact: (fact.out_of_range, fact.image))
        most = f"{worst.out_of_range:.0%}, in {printable(worst.image)}"
        yield Finding(
            key="beyond-calibration",
            severity="info",
            title="Beyond the calibrated range",
            count=len(beyond),
            of=len(seen.facts),
            what=f"In {counted(len(beyond))} more than {BEYOND:.0%} of the pixels lie beyond the range for "
            f"which the camera is calibrated (at most {most}); a clear sky often does.",
            means="Their degrees are extrapolated: t_min or t_max of a region that touches them is no "
            "measurement.",
            do="Use t_median, or leave those regions out with export --where.",
            images=tuple(fact.image for fact in beyond),
            examples=alone([fact.image for fact in beyond]),
        )


def _units(seen: Seen) -> Iterator[Finding]:
    grey = [fact for fact in seen.thermal if fact.unit == "grey"]
    if grey:
        yield Finding(
            key="grey-levels",
            severity="info",
            title="Display pictures, no temperatures",
            count=len(grey),
            of=len(seen.facts),
            what=f"{many(grey, 'is a', 'are')} grey display "
            f"{verb(len(grey), 'picture', 'pictures')} of 8 bits, whose brightness the camera's gain "
            "control chose.",
            means="Vectors and labels work as well as ever; columns like t_max hold grey levels, which "
            "cannot be compared between images.",
            do="Use radiometric files or 16-bit exports where you need degrees.",
            images=tuple(fact.image for fact in grey),
        )


def _objects(seen: Seen) -> Iterator[Finding]:
    """Say where degrees were computed with different settings of the camera."""
    degrees = [dict(fact.object) for fact in seen.thermal if fact.unit == "celsius"]
    said = []
    for key, unit in OBJECT_UNITS.items():
        values = Counter(round(own[key], 3) for own in degrees if key in own)
        if len(values) > 1:
            shares = ", ".join(
                f"{value:g}{unit} ({count:,})" for value, count in sorted(values.items())[:NAMED]
            )
            more = f" and {len(values) - NAMED} more" if len(values) > NAMED else ""
            said.append(f"{key} {shares}{more}")
    if said:
        yield Finding(
            key="object-parameters",
            severity="info",
            title="Different settings of the cameras",
            count=len(degrees),
            of=len(seen.facts),
            what="Degrees were computed with the settings in each file, and these differ: "
            f"{'; '.join(said)}.",
            means="Equal things may get unequal degrees; a distance or an emissivity that nobody set is a "
            "default.",
            do="Give one value for all with --object, for example --object emissivity=0.95,distance=10, if "
            "you know what was looked at.",
        )


def _notes(seen: Seen) -> Iterator[Finding]:
    """Pass on what the readers of the formats noticed; notes that differ in numbers only are one."""
    notes: dict[str, list[tuple[Facts, str]]] = {}
    for fact in seen.readable:
        for note in fact.warnings:
            if not _is_said(note, fact):
                notes.setdefault(re.sub(r"[0-9.]+", "#", note), []).append((fact, note))
    for number, own in enumerate(notes.values(), start=1):
        first, note = own[0]
        more = f" and {len(own) - 1:,} more" if len(own) > 1 else ""
        yield Finding(
            key=f"note-{number}",
            severity="info",
            title="Noticed while reading",
            count=len(own),
            of=len(seen.facts),
            what=f"Of {printable(first.image)}{more}: {note.rstrip('.')}.",
            means="It was read nevertheless, as the note says.",
            do="Check one of them if the note surprises you.",
            images=tuple(fact.image for fact, _ in own),
        )


def _is_said(note: str, fact: Facts) -> bool:
    """Tell whether another finding says this; whether colours are false is judged from the whole set."""
    beyond = BEYOND_NOTE in note and fact.out_of_range > BEYOND
    return beyond or EIGHT_IN_MORE in note or any(note in notes for notes in COLOUR_NOTES.values())


def of_frames(seen: Seen) -> Iterator[Finding]:
    """Yield the findings about frames without content, stuck pixels and drawings."""
    flat = [fact for fact in seen.readable if fact.flat]
    if flat:
        yield Finding(
            key="flat",
            severity="warn",
            title="Frames that show nothing",
            count=len(flat),
            of=len(seen.facts),
            what=f"{many(flat, 'has', 'have')} hardly any contrast or only noise: the "
            "shutter during a correction, a lens cap, or fog.",
            means="Whatever is proposed in them is noise, and as neighbours they mislead others.",
            do="Leave them out: lists/keep.txt names all other images for --list.",
            images=tuple(fact.image for fact in flat),
            examples=alone([fact.image for fact in flat]),
        )
    yield from _stuck(seen)
    yield from _overlays(seen)


def _stuck(seen: Seen) -> Iterator[Finding]:
    for number, stuck in enumerate(seen.stuck, start=1):
        images = [seen.facts[place].image for place in stuck.places]
        pixels = [*stuck.hot, *stuck.dead]
        said = ", ".join(f"({x}, {y})" for x, y in pixels[:4]) + (", ..." if len(pixels) > 4 else "")
        kinds = f"{len(stuck.hot):,} bright and {len(stuck.dead):,} dark"
        yield Finding(
            key="stuck-pixels" if len(seen.stuck) == 1 else f"stuck-pixels-{number}",
            severity="warn",
            title="Stuck pixels",
            count=len(images),
            of=len(seen.facts),
            what=f"{counted(len(pixels), 'pixel')} ({kinds}) stand out alone at the same place in most of "
            f"{counted(len(images), 'different image')} of one camera, at x, y {said}.",
            means="A stuck pixel makes t_max or t_min of every region over it wrong, and stretching from "
            "min to max useless.",
            do="Percentiles (the default of --prepare) ignore them; use t_p95 instead of t_max, and let the "
            "camera's service map them out.",
            images=tuple(images),
            examples=tuple((Marked(image, circles=tuple(pixels[:40])),) for image in evenly(images, 3)),
        )


def _overlays(seen: Seen) -> Iterator[Finding]:
    for number, overlay in enumerate(seen.overlays, start=1):
        images = [seen.facts[place].image for place in overlay.places]
        yield Finding(
            key="overlays" if len(seen.overlays) == 1 else f"overlays-{number}",
            severity="warn",
            title="Drawings burnt into the pictures",
            count=len(images),
            of=len(seen.facts),
            what=f"{counted(len(overlay.boxes), 'area')} of a logo, text, crosshair or scale "
            f"{verb(len(overlay.boxes), 'stays', 'stay')} the same in {counted(len(images), 'picture')} of "
            f"one camera and size ({overlay.share:.1%} of each).",
            means="Drawings are the sharpest thing in a thermal picture, so boxes and neighbours go to them.",
            do="Export without overlay, or use the radiometric files, in which they are not; reject regions "
            "that lie on them.",
            images=tuple(images),
            examples=tuple((Marked(image, boxes=overlay.boxes),) for image in evenly(images, 3)),
        )
