"""Findings about images together: duplicates, frozen frames, recordings and twins."""

from collections import Counter
from collections.abc import Iterator

from dinonat.survey.duplicates import MOST_PAIRED, WINDOW
from dinonat.survey.facts import view_of
from dinonat.survey.finding import Finding, Marked, Seen, counted, evenly, verb
from dinonat.survey.naming import COLOUR, named
from dinonat.survey.twins import SECONDS

BESIDE = 4  # pictures of a group that are shown beside each other
MUCH = 0.05  # share of the images above which near duplicates are worth a warning
ALL_IN_ONE = 0.8  # share of the images in one recording that leaves too little beside it


def of_duplicates(seen: Seen) -> Iterator[Finding]:
    """Yield the findings about equal pixels and near duplicates."""
    frozen = [group for group in seen.duplicates.equal_groups if _one_recording(seen, group)]
    copies = [group for group in seen.duplicates.equal_groups if not _one_recording(seen, group)]
    if copies:
        number = sum(len(group) - 1 for group in copies)
        yield _repeated(
            seen,
            copies,
            "copies",
            "The same pixels under several names",
            f"{counted(number)} {verb(number, 'repeats', 'repeat')} the pixels of another one exactly.",
        )
    if frozen:
        number = sum(len(group) - 1 for group in frozen)
        yield _repeated(
            seen,
            frozen,
            "frozen",
            "Frozen frames",
            f"{counted(number)} {verb(number, 'repeats', 'repeat')} the one before pixel for pixel: "
            "the camera stood still or a recorder filled a gap.",
        )
    yield from _near(seen)


def _one_recording(seen: Seen, group: tuple[int, ...]) -> bool:
    """Tell whether equal images follow each other: in one folder, of one camera, next by number or frame."""
    refs = [seen.facts[place].ref for place in group]
    if refs[0].n_frames > 1:
        return len({ref.path for ref in refs}) == 1
    parts = [named(ref.path) for ref in refs]
    numbers = sorted(each.number for each in parts if each.number is not None)
    same = len({(each.folder, each.prefix, each.word) for each in parts}) == 1
    return same and len(numbers) == len(parts) and numbers[-1] - numbers[0] == len(numbers) - 1


def _repeated(seen: Seen, groups: list[tuple[int, ...]], key: str, title: str, what: str) -> Finding:
    later = [seen.facts[place].image for group in groups for place in group[1:]]
    return Finding(
        key=key,
        severity="warn",
        title=title,
        count=len(later),
        of=len(seen.facts),
        what=what,
        means="A label on one is a label on all, and a copy in the test set makes every measure too good.",
        do="Leave them out: lists/keep.txt names one of each for --list. They share their recording.",
        images=tuple(later),
        examples=tuple(_side_by_side(seen, group) for group in groups[:3]),
    )


def _near(seen: Seen) -> Iterator[Finding]:
    pairs = [pair for pair in seen.duplicates.pairs if not pair.equal]
    near = {pair.first for pair in pairs}
    groups = [group for group in seen.duplicates.groups if not near.isdisjoint(group)]
    if not groups:
        return
    extra = sum(len(group) - 1 for group in groups)
    longest = max(map(len, groups))
    bursts = sum(len(group) > 2 for group in groups)
    window = (
        ""
        if seen.duplicates.all_compared
        else (f" Of more than {MOST_PAIRED:,} images each was compared with the next {WINDOW} only.")
    )
    yield Finding(
        key="near-duplicates",
        severity="warn" if extra > MUCH * len(seen.facts) else "info",
        title="Near duplicates and bursts" if bursts else "Near duplicates",
        count=extra,
        of=len(seen.facts),
        what=f"{counted(extra)} {verb(extra, 'shows', 'show')} nearly the same as another, whatever gain or "
        f"polarity ({counted(len(groups), 'group')}, the largest of {longest:,}).{window}",
        means="They are not independent: apart in training and test they flatter every measure. What "
        "stands still needs one label; what moved between them needs its own.",
        do="Label one of each (lists/keep.txt for --list); they share their recording, so measures that "
        "leave recordings out stay honest.",
        images=tuple(seen.facts[place].image for group in groups for place in group[1:]),
        examples=tuple(_side_by_side(seen, group) for group in sorted(groups, key=len, reverse=True)[:4]),
    )


def _side_by_side(seen: Seen, group: tuple[int, ...]) -> tuple[Marked, ...]:
    return tuple(Marked(image) for image in evenly([seen.facts[place].image for place in group], BESIDE))


def of_recordings(seen: Seen) -> Iterator[Finding]:
    """Yield what recordings were found, and whether they can serve for measuring."""
    own = Counter(name for name, fact in zip(seen.recordings.of, seen.facts, strict=True) if not fact.reason)
    total = sum(own.values())
    if total < 2:
        return
    largest = max(own.values())
    found = len(own) < total
    poor = found and largest > ALL_IN_ONE * total and total >= 10 and len(seen.thermal) > 0
    what = (
        f"{counted(len(own), 'recording')}, the largest of {counted(largest)}. {seen.recordings.words}"
        if found
        else seen.recordings.words
    )
    yield Finding(
        key="recordings",
        severity="warn" if poor else "info",
        title="Nearly all of one recording"
        if poor
        else "Recordings"
        if found
        else "No recordings to be seen",
        count=len(own),
        of=len(seen.facts),
        what=what,
        means="Images of one recording look alike, so measures and splits leave whole recordings out; "
        + (
            "with nearly all in one there is little to measure on. Frames that were numbered anew hide where "
            "one recording ends."
            if poor
            else "recordings.csv beside this page says which is which."
            if found
            else "if neighbours in time are among them, measures will be too good."
        ),
        do="Check recordings.csv, mend it if you know better, and give it with --recordings; commands take "
        "it from this workspace otherwise.",
    )


def of_twins(seen: Seen) -> Iterator[Finding]:
    """Yield what pairs of thermal and colour images were found, and what was left over."""
    if not seen.twins:
        if seen.others is not None:
            yield _no_twins(seen)
        return
    rules = Counter(twin.rule for twin in seen.twins)
    by_time = f", {rules['time']:,} of them by time (within {SECONDS:.0f} s)" if rules["time"] else ""
    pairs = [(seen.facts[twin.thermal], seen.colour(twin.colour)) for twin in seen.twins]
    unequal = sum((a.width, a.height) != (b.width, b.height) for a, b in pairs)
    other = seen.others is not None
    yield Finding(
        key="twins",
        severity="info",
        title="Thermal and colour twins",
        count=len(pairs),
        of=len(seen.facts),
        what=f"{counted(len(pairs), 'pair')} of a thermal and a colour image of one moment were found by "
        f"name{by_time}; " + (f"{unequal:,} of them differ in size." if unequal else "each of one size."),
        means="What is easy to name in colour can be labelled there; boxes may be carried over only where "
        "the two are aligned pixel by pixel, which equal size alone does not show.",
        do="twins.csv beside this page names the pairs; look at the examples for the same edges in both.",
        images=tuple(a.image for a, _ in pairs),
        examples=tuple(
            (Marked(pairs[i][0].image, note="thermal"), Marked(pairs[i][1].image, other=other, note="colour"))
            for i in map(int, evenly([str(i) for i in range(len(pairs))], 3))
        ),
    )
    yield from _unpaired(seen)


def _unpaired(seen: Seen) -> Iterator[Finding]:
    thermal, colour = {twin.thermal for twin in seen.twins}, {twin.colour for twin in seen.twins}
    of_colour = seen.facts if seen.others is None else seen.others
    lonely = [
        fact.image
        for i, fact in enumerate(of_colour)
        if i not in colour and not fact.reason and (seen.others is not None or view_of(fact) == COLOUR)
    ]
    names = {fact.image for fact in seen.thermal}
    left = [fact.image for i, fact in enumerate(seen.facts) if i not in thermal and fact.image in names]
    if left or lonely:
        yield Finding(
            key="without-a-twin",
            severity="info",
            title="Without a twin",
            count=len(left) + len(lonely),
            of=len(seen.facts),
            what=f"{counted(len(left), 'thermal image')} and {counted(len(lonely), 'colour image')} have no "
            "partner.",
            means="They are labelled from themselves alone.",
            do="Nothing, unless a folder is missing: --rgb FOLDER names colour images that lie elsewhere.",
            images=(*left, *lonely),
        )


def _no_twins(seen: Seen) -> Finding:
    assert seen.others is not None
    return Finding(
        key="no-twins",
        severity="warn",
        title="No twins",
        count=0,
        of=len(seen.facts),
        what=f"None of {counted(len(seen.others), 'colour image')} belongs to a thermal one by name or time.",
        means="Nothing can be carried over from colour.",
        do="Name the two files of a moment alike (0001_T.jpg and 0001_V.jpg), or check the folder given with "
        "--rgb.",
    )
