import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dinonat.errors import LabelError
from dinonat.formats import xml_files
from dinonat.formats.xml_files import escaped, number_texts, parts, sayable, unindented, whole

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><annotations>&c;</annotations>'
)
OUTSIDE = '<!DOCTYPE a [<!ENTITY secret SYSTEM "file:///etc/hostname">]><annotations>&secret;</annotations>'
DTD = '<!DOCTYPE annotations SYSTEM "http://localhost/a.dtd">\n<annotations/>'


def file(folder: Path, text: str | bytes) -> Path:
    path = folder / "a.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_parts_of_a_file_with_their_lines(tmp_path: Path) -> None:
    text = '<a v="1">\n<b x="&lt;&#233;">one<c>two</c></b>\n<!-- no part -->\n\n<d/></a>'
    root, first, second = parts(file(tmp_path, text))
    assert (root.name, root.attributes, root.children, root.line) == ("a", {"v": "1"}, [], 1)
    assert (first.name, first.attributes, first.text, first.line) == ("b", {"x": "<é"}, "one", 2)
    assert [(child.name, child.text) for child in first.children] == [("c", "two")]
    assert (second.name, second.line) == ("d", 5)
    tree = whole(file(tmp_path, text))
    assert [child.name for child in tree.children] == ["b", "d"]
    assert (tree.said("b", "c"), tree.said("b", "nothing"), tree.first("b", "c", "e")) == ("two", None, None)


def test_attributes_of_labels_are_facts_wherever_they_stand(tmp_path: Path) -> None:
    text = '<r><a><attribute name="x"> 1 <i>in <b>it</b></i>2</attribute><attribute>t</attribute></a></r>'
    _, part = parts(file(tmp_path, text))
    assert part.facts == [("x", " 1 in it2")]
    assert [(child.name, child.text) for child in part.children] == [("attribute", "t")]


@given(st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_wanted_facts_are_the_same_without_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    names = st.sampled_from(["score", "scores", "label_id", "x", "a &amp; b"])
    values = st.sampled_from(["", "0.5", "two\nlines", "&lt;x&gt;", "ü", "<i>in</i>", "<![CDATA[>]]>"])
    fact = st.tuples(names, values, st.sampled_from(["", "\n  "]))
    text = "<r>"
    for own in data.draw(st.lists(st.lists(fact, max_size=6), max_size=5)):
        inner = "".join(f'<attribute name="{name}">{value}</attribute>{end}' for name, value, end in own)
        text += f"<a>{inner}<b/></a>\n"
    monkeypatch.setattr(xml_files, "BLOCK", data.draw(st.integers(1, 200)))
    path = file(tmp_path, text + "</r>")

    def wanted(facts: tuple[str, ...]) -> list[object]:
        return [
            (
                part.line,
                [fact for fact in part.facts if fact[0] in ("score", "label_id")],
                part.children[0].line,
            )
            for part in list(parts(path, facts=facts))[1:]
        ]

    assert wanted(("score", "label_id")) == wanted(())


@pytest.mark.parametrize("text", [BOMB, OUTSIDE, DTD])
def test_document_types_and_entities_are_refused_in_words(tmp_path: Path, text: str) -> None:
    with pytest.raises(LabelError, match=r"a\.xml, line 1: a document type or entities are declared"):
        list(parts(file(tmp_path, text)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not well-formed XML .no element found"),
        ("<a>\n<b></a>", "line 2: not well-formed XML .mismatched tag"),
        ("<a>&undefined;</a>", "not well-formed XML .undefined entity"),
        ("no xml", "not well-formed"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "encoding"),
        ("<a>" * 40 + "</a>" * 40, "nested deeper than 32"),
        (b"<a>\xff\xfe\xfd</a>", "not well-formed"),
    ],
)
def test_what_is_no_xml_is_refused_in_words(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        list(parts(file(tmp_path, text)))


def test_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_files, "BLOCK", 100)
    monkeypatch.setattr(xml_files, "LARGEST_PART", 1000)
    many = file(tmp_path, f"<a>{'<b>1234567890</b>' * 500}</a>")
    assert sum(1 for _ in parts(many)) == 501  # many small parts are no large one
    with pytest.raises(LabelError, match="one element of more than"):
        list(parts(file(tmp_path, f"<a><b>{'1234567890' * 500}</b></a>")))
    monkeypatch.setattr(xml_files, "LARGEST_XML", 1000)
    with pytest.raises(LabelError, match="larger than"):
        list(parts(many))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.xml", tmp_path):
        with pytest.raises(LabelError, match="cannot be read"):
            list(parts(path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_encodings_and_windows_line_ends(tmp_path: Path, encoding: str) -> None:
    head = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>\r\n'
    _, part = parts(file(tmp_path, (head + '<a>\r\n<b x="é ü"/>\r\n</a>').encode(encoding)))
    assert (part.attributes, part.line) == ({"x": "é ü"}, 3)


@given(st.text())
@settings(max_examples=100, deadline=None)
def test_escaped_texts_come_back_from_another_parser(text: str) -> None:
    element = ET.fromstring(f'<a x="{escaped(text)}">{escaped(text)}</a>')
    expected = "".join(character if sayable(character) else "\ufffd" for character in text)
    assert (element.attrib["x"], element.text or "") == (expected, expected)


def test_numbers_have_the_digits_that_give_them_back() -> None:
    single = np.array([0.1, 1 / 3, 29300.12, 1e-9, np.nan, np.inf, 1], np.float32)
    texts = number_texts(pd.Series(single))
    assert texts[4:6] == ["", ""]
    assert texts[0] == "0.1"
    assert all(np.float32(text) == value for text, value in zip(texts, single, strict=True) if text)
    assert number_texts(pd.Series(single.astype(float))) == texts
    assert float(number_texts(pd.Series([1 / 3]))[0]) == 1 / 3
    assert number_texts(pd.Series([], dtype=float)) == []


def test_only_the_indentation_of_a_printer_is_taken_off() -> None:
    assert unindented("\n   a b \n ") == "a b"
    assert unindented(" a b ") == " a b "
