import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.pages.curves import Curve
from dinonat.pages.pictures import Mark, thumbnail
from dinonat.pages.report import Abstention, Comparison, Count, Picture, ReportFacts, render

EVIL = [
    "</script><script>alert(1)</script>.png",
    'a"onload="x.png',
    "a\nb.png",
    "tür &amp; <u>.png",
    "\u202egnp.exe",
]
VOID = {"meta", "input", "image", "rect", "line", "polyline", "br"}


class Reader(HTMLParser):
    """Reads as a browser does, and checks that every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID and tag not in {"p", "li"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"p", "li"}:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def picture(name: str = "a.png") -> Picture:
    pixels = np.zeros((40, 60, 3), np.uint8)
    marks = (
        Mark("car", "review", (3, 2, 10, 8), 0.9, "3 of 4 agree"),
        Mark("car", "review", (3, 2, 10, 8), 0.8, "covered"),
        Mark("", "unknown", (20, 20, 10, 8), 0.2, "too far"),
        Mark("night", "review", None, 0.7, "near"),
    )
    return Picture(name, thumbnail(pixels), 60, 40, marks)


def facts(name: str = "a.png") -> ReportFacts:
    return ReportFacts(
        title=f"Proposals for {name}",
        sentences=(name,),
        pictures=(picture(name),),
        n_images=1234,
        counts=(Count("car", 0, 2, 1), Count(name, 0, 1, 0)),
        abstentions=(Abstention(1, f"too far {name}"),),
        comparison=Comparison(("features", "accuracy"), (("hog", "0.6"), (name, "0.7")), name, name),
        curves=(Curve(name, (0.0, 20.0, 40.0), (3.0, 2.0, 1.0)),),
        training=((name, name),),
        used=((name, name),),
        files=((name, name),),
        warnings=(name,),
    )


@pytest.mark.parametrize("name", EVIL)
def test_no_name_breaks_the_page(name: str) -> None:
    page = render(facts(name))
    reader = read(page)
    assert not reader.tags & {"script", "u", "iframe", "link", "object"}
    assert not [a for a in reader.attributes if a[1].startswith("on")]
    shown = "".join(reader.text)
    assert name.replace("\n", "\\n").replace("\u202e", "\\u202e") in shown
    assert "\u202e" not in page


@settings(max_examples=20, deadline=None)
@given(name=st.text(min_size=1, max_size=40))
def test_any_text_is_only_text(name: str) -> None:
    plain, spoken = read(render(facts("a"))), read(render(facts(name)))
    assert spoken.tags == plain.tags
    assert len(spoken.attributes) == len(plain.attributes)


def test_the_page_needs_nothing_from_outside() -> None:
    page = render(facts())
    reader = read(page)
    addresses = [
        value for _, name, value in reader.attributes if name in {"src", "href", "srcset", "action", "data"}
    ]
    assert addresses
    assert all(str(value).startswith("data:image/jpeg;base64,") for value in addresses)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", page.replace("data:image/jpeg;base64,", ""))
    policy = [
        value for _, name, value in reader.attributes if name == "content" and "default-src" in str(value)
    ]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_equal_facts_give_equal_text() -> None:
    assert render(facts()) == render(facts())


def test_every_part_is_there_and_empty_parts_are_not() -> None:
    whole, bare = render(facts()), render(ReportFacts(title="x"))
    headings = ["Pictures", "Labels by class", "Why labels were left unknown", "Network against",
                "Pretraining", "What made these labels", "To know", "Files"]  # fmt: skip
    for heading in headings:
        assert heading in whole
        assert f"<h2>{heading}" not in bare
    assert "1,234" in whole
    assert whole.count('class="chosen"') == 1
    read(bare)


def test_the_number_is_explained_where_there_is_one() -> None:
    assert "The number is the share of the vote" in render(facts())
    silent = replace(picture(), marks=(Mark("cluster-01", "review"),))
    assert "The number is" not in render(ReportFacts(title="x", pictures=(silent,)))


def test_made_scenes_are_called_that() -> None:
    assert "Made scenes, not results" in render(replace(facts(), made_scenes=True))
    assert "Made scenes" not in render(facts())


def test_texts_on_a_picture_never_cover_each_other_or_leave_it() -> None:
    rng = np.random.default_rng(0)
    marks = tuple(
        Mark("a long class name", "review", (*rng.uniform(-3, 60, 2), 5, 5), float(rng.random()))
        for _ in range(40)
    )
    page = render(ReportFacts(title="x", pictures=(replace(picture(), marks=marks),), n_images=1))
    texts = re.findall(
        r'class="text"><rect fill="\S+" x="(\S+)" y="(\S+)" width="(\S+)" height="(\S+)"', page
    )
    boxes = np.array(texts, dtype=float)
    assert 1 < len(boxes) < 40
    for i, (x, y, w, h) in enumerate(boxes):
        assert x >= 0
        for x2, y2, w2, h2 in boxes[:i]:
            assert x + w <= x2 + 0.11 or x2 + w2 <= x + 0.11 or y + h <= y2 + 0.11 or y2 + h2 <= y + 0.11


@pytest.mark.parametrize(
    "curve",
    [
        Curve("flat", (0.0, 1.0), (2.0, 2.0)),
        Curve("one", (5.0,), (1.0,)),
        Curve("same step", (5.0, 5.0), (1.0, 2.0)),
        Curve("long", tuple(map(float, range(5000))), tuple(map(float, range(5000)))),
        Curve("negative", (0.0, 1.0, 2.0), (-1e-9, 1e9, 3.0)),
    ],
)
def test_curves_stay_in_their_field(curve: Curve) -> None:
    page = render(ReportFacts(title="x", curves=(curve,)))
    found = re.search(r'points="([^"]*)"', page)
    if len(curve.steps) < 2:
        assert found is None
        return
    assert found
    points = np.array([point.split(",") for point in found[1].split()], dtype=float)
    assert len(points) <= 802
    assert points.min() >= 0
    assert points[:, 0].max() <= 640
    assert points[:, 1].max() <= 220


def test_the_review_page_is_a_command_and_a_link_that_waits_for_a_click() -> None:
    command = "dinotool review --proposals run1 -w '<b>/w'"
    page = render(ReportFacts("t", review=(command, "http://127.0.0.1:7878/")))
    reader = read(page)
    assert [value for tag, name, value in reader.attributes if (tag, name) == ("a", "href")] == [
        "http://127.0.0.1:7878/"
    ]
    assert command in reader.text
    assert "review page" not in render(ReportFacts("t"))
