import copy
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinonat.agreement import rows
from dinonat.agreement.estimates import Drawn
from dinonat.pages.agreement import render
from dinonat.pages.dots import EDGE, Scale, Triple, scale_of

EVIL = "</style><script>alert(1)</script>\u202egnp"
VOID = {"meta", "img", "br"}
PNG = b"\x89PNG\r\n\x1a\n"
MAP_KEYS = [
    "pearson/paired", "pearson/mismatched", "pearson/gap", "spearman/gap", "overlap/paired", "overlap/gap",
]  # fmt: skip
FOUND_KEYS = [
    *(f"cropped/{way}/{k}" for k in (1, 5) for way in ("T>V", "V>T", "both")),
    "aligned/both/1", "cropped, all/both/1", "aligned, all/both/1",
]  # fmt: skip
DENSE_KEYS = ["dense/hit", "dense/mutual", "dense/chance", "unshifted/hit", "unshifted/mutual"]
CAPTIONS = {
    "attention": "Attention of networks, maps made by hand",
    "others": "Other maps",
    "centred": "Centred: each light's own mean taken off",
    "as they are": "As they are",
    "dense": "Cells that find their counterpart",
    "spaces": "The spaces as wholes",
    "k-NN": "k-NN, balanced accuracy",
}


class Node:
    """An element with what is in it."""

    def __init__(self, tag: str, own: dict[str, str | None]) -> None:
        self.tag, self.own = tag, own
        self.inside: list[Node | str] = []

    def all(self, tag: str, of: str | None = None) -> "list[Node]":
        return [
            each
            for each in self.walk()
            if each.tag == tag and (of is None or of in (each.own.get("class") or "").split())
        ]

    def walk(self) -> "Iterator[Node]":
        for each in self.inside:
            if isinstance(each, Node):
                yield each
                yield from each.walk()

    @property
    def text(self) -> str:
        parts = [each if isinstance(each, str) else f" {each.text} " for each in self.inside]
        return " ".join("".join(parts).split())


class Reader(HTMLParser):
    """Reads as a browser does, and checks that every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Node("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        self.open[-1].inside.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].inside.append(Node(tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def read(page: str) -> Node:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == [reader.root]
    return reader.root


def figures(keys: list[str], seed: int) -> dict[str, list[float | None]]:
    values = np.random.default_rng(seed).uniform(-0.2, 0.9, len(keys)).round(4).tolist()
    return {key: [value, value - 0.05, value + 0.0312] for key, value in zip(keys, values, strict=True)}


def map_keys(name: str) -> list[str]:
    kinds = ("paired", "mismatched", "gap")
    return [f"{name}/{measure}/{kind}" for measure in ("pearson", "spearman", "overlap") for kind in kinds]


def vector_keys(name: str) -> list[str]:
    keys = [f"{name}/cka", f"{name}/cka by lot", f"{name}/modality"]
    for ready in (name, f"{name}, centred"):
        for protocol in ("aligned", "cropped", "aligned, all", "cropped, all"):
            keys += [f"{ready}/{protocol}/{way}/{k}" for way in ("T>V", "V>T", "both") for k in (1, 5)]
    return keys


def network_keys() -> list[str]:
    maps = [key for name in ("attention", "similarity", "cut") for key in map_keys(name)]
    return [*maps, *DENSE_KEYS, *vector_keys("mean"), *vector_keys("grid")]


def line(name: str, kind: str, keys: list[str], seed: int, prepared: str = "percentile") -> dict[str, Any]:
    return {"name": name, "kind": kind, "prepared": prepared, "figures": figures(keys, seed)}


def report(**changes: Any) -> dict[str, Any]:
    chance = {"cropped/1": 0.0141, "cropped/5": 0.0699, "cropped, all/1": 0.0122, "cropped, all/5": 0.061}
    table = [
        line("starter", "network", network_keys(), 1),
        line("starter, thermal inverted", "inverted", network_keys(), 2),
        line("starter, colour and its own grey", "own grey", network_keys(), 3, ""),
        line("untrained:0 NAT of 4.1 M", "untrained", network_keys(), 4),
        line("untrained:1 NAT of 4.1 M", "untrained", network_keys(), 5),
        line("untrained NAT of 4.1 M, mean", "untrained", network_keys(), 6),
        line("gradient energy", "by hand", map_keys("gradient"), 7),
        line("intensity", "by hand", map_keys("intensity"), 8),
        line("HOG", "by hand", [*vector_keys("HOG"), *DENSE_KEYS], 9),
        line("hog", "by hand", vector_keys("hog"), 10),
        {
            "name": "chance", "kind": "chance", "prepared": "",
            "figures": {key: [value, value, value] for key, value in {**chance, "overlap": 0.1429}.items()},
        },
    ]  # fmt: skip
    for key in ("across", "within", "retained"):
        table[0]["figures"][f"grid, centred/k-NN/{key}"] = [0.6, 0.5, 0.75]
    claims = [
        claim("starter", "attention", "fails", {"gradient energy": [-0.2, -0.3, -0.1]}),
        claim("starter", "features", "holds", {"HOG": [0.1, 0.05, 0.2], "the untrained": [0.3, 0.25, 0.4]}),
    ]  # fmt: skip
    base = {
        "name": "abc", "colour": "data/visible", "thermal": "data/infrared", "size": 224, "pairs": 82,
        "recordings": 16, "recordings_by": "recordings.csv", "largest": 24, "alignment": "Pairs lie well.",
        "table": table, "claims": claims, "pictures": [], "page": "x.html", "warnings": ["One is blurred."],
        "seconds": 61.5,
    }  # fmt: skip
    return {**base, **changes}


def claim(
    weights: str, about: str, word: str, differences: dict[str, Any], prepared: str = "percentile"
) -> dict[str, Any]:
    return {
        "weights": weights, "prepared": prepared, "about": about, "word": word, "value": 0.2,
        "sentence": f"What is said of {about}.", "differences": differences,
    }  # fmt: skip


def table_of(page: str, what: str) -> dict[str, list[str]]:
    """Return the rows of a table as text by name; an interval stands behind its figure."""
    for table in read(page).all("table"):
        if [each.text for each in table.all("caption")] == [CAPTIONS[what]]:
            found = [row for row in table.all("tr") if row.all("td", "n")]
            return {row.all("th")[0].text: [cell.text for cell in row.all("td", "n")] for row in found}
    return {}


def written(found: list[float], share: bool) -> str:
    """Write figure and interval by means of their own."""
    numbers = [f"{100 * x:.1f}" if share else f"{x:.2f}" for x in found]
    value, low, high = ["0" + x[2:] if re.fullmatch(r"-0\.0+", x) else x for x in numbers]
    return f"{value} {low} to {high}"


def chart_of(page: str, title: str) -> Node:
    return next(each for each in read(page).all("div", "plot") if each.own.get("aria-label") == title)


def percent(node: Node, *names: str) -> list[float]:
    return [float((node.own[name] or "").removesuffix("%")) for name in names]


def test_the_page_is_one_file_that_asks_nobody_and_runs_nothing() -> None:
    page = render(report(), sheets=[("Pair 1", PNG)])
    nodes = list(read(page).walk())
    assert "script" not in {each.tag for each in nodes}
    assert not any(name.startswith("on") for each in nodes for name in each.own)
    addresses = [each.own[key] for each in nodes for key in ("href", "src", "xlink:href") if key in each.own]
    assert addresses == ["data:image/png;base64,iVBORw0KGgo="]
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "@import" not in page
    assert render(report(), sheets=[("Pair 1", PNG)]) == page


def test_a_reader_gets_what_was_measured_then_the_verdict_then_the_figures() -> None:
    page = render(report(), sheets=[("Pair 1", PNG)])
    text = read(page).text
    places = [text.index(each) for each in (
        "82 pairs", "One is blurred.", "data/visible", "Pairs lie well.", "What is said of attention.",
        "What is said of features.", "Attention: Pearson gap", CAPTIONS["attention"], CAPTIONS["centred"],
        CAPTIONS["dense"], CAPTIONS["spaces"], CAPTIONS["k-NN"], "do both lights light up", "How to read it",
    )]  # fmt: skip
    assert places == sorted(places)


def test_every_figure_in_a_table_is_that_of_the_report() -> None:
    said = report()
    page = render(said)
    own = {each["name"]: each["figures"] for each in said["table"]}
    attention = table_of(page, "attention")
    by_hand = {"gradient energy": "gradient", "intensity": "intensity"}
    for name in (*(each for each in own if each.startswith(("starter", "untrained"))), *by_hand):
        prefix = by_hand.get(name, "attention")
        assert attention.pop(name) == [written(own[name][f"{prefix}/{key}"], False) for key in MAP_KEYS]
    assert attention == {"chance": ["0.00", "0.00", "0.00", "0.00", "0.14", "0.00"]}
    others = table_of(page, "others")
    assert len(others) == 12  # two maps of each of six lines
    assert others["starter cut"] == [written(own["starter"][f"cut/{key}"], False) for key in MAP_KEYS]
    for what, suffix in (("as they are", ""), ("centred", ", centred")):
        found = table_of(page, what)
        assert len(found) == 2 * 6 + 3
        for name, vector, row in (
            ("starter", "grid", "starter grid"),
            ("HOG", "HOG", "HOG"),
            ("hog", "hog", "hog"),
        ):
            expected = [written(own[name][f"{vector}{suffix}/{key}"], True) for key in FOUND_KEYS]
            assert found[row] == expected
        assert found["chance"] == ["1.4"] * 3 + ["7.0"] * 3 + ["1.4", "1.2", "1.2"]
    dense = table_of(page, "dense")
    assert dense["HOG"] == [written(own["HOG"][key], True) for key in DENSE_KEYS]
    assert len(dense) == 7
    spaces = table_of(page, "spaces")
    keys = ("cka", "cka by lot", "modality")
    assert spaces["starter mean"] == [written(own["starter"][f"mean/{key}"], False) for key in keys]
    assert table_of(page, "k-NN") == {"starter grid, centred": ["60.0 50.0 to 75.0"] * 3}


def test_the_figures_that_rows_make_all_find_their_place() -> None:
    generator = np.random.default_rng(0)
    drawn = Drawn(np.arange(8, dtype=np.int64) // 2, resamples=20)
    one, other = generator.normal(size=(2, 8, 4, 4, 5)).astype(np.float32)
    made = rows.map_figures("attention", one[..., 0], other[..., 0], drawn)
    made |= rows.map_figures("similarity", one[..., 1], other[..., 1], drawn)
    made |= rows.dense_figures("dense", one, other, drawn) | rows.dense_figures(
        "unshifted", one, other, drawn
    )
    flat = [each.reshape(8, -1) for each in (one, other)]
    made |= rows.vector_figures({"grid": flat[0]}, {"grid": flat[1]}, [{"grid": flat[1]}] * 2, drawn)
    chance = rows.chance_figures(drawn, cells=4)
    lines = [
        {
            "name": name, "kind": kind, "prepared": "",
            "figures": {key: [each.value, *each.interval] for key, each in own.items()},
        }
        for name, kind, own in (("net", "network", made), ("chance", "chance", chance))
    ]  # fmt: skip
    page = render(report(table=lines, claims=[]))
    for what, row in (("attention", "net"), ("others", "net similarity"), ("centred", "net grid"),
                      ("as they are", "net grid"), ("dense", "net"), ("spaces", "net grid")):  # fmt: skip
        assert all(table_of(page, what)[row])
    for what in ("attention", "centred", "as they are"):
        assert all(table_of(page, what)["chance"])
    assert not table_of(page, "k-NN")


@pytest.mark.parametrize(
    ("word", "style", "sign"),
    [("holds", "holds", "\u2713"), ("fails", "fails", "\u2715"), ("not settled", "open", "?")],
)  # fmt: skip
def test_the_verdict_is_a_word_and_not_a_colour_alone(word: str, style: str, sign: str) -> None:
    page = render(report(claims=[claim("w", "features", word, {"HOG": [0.1, -0.1, 0.3]})]))
    (badge,) = read(page).all("span", "badge")
    assert badge.text == f"{sign} {word}"
    assert badge.own["class"] == f"badge {style}"


def test_many_verdicts_stand_in_one_table_first() -> None:
    words = {("a", "percentile"): "holds", ("a", "clahe"): "fails", ("b", "percentile"): "not settled"}
    claims = [claim(w, "features", word, {}, prepared) for (w, prepared), word in words.items()]
    table = [line("a", "network", network_keys(), i, each) for i, each in enumerate(("percentile", "clahe"))]
    page = render(report(claims=claims, table=table))
    (overview,) = read(page).all("table", "all")
    told = [[each.text for each in (*row.all("th"), *row.all("td"))] for row in overview.all("tr")[1:]]
    assert told == [
        ["a", "percentile", "", "\u2713 holds"], ["a", "clahe", "", "\u2715 fails"],
        ["b", "percentile", "", "? not settled"],
    ]  # fmt: skip
    assert not read(render(report())).all("table", "all")


def test_differences_lie_around_zero_on_one_axis_for_all_networks() -> None:
    claims = [
        claim("a", "attention", "fails", {"floor": [0.0, -0.4, 0.2], "other": [0.6, 0.5, 0.6]}),
        claim("b", "attention", "holds", {"floor": [0.1, 0.1, 0.2]}),
        claim("b", "features", "holds", {"floor": [5.0, 4.0, 9.0]}),  # another kind, another axis
    ]
    page = read(render(report(claims=claims)))
    drawn = [each for box in page.all("div", "judged") for each in box.all("svg", "network")]
    field = 100 - 2 * EDGE
    zero = EDGE + field * 0.4  # the axis reaches from -0.4 to 0.6
    for svg in drawn[:3]:
        assert percent(svg.all("line", "zero")[0], "x1", "x2") == pytest.approx([zero] * 2, abs=0.01)
        assert percent(svg.all("rect")[0], "x", "width") == pytest.approx([zero, 100 - zero], abs=0.01)
    at = [percent(svg.all("circle")[0], "cx")[0] for svg in drawn]
    assert at[:3] == pytest.approx([zero, EDGE + field, zero + 0.1 * field], abs=0.01)
    ends = [percent(svg.all("line", "range")[0], "x1", "x2") for svg in drawn]
    assert ends[0] == pytest.approx([EDGE, zero + 0.2 * field], abs=0.01)
    assert ends[3] == pytest.approx([EDGE + field * 4 / 9, EDGE + field], abs=0.01)
    text = page.text
    assert "less other +0.60 +0.50 to +0.60" in text
    assert "less floor +500.0 +400.0 to +900.0" in text  # shares are told in points


def test_the_chart_shows_whether_a_network_lies_right_of_the_floor() -> None:
    said = report()
    own = {each["name"]: each["figures"] for each in said["table"]}
    chart = chart_of(render(said), "Attention: Pearson gap")
    gaps = {
        name: own[name][f"{key}/pearson/gap"]
        for name, key in [
            ("starter", "attention"), ("starter, thermal inverted", "attention"),
            ("starter, colour and its own grey", "attention"), ("untrained NAT of 4.1 M, mean", "attention"),
            ("gradient energy", "gradient"), ("intensity", "intensity"),
        ]
    }  # fmt: skip
    low, high = min(0, *(each[1] for each in gaps.values())), max(0, *(each[2] for each in gaps.values()))

    def place(value: float) -> float:
        return EDGE + (100 - 2 * EDGE) * (value - low) / (high - low)

    shown = [row for row in chart.all("div", "row") if row.all("span", "name")]
    assert [row.all("span", "name")[0].text for row in shown] == [*gaps, "chance"]  # no single seeds
    for row, gap in zip(shown, [*gaps.values(), [0.0]], strict=True):
        (point,) = [*row.all("circle"), *row.all("rect")]
        assert percent(point, "cx" if point.tag == "circle" else "x")[0] == pytest.approx(
            place(gap[0]), abs=0.01
        )
        assert percent(row.all("line", "floor")[0], "x1", "x2") == pytest.approx(
            [place(gaps["gradient energy"][0])] * 2, abs=0.01
        )
        assert [percent(each, "x1", "x2") for each in row.all("line", "range")] == [
            pytest.approx([place(end) for end in gap[1:]], abs=0.01)
        ] * (len(gap) == 3)
    by_hand = [row.all("span", "name")[0].text for row in shown if row.all("rect")]
    assert by_hand == ["gradient energy", "intensity"]  # another shape, not another colour alone


def test_features_are_held_against_the_better_hog() -> None:
    said = report()
    key = "cropped/both/1"
    said["table"][8]["figures"][f"HOG, centred/{key}"] = [0.4, 0.3, 0.5]
    said["table"][9]["figures"][f"hog, centred/{key}"] = [0.5, 0.3, 0.6]
    chart = chart_of(render(said), "Partners found first, cropped, both ways, centred")
    (row,) = [each for each in chart.all("div", "row") if each.text.startswith("hog")]
    assert percent(row.all("line", "floor")[0], "x1") == percent(row.all("rect")[0], "x")
    assert "50.0 % 30.0 to 60.0" in row.text


def test_each_preparation_is_held_against_its_own_floor() -> None:
    table = [
        {
            "name": name, "kind": kind, "prepared": prepared,
            "figures": {f"{key}/pearson/gap": [value, None, None]},
        }
        for prepared, values in (("percentile", (0.1, 0.2)), ("clahe", (0.4, 1.0)))
        for (name, kind, key), value in zip(
            [("net", "network", "attention"), ("gradient energy", "by hand", "gradient")], values, strict=True
        )
    ]  # fmt: skip
    table.append({"name": "chance", "kind": "chance", "prepared": "", "figures": {}})
    page = render(report(table=table, claims=[]))
    chart = chart_of(page, "Attention: Pearson gap")
    shown = [row for row in chart.all("div", "row") if row.all("span", "name")]
    floors = [[percent(each, "x1")[0] for each in row.all("line", "floor")] for row in shown]
    low, high = EDGE + (100 - 2 * EDGE) * 0.2, 100 - EDGE
    assert floors == [[pytest.approx(low)], [pytest.approx(low)], [high], [high], []]
    headings = [each.text for each in chart.all("p", "prepared")]
    assert headings == ["Thermal pictures: percentile", "Thermal pictures: clahe", "Whatever the preparation"]
    assert "Thermal pictures:" not in read(render(report())).text


FAMILIES = {
    "attention": r"(attention|gradient|intensity)/.*",
    "others": r"(similarity|cut)/.*",
    "centred": r".*, centred/(cropped|aligned).*",
    "as they are": r"(mean|grid|HOG|hog)/(cropped|aligned).*",
    "spaces": r".*/(cka.*|modality)",
    "dense": r"(dense|unshifted)/.*",
    "k-NN": r".*/k-NN/.*",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_missing_is_left_out_and_the_rest_stays(family: str) -> None:
    said = report()
    for each in said["table"]:
        each["figures"] = {
            key: value for key, value in each["figures"].items() if not re.fullmatch(FAMILIES[family], key)
        }
    page = render(said)
    gone = {what for what in CAPTIONS if not table_of(page, what)}
    assert gone == {family}


def test_a_network_without_attention_is_told_of() -> None:
    said = report()
    own = said["table"][0]["figures"]
    said["table"][0]["figures"] = {key: each for key, each in own.items() if not key.startswith("attention")}
    page = render(said)
    assert "starter tells of no attention" in read(page).text
    assert "starter" not in table_of(page, "attention")
    assert "starter cut" in table_of(page, "others")
    assert "tells of no attention" not in read(render(report())).text


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_one_recording_gives_figures_without_intervals(nothing: float | None) -> None:
    said = report(recordings=1, largest=82)
    for each in said["table"]:
        each["figures"] = {key: [value[0], nothing, nothing] for key, value in each["figures"].items()}
    for each in said["claims"]:
        each["differences"] = {key: [0.1, nothing, nothing] for key in each["differences"]}
    page = render(said)
    assert not read(page).all("line", "range")
    assert read(page).all("circle")
    assert "nan" not in page.lower()
    assert "None" not in read(page).text
    assert not re.search(r"\d to -?\d", str(table_of(page, "attention")))
    assert "One recording gives none." in page


def test_a_figure_that_is_no_number_leaves_its_cell_empty() -> None:
    said = report()
    said["table"][0]["figures"]["attention/pearson/gap"] = [None, None, None]
    row = table_of(render(said), "attention")["starter"]
    assert row[2] == ""
    assert all(row[:2] + row[3:])


def test_no_name_breaks_the_page() -> None:
    said = report(**dict.fromkeys(("name", "colour", "thermal", "recordings_by", "alignment"), EVIL))
    said["warnings"] = [EVIL]
    for each in said["table"]:
        each["name"] = f"{EVIL} {each['name']}"
    for prepared in (EVIL, "clahe"):
        said["table"].append(line(EVIL, EVIL, [*network_keys(), f"{EVIL}/pearson/gap"], 3, prepared))
    for each in said["claims"]:
        each.update(
            weights=EVIL, prepared=EVIL, sentence=EVIL, word=EVIL, differences={EVIL: [0.1, 0.0, 0.2]}
        )
    page = render(said, sheets=[(EVIL, PNG)])
    nodes = list(read(page).walk())
    assert "script" not in {each.tag for each in nodes}
    assert not any(name.startswith("on") for each in nodes for name in each.own)
    assert len([each for each in nodes if each.tag == "style"]) == 1
    assert "\u202e" not in page
    assert page.count("&lt;script&gt;") > 20


def test_an_empty_report_still_gives_a_page() -> None:
    text = read(render(report(table=[], claims=[], warnings=[], pairs=0, recordings=0, largest=0))).text
    assert "nothing is claimed" in text
    why = report(claims=[], no_verdict="No verdict: <they> are copies.")
    assert "No verdict: <they> are copies." in read(render(why)).text
    assert "How to read it" in text
    assert "Pearson gap" not in text
    chance = [each for each in report()["table"] if each["kind"] == "chance"]
    assert not table_of(
        render(report(table=chance, claims=[])), "centred"
    )  # chance beside nothing says nothing


def test_the_report_is_left_as_it_was() -> None:
    said = report()
    before = copy.deepcopy(said)
    render(said)
    assert said == before


def test_the_order_of_keys_does_not_matter() -> None:
    said = report()
    for each in said["table"]:
        each["figures"] = dict(sorted(each["figures"].items()))
    page = render(said)
    assert page == render(report())
    others, found = (list(table_of(page, what)) for what in ("others", "centred"))
    assert others[:2] == ["starter similarity", "starter cut"]
    assert found[:2] == ["starter mean", "starter grid"]


NUMBERS = st.floats(-5, 5).map(lambda x: round(x, 6))


@given(st.lists(st.tuples(NUMBERS, st.none() | NUMBERS, st.none() | NUMBERS), min_size=1, max_size=6))
def test_places_keep_order_and_stay_in_the_field(
    found: list[tuple[float, float | None, float | None]],
) -> None:
    triples = [Triple(*each) for each in found]
    scale = scale_of(triples)
    values = sorted({0.0, *(x for each in triples for x in each if x is not None)})
    places = [scale.place(value) for value in values]
    assert places == sorted(places)
    if len(values) > 1:
        assert (places[0], places[-1]) == pytest.approx((EDGE, 100 - EDGE))
        steps = np.diff(places) * (values[-1] - values[0])
        assert steps == pytest.approx(np.diff(values) * (100 - 2 * EDGE))
    assert all(scale.low <= mark <= scale.high for mark in scale.marks())
    assert [scale.spot(each).at for each in triples] == [scale.place(each.value) for each in triples]


def test_an_axis_of_nothing_but_zero() -> None:
    assert scale_of([Triple(0.0, None, None)]).place(0.0) == 50.0
    assert Scale(0.0, 0.0).marks() == [0.0]
