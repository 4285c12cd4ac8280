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
            key="false-colour",
            severity="warn",
            title="False colours",
            count=len(painted),
            of=len(seen.facts),
            what=f"{many(painted, 'is', 'are')} painted in a colour palette{beside}.",
            means="Brightness follows temperature in some palettes only, so the same thing looks different "
            "in each palette, and hot may be dark.",
            do="Export them again from the camera's software in grey, or best as radiometric files; else "
            "keep palettes apart with --list.",
            images=tuple(fact.image for fact in painted),
            examples=alone([fact.image for fact in painted]),
        )
    drawn = [fact for fact in seen.thermal if fact.look == PAINTED]
    if len(drawn) > few:
        yield Finding(
            key="colour-on-grey",
            severity="warn",
            title="Colour drawn on grey pictures",
            count=len(drawn),
            of=len(seen.facts),
            what=f"{many(drawn, 'is', 'are')} grey with colour in places: a scale, isotherm, tint or inset.",
            means="Coloured places are the camera's drawing, not the scene; boxes and neighbours go to them.",
            do="Export without isotherms and overlays, or use the radiometric files.",
            images=tuple(fact.image for fact in drawn),
            examples=alone([fact.image for fact in drawn]),
        )
    yield from _masks(seen)
    yield from _photographs(seen)
    yield from _polarity(seen)


def _masks(seen: Seen) -> Iterator[Finding]:
    masks = [fact.image for fact in seen.readable if fact.look == MASK]
    if masks:
        yield Finding(
            key="masks",
            severity="warn",
            title="Label masks among the images",
            count=len(masks),
            of=len(seen.facts),
            what=f"{many(masks, 'looks like a label mask', 'look like label masks')}: few values, in even "
            "areas.",
            means="A mask that counts as an image becomes a vector and gets proposals of its own.",
            do="Give the folder of the images alone, or lists/keep.txt with --list.",
            images=tuple(masks),
            examples=alone(masks),
        )


def _photographs(seen: Seen) -> Iterator[Finding]:
    twins = {seen.colour(twin.colour).image for twin in seen.twins} if seen.others is None else set()
    photographs = [fact for fact in seen.photographs if fact.image not in twins]
    unnamed = [fact for fact in photographs if not named(fact.ref.path).view]
    if photographs and not seen.thermal:
        tinted = len(photographs) - sum(fact.look == PHOTOGRAPH for fact in photographs)
        yield Finding(
            key="only-photographs",
            severity="info",
            title="Colour photographs",
            count=len(photographs),
            of=len(seen.facts),
            what=f"{many(photographs, 'is a photograph', 'are photographs')}"
            + (f" ({tinted:,} of them grey or tinted)" if tinted else "")
            + "; no thermal image was found.",
            means="They can teach the network and serve as twins, but nothing here carries heat.",
            do="Give them to `dinotool pretrain`, or as --rgb beside a folder of thermal images.",
        )
    elif unnamed:
        yield Finding(
            key="photographs",
            severity="warn",
            title="Photographs among thermal images",
            count=len(unnamed),
            of=len(seen.facts),
            what=f"{many(unnamed, 'looks like a photograph', 'look like photographs')}, and neither a name "
            "nor a thermal twin says that it is meant to be here.",
            means="A photograph among thermal images becomes a group of its own in every search and cluster.",
            do=f"Take them out, or leave them out with {LISTS}.",
            images=tuple(fact.image for fact in unnamed),
            examples=alone([fact.image for fact in unnamed]),
        )


def _polarity(seen: Seen) -> Iterator[Finding]:
    black = [fact for fact in seen.thermal if fact.polarity == "black_hot"]
    other = len(seen.thermal) - len(black)
    opposite = [pair for pair in seen.duplicates.pairs if pair.correlation < 0]
    if opposite:
        pairs = [(seen.facts[pair.first].image, seen.facts[pair.second].image) for pair in opposite]
        yield Finding(
            key="opposite-polarity",
            severity="warn",
            title="The same picture in both polarities",
            count=len(pairs),
            of=len(seen.facts),
            what=f"{counted(len(pairs), 'pair')} of images show the same with hot bright in one and dark "
            "in the other.",
            means="The set mixes white-hot and black-hot, so brightness does not tell hot from cold in it.",
            do="Keep one polarity; --set invert=yes shows a black-hot set the usual way round.",
            images=tuple(sorted({image for pair in pairs for image in pair})),
            examples=tuple((Marked(first), Marked(second)) for first, second in pairs[:4]),
        )
    if black and other:
        yield Finding(
            key="mixed-polarity",
            severity="warn",
            title="Hot is dark in some images",
            count=len(black),
            of=len(seen.facts),
            what=f"{many(black, 'says', 'say')} that hot is dark (black-hot); of {other:,} others none does.",
            means="The same thing is bright in one image and dark in another.",
            do="Nothing where the files say so: preparation turns them round. Check a few of the others.",
            images=tuple(fact.image for fact in black),
            examples=alone([fact.image for fact in black]),
        )
