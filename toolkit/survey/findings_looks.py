"""Findings about what pictures look like: false colours, drawings in colour, photographs, polarity."""

from collections.abc import Iterator

from dinonat.survey.facts import FALSE_COLOUR, GREY, MASK, PAINTED, PHOTOGRAPH
from dinonat.survey.finding import Finding, Marked, Seen, alone, counted, many
from dinonat.survey.findings_files import LISTS
from dinonat.survey.naming import named

MISTAKEN = 0.03  # share of photographs that may be taken for something else


def of_looks(seen: Seen) -> Iterator[Finding]:
    """Yield the findings about colours and polarity."""
    # One photograph in eighty is taken for false colours or a drawing, so among many a few are none.
    few = MISTAKEN * len(seen.photographs)
    painted = [fact for fact in seen.thermal if fact.look in (FALSE_COLOUR, PHOTOGRAPH)]
    if len(painted) > few:
        grey = [fact for fact in seen.thermal if fact.look == GREY]
        beside = f", beside {counted(len(grey))} in grey" if grey else ""
        yield Finding(
            "false-colour",
            "warn",
            "False colours",
            len(painted),
            len(seen.facts),
            f"{many(painted, 'is', 'are')} painted in a colour palette{beside}.",
            "Brightness follows temperature in some palettes only, so the same thing looks different in "
            "each palette, and hot may be dark.",
            "Export them again from the camera's software in grey, or best as radiometric files; else "
            "keep palettes apart with --list.",
            tuple(fact.image for fact in painted),
            alone([fact.image for fact in painted]),
        )
    drawn = [fact for fact in seen.thermal if fact.look == PAINTED]
    if len(drawn) > few:
        yield Finding(
            "colour-on-grey",
            "warn",
            "Colour drawn on grey pictures",
            len(drawn),
            len(seen.facts),
            f"{many(drawn, 'is', 'are')} grey with colour in places: a scale, isotherm, tint or inset.",
            "Coloured places are the camera's drawing, not the scene; boxes and neighbours go to them.",
            "Export without isotherms and overlays, or use the radiometric files.",
            tuple(fact.image for fact in drawn),
            alone([fact.image for fact in drawn]),
        )
    yield from _masks(seen)
    yield from _photographs(seen)
    yield from _polarity(seen)


def _masks(seen: Seen) -> Iterator[Finding]:
    masks = [fact.image for fact in seen.readable if fact.look == MASK]
    if masks:
        yield Finding(
            "masks",
            "warn",
            "Label masks among the images",
            len(masks),
            len(seen.facts),
            f"{many(masks, 'looks like a label mask', 'look like label masks')}: few values, in even areas.",
            "A mask that counts as an image becomes a vector and gets proposals of its own.",
            "Give the folder of the images alone, or lists/keep.txt with --list.",
            tuple(masks),
            alone(masks),
        )


def _photographs(seen: Seen) -> Iterator[Finding]:
    twins = {seen.colour(twin.colour).image for twin in seen.twins} if seen.others is None else set()
    photographs = [fact for fact in seen.photographs if fact.image not in twins]
    unnamed = [fact for fact in photographs if not named(fact.ref.path).view]
    if photographs and not seen.thermal:
        tinted = len(photographs) - sum(fact.look == PHOTOGRAPH for fact in photographs)
        yield Finding(
            "only-photographs",
            "info",
            "Colour photographs",
            len(photographs),
            len(seen.facts),
            f"{many(photographs, 'is a photograph', 'are photographs')}"
            + (f" ({tinted:,} of them grey or tinted)" if tinted else "")
            + "; no thermal image was found.",
            "They can teach the network and serve as twins, but nothing here carries heat.",
            "Give them to `dinotool pretrain`, or as --rgb beside a folder of thermal images.",
        )
    elif unnamed:
        yield Finding(
            "photographs",
            "warn",
            "Photographs among thermal images",
            len(unnamed),
            len(seen.facts),
            f"{many(unnamed, 'looks like a photograph', 'look like photographs')}, and neither a name nor a "
            "thermal twin says that it is meant to be here.",
            "A photograph among thermal images becomes a group of its own in every search and cluster.",
            f"Take them out, or leave them out with {LISTS}.",
            tuple(fact.image for fact in unnamed),
            alone([fact.image for fact in unnamed]),
        )


def _polarity(seen: Seen) -> Iterator[Finding]:
    black = [fact for fact in seen.thermal if fact.polarity == "black_hot"]
    other = len(seen.thermal) - len(black)
    opposite = [pair for pair in seen.duplicates.pairs if pair.correlation < 0]
    if opposite:
        pairs = [(seen.facts[pair.first].image, seen.facts[pair.second].image) for pair in opposite]
        yield Finding(
            "opposite-polarity",
            "warn",
            "The same picture in both polarities",
            len(pairs),
            len(seen.facts),
            f"{counted(len(pairs), 'pair')} of images show the same with hot bright in one and dark in the "
            "other.",
            "The set mixes white-hot and black-hot, so brightness does not tell hot from cold in it.",
            "Keep one polarity; --set invert=yes shows a black-hot set the usual way round.",
            tuple(sorted({image for pair in pairs for image in pair})),
            tuple((Marked(first), Marked(second)) for first, second in pairs[:4]),
        )
    if black and other:
        yield Finding(
            "mixed-polarity",
            "warn",
            "Hot is dark in some images",
            len(black),
            len(seen.facts),
            f"{many(black, 'says', 'say')} that hot is dark (black-hot); of {other:,} others none does.",
            "The same thing is bright in one image and dark in another.",
            "Nothing where the files say so: preparation turns them round. Check a few of the others.",
            tuple(fact.image for fact in black),
            alone([fact.image for fact in black]),
        )
