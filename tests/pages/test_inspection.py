import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinonat.images.listing import list_images
from dinonat.pages.charts import HEIGHT, WIDTH, histograms_of, spans_of, strip_of
from dinonat.pages.inspection import PageFacts, gather, render
from dinonat.survey.facts import survey
from dinonat.survey.finding import Finding, Marked, compare
from dinonat.survey.findings import findings_of
from dinonat.survey.levels import levels_of

Textures = Callable[..., np.ndarray]
EVIL = "<script>alert(1)</script>\u202egnp"
VOID = {"meta", "image", "rect", "line", "circle", "br"}


class Reader(HTMLParser):
    """Reads as a browser does, and checks that every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID and tag not in {"p", "li"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"p", "li"}:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory, textures: Textures) -> PageFacts:
    folder = tmp_path_factory.mktemp("set")
    for i in range(6):
        picture = textures(i, 96, 128)
        picture[30, 40] = 255
        Image.fromarray(picture).save(folder / f"F_{i:03}.png")
    Image.fromarray(textures(1, 96, 128)).save(folder / f"{EVIL.replace('/', '')}.png")
    tifffile.imwrite(folder / "F_400.tif", textures(9, 96, 128).astype(np.uint16) * 9 + 7000)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    seen = compare(list(survey(list_images(folder).refs)))
    return gather(PageFacts("Inspection of <b>", seen, findings_of(seen), (("files.parquet", "all"),)))


def test_the_page_is_one_file_that_asks_nobody_and_runs_nothing(facts: PageFacts) -> None:
    page = render(facts)
    tags = read(page).tags
    assert "script" not in {tag for tag, _ in tags}
    addresses = [own[key] for _, own in tags for key in ("href", "src") if key in own]
    assert addresses
    assert all(address and address.startswith("data:image/jpeg") for address in addresses)
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page
    assert not any(name.startswith("on") for _, own in tags for name in own)
    assert render(facts) == page


def test_marks_lie_where_they_are_meant(facts: PageFacts) -> None:
    circles = [own for tag, own in read(render(facts)).tags if tag == "circle"]
    assert circles
    assert {(own["cx"], own["cy"]) for own in circles} == {("40.5", "30.5")}
    boxed = Finding(
        "overlays",
        "warn",
        "Drawings",
        1,
        1,
        "A.",
        "B.",
        "C.",
        (),
        ((Marked("F_000.png", boxes=((5, 6, 20, 10),)),),),
    )
    page = render(gather(PageFacts("x", facts.seen, (boxed,))))
    drawn = [own for tag, own in read(page).tags if tag == "rect" and own.get("class") == "box"]
    assert [(own["x"], own["y"], own["width"], own["height"]) for own in drawn] == [("3", "4", "24", "14")]


def test_every_finding_and_every_kind_is_on_the_page(facts: PageFacts) -> None:
    page = render(facts)
    for finding in facts.findings:
        assert f'id="{finding.key}"' in page
        assert finding.title in page
    rows = re.findall(r"<tr><td class=\"n\">", page)
    assert len(rows) == len(facts.seen.groups)


def test_an_example_that_is_gone_is_left_out(facts: PageFacts) -> None:
    gone = Finding("x", "info", "X", 1, 1, "A.", "B.", "C.", (), ((Marked("not there.png"),),))
    assert "<figure" not in render(gather(PageFacts("x", facts.seen, (gone,))))


def test_an_empty_folder_of_findings_still_gives_a_page(facts: PageFacts) -> None:
    page = render(PageFacts("x", compare(()), ()))
    assert "Nothing stands in the way" in page
    read(page)


def test_histograms_add_up_whatever_the_ranges() -> None:
    rng = np.random.default_rng(0)
    levels = [levels_of(rng.normal(mean, 3, (80, 80)).astype(np.float32), grey=False) for mean in (20, 50)]
    chart = histograms_of(levels)
    centres = np.array([x + width / 2 for x, _, width, _ in chart.bars])
    heights = np.array([height for *_, height in chart.bars])
    low, high = min(each.low for each in levels), max(each.high for each in levels)
    values = low + centres / WIDTH * (high - low)
    assert (heights[values < 35].sum() / heights.sum()) == pytest.approx(0.5, abs=0.02)
    assert np.average(values, weights=heights) == pytest.approx(35, abs=0.5)
    assert heights.max() == pytest.approx(HEIGHT)
    assert [text for _, text in chart.marks] == sorted((text for _, text in chart.marks), key=float)


def test_spans_and_strip_stay_in_their_field() -> None:
    rng = np.random.default_rng(1)
    images = [
        (f"{i}", levels_of(rng.normal(i, 2, (40, 40)).astype(np.float32), grey=False)) for i in range(700)
    ]
    spans = spans_of(images)
    assert spans.every == 3
    assert all(
        0 <= bar.x <= WIDTH and -1 <= bar.top <= bar.median <= bar.bottom <= HEIGHT + 1 for bar in spans.bars
    )
    strip = strip_of(["a", "a", "b", "c", "a"])
    assert [(name, count) for _, _, name, count in strip.parts] == [("a", 3), ("b", 1), ("c", 1)]
    assert sum(width for _, width, _, _ in strip.parts) == pytest.approx(WIDTH)


def test_the_page_of_real_images(data: Path) -> None:
    seen = compare(list(survey(list_images(data / "radiometric").refs)))
    page = render(gather(PageFacts("radiometric", seen, findings_of(seen))))
    read(page)
    assert "\N{DEGREE SIGN}C" in page
