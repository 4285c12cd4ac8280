from html.parser import HTMLParser
from typing import Any

import pytest

from dinonat.pages.audits import Tile
from dinonat.pages.reliability import SIDE, reliability_of, reliability_page
from dinonat.pages.report import ReportFacts, render
from dinonat.pages.templating import template

EVIL = "</script><script>alert(1)</script>"
FOUND: dict[str, Any] = {
    "kind": "image", "precision": 0.9, "audited": 100, "right": 61, "low": 0.52, "high": 0.69,
    "how": "logistic", "error": 0.0512, "above": 0.7, "tested": 29, "wrong": 0, "bound": 0.902, "missing": 0,
    "accepted": 310, "proposals": 1200, "sentences": [f"61 of 100 {EVIL}"],
    "bins": [
        {"items": 50, "said": 0.25, "right": 0.2, "low": 0.1, "high": 0.35},
        {"items": 50, "said": 1.0, "right": 1.0, "low": 0.94, "high": 1.0},
    ],
}  # fmt: skip


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_a_bin_stands_at_what_was_said_and_what_was_right() -> None:
    picture = reliability_of(FOUND)
    first, last = picture.points
    assert (first.x, first.y) == (SIDE / 4, SIDE * 0.8)
    assert (last.x, last.y) == (SIDE, 0)
    assert first.high < first.y < first.low  # upwards is down in SVG
    assert dict(picture.notes)["calibration error"] == "5.1 points"
    assert dict(picture.notes)["accepted"] == "310 of 1,200"


def test_the_picture_is_drawn_on_its_own_page_and_on_the_report() -> None:
    pages = [
        reliability_page([FOUND, {**FOUND, "kind": "region"}], title=EVIL),
        render(ReportFacts("a", reliability=(reliability_of(FOUND),))),
    ]
    for page, pictures in zip(pages, (2, 1), strict=True):
        tags = Tags(page)
        assert not tags.of("script")
        assert len([each for each in tags.of("circle") if each["class"] == "dot"]) == 2 * pictures
        assert len([each for each in tags.of("line") if each.get("class") == "reach"]) == 2 * pictures
        assert "61 of 100 &lt;/script&gt;" in page
    assert "scores are worth" not in render(ReportFacts("a"))


def test_too_few_items_have_sentences_and_no_picture() -> None:
    page = reliability_page([{**FOUND, "how": "", "error": None, "bins": []}], title="a")
    assert not Tags(page).of("svg")
    assert "61 of 100" in page
    assert "calibration error" not in page


@pytest.mark.parametrize("box", [None, (1.0, 2.0, 3.0, 4.0)])
def test_no_name_breaks_out_of_the_page_of_an_audit(box: Any) -> None:
    page = template("audit.html").render(
        audit=EVIL,
        key=EVIL,
        tiles=[Tile(1, EVIL, EVIL, "data:image/jpeg;base64,", 10, 10, box)],
        classes=[EVIL],
        columns=["label_id", "verdict", EVIL],
        rows=[[EVIL, "", EVIL]],
        boxed=box is not None,
    )
    tags = Tags(page)
    assert len(tags.of("script")) == 1  # its own
    assert page.count("</script>") == 1
    assert len(tags.of("rect")) == (0 if box is None else 2)
