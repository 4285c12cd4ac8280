"""XML of labels: read from outside part by part, with line numbers and nothing it can do to us; written.

Entities and document types are refused (defusedxml's handlers), nothing is fetched, depth and the size of one
part are bounded, and a file is never held as a whole. The lines are those of expat.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import numpy as np
import pandas as pd
import pyarrow as pa
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from dinonat.errors import LabelError

LARGEST_XML = 8 << 30  # bytes of a file that is read part by part
LARGEST_PART = 1 << 28  # bytes of one part: all labels of one image
DEEPEST = 32  # elements in each other; CVAT needs six
BLOCK = 1 << 18  # bytes read at a time

UNSAYABLE = "names with characters that XML cannot hold (control characters): written with U+FFFD instead"
_UNSAYABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
_ESCAPED = re.compile('[&<>"\t\n\r]')
_INDENT = re.compile(r"^\s*\n\s*|\s*\n\s*$")


class XmlError(LabelError):
    """XML that cannot be read: in which line, and what is wrong with it."""

    def __init__(self, path: Path, line: int, what: str) -> None:
        super().__init__(f"{path}{f', line {line}' if line else ''}: {what}")
        self.line, self.what = line, what


class Element:
    """One element: its name, attributes, text before and after its children, children and line.

    ``<attribute name="score">0.5</attribute>``, of which labels have a dozen, is no child but ("score",
    "0.5") in ``facts``: a file of a million labels is read twice as fast.
    """

    __slots__ = ("attributes", "children", "facts", "line", "name", "text")

    def __init__(self, name: str, attributes: dict[str, str], line: int) -> None:
        self.name, self.attributes, self.line = name, attributes, line
        self.text = ""
        self.children: list[Element] = []
        self.facts: list[tuple[str, str]] = []

    def first(self, *names: str) -> "Element | None":
        """Return the first element down the path of ``names``, or None."""
        found: Element | None = self
        for name in names:
            found = next((child for child in found.children if child.name == name), None) if found else None
        return found

    def all(self, name: str) -> "list[Element]":
        """Return the children of that name."""
        return [child for child in self.children if child.name == name]

    def said(self, *names: str) -> str | None:
        """Return the text of the first element down that path, `unindented`; None where there is none."""
        found = self.first(*names)
        return None if found is None else unindented(found.text)


def unindented(text: str) -> str:
    """Return a text without line breaks at its ends and the blanks beside them.

    >>> unindented(chr(10) + "  person ")
    'person '
    """
    return _INDENT.sub("", text)


def parts(path: Path, *, facts: Sequence[str] = ()) -> Iterator[Element]:
    """Yield the root of an XML file, without children, and then each child of the root when it ends.

    ``facts`` names the facts that are wanted, if not all: most others are cut out of the bytes before they
    are parsed, which makes reading more than twice as fast. A cut never changes a line's number.

    Raises XmlError (a LabelError) where the file is missing, too large, not well-formed, nested deeper
    than DEEPEST, or declares a document type or entities.
    """
    reading = _Reading(path)
    names = "|".join(re.escape(name) for name in facts)
    # "<" and "&" cannot stand in what a match covers, so a match is one whole element, wherever a block ends.
    unwanted = re.compile(rf'<attribute name="(?!(?:{names})")[^"<>&\r\n]*">[^<&\r\n]*</attribute>'.encode())
    try:
        if path.stat().st_size > LARGEST_XML:
            raise XmlError(path, 0, f"larger than {LARGEST_XML >> 30} GiB, which no label file is.")
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                kept = unwanted.sub(b"", block) if facts else block
                yield from reading.fed(kept) if kept else ()
    except OSError as error:
        raise XmlError(path, 0, f"cannot be read ({error.strerror}). Give an XML file of labels.") from error
    yield from reading.fed(b"")


def whole(path: Path) -> Element:
    """Return the root of a small XML file with all that it holds. Raises what `parts` raises."""
    found = parts(path)
    root = next(found)
    root.children = list(found)
    return root


def escaped(text: str) -> str:
    """Return ``text`` as XML holds it in an element or between double quotes.

    >>> escaped('a "b" & <c>')
    'a &quot;b&quot; &amp; &lt;c&gt;'
    """
    return _ESCAPED.sub(lambda found: _ESCAPES[found[0]], _UNSAYABLE.sub("\ufffd", text))


def sayable(text: str) -> bool:
    """Say whether XML can hold every character of ``text``."""
    return _UNSAYABLE.search(text) is None


def number_texts(column: "pd.Series[Any]") -> list[str]:
    """Return each number with the fewest digits that give it back, as float32 if it is one; "" for none."""
    values = column.to_numpy(np.float64, na_value=np.nan)
    there = np.isfinite(values)
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    exact = (narrow[there] == values[there]).all()  # float32 that was widened on the way
    texts: list[str] = pa.array(narrow if exact else values).cast(pa.string()).to_pylist()
    return texts if there.all() else [text if good else "" for text, good in zip(texts, there, strict=True)]


class _Reading:
    """A parser, and the parts that it has finished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.finished: list[Element] = []
        self.since = 0  # bytes fed since a part was finished
        # Its handlers refuse document types, entities and what lies outside; ours build elements.
        self.expat: Any = DefusedXMLParser(forbid_dtd=True).parser
        self.expat.ordered_attributes = False
        self.expat.buffer_text = True
        self.expat.CommentHandler = self.expat.ProcessingInstructionHandler = None
        self.expat.DefaultHandlerExpand = None
        self._build()

    def fed(self, block: bytes) -> list[Element]:
        """Return the parts that end in ``block``; no bytes end the file."""
        self.finished.clear()
        try:
            self.expat.Parse(block, not block)
        except DefusedXmlException as error:
            raise self._error(
                "a document type or entities are declared, which label files do not need and which can blow "
                "up or read other files. Delete the lines <!DOCTYPE ...> and <!ENTITY ...>."
            ) from error
        except ExpatError as error:
            what = str(error).partition(":")[0]
            raise XmlError(
                self.path, error.lineno, f"not well-formed XML ({what}). Export the file again, or mend it."
            ) from error
        except (LookupError, ValueError) as error:
            raise self._error(f"encoding that cannot be read ({error}). Save it as UTF-8.") from error
        self.since = 0 if self.finished else self.since + len(block)
        if self.since > LARGEST_PART:
            raise self._error(f"one element of more than {LARGEST_PART >> 20} MiB, which no image needs.")
        return self.finished

    def _error(self, what: str) -> XmlError:
        return XmlError(self.path, self.expat.CurrentLineNumber, what)

    def _build(self) -> None:
        """Give the parser handlers that build elements: closures, for they are called a million times."""
        expat, finished, error = self.expat, self.finished, self._error
        top: list[Element] = []  # the elements that are open
        fact: str | None = None  # name of the fact that is open
        value, inside = "", 0  # its text, and how many elements are open in it

        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal fact, value, inside
            if fact is not None:
                inside += 1
                return
            if name == "attribute" and "name" in attributes and top:
                fact, value, inside = attributes["name"], "", 0
                return
            element = Element(name, attributes, expat.CurrentLineNumber)
            depth = len(top)
            if depth > 1:
                top[-1].children.append(element)
                if depth >= DEEPEST:
                    raise error(f"elements nested deeper than {DEEPEST}, which no label file needs.")
            elif not depth:
                finished.append(element)
            top.append(element)

        def end(name: str) -> None:
            nonlocal fact, inside
            if fact is not None:
                if inside:
                    inside -= 1
                else:
                    top[-1].facts.append((fact, value))
                    fact = None
                return
            element = top.pop()
            if len(top) == 1:
                finished.append(element)

        def text(found: str) -> None:
            nonlocal value
            if fact is not None:
                value += found
            elif len(top) > 1:
                top[-1].text += found

        expat.StartElementHandler, expat.EndElementHandler = start, end
        expat.CharacterDataHandler = text
