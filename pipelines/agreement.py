"""`dinotool agreement`: whether what was learned on colour holds on thermal pictures of the same scenes."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from dinonat.agreement.estimates import Drawn
from dinonat.agreement.rows import Row
from dinonat.agreement.verdict import claims, turned
from dinonat.errors import UsageError
from dinonat.files import short_hash, write_bytes, write_json
from dinonat.images.listing import spread
from dinonat.images.pairing import parse_offset
from dinonat.images.prepare import parse_preparation
from dinonat.images.reading import parse_reading
from dinonat.pages.agreement import render
from dinonat.pipelines import workspace as places
from dinonat.pipelines.agreement_figures import blind_order, draw_alone, draw_pairs, undrawn
from dinonat.pipelines.agreement_lines import line_of
from dinonat.pipelines.agreement_networks import Weights, load_all
from dinonat.pipelines.agreement_pictures import Pictures, read_pairs
from dinonat.pipelines.agreement_report import BLIND, AgreementReport, PicturesReport, Said, said_of
from dinonat.pipelines.agreement_settings import AgreementSettings
from dinonat.pipelines.agreement_steps import Steps
from dinonat.pipelines.agreement_table import MEAN, Measuring, how_many, rows_of
from dinonat.pipelines.devices import limited_to
from dinonat.pipelines.options import plain
from dinonat.pipelines.pairs import Gathered, gather_pairs, odd_pairs, usual_size
from dinonat.pipelines.partners import counted

ALIGNED = ("aligned", "too few")  # verdicts on the pairs with which figures mean something
ROWS = "rows"  # folder of agreements/ where each row's figures are kept


def run(settings: AgreementSettings, workspace: Path) -> AgreementReport | PicturesReport:
    """Measure how well partners agree, to networks and to what is made by hand, and write the page.

    With one folder, or two whose pictures do not belong together, only attention is drawn, where
    ``pictures`` asks for it. Raises UsageError where a folder is missing or no two pictures belong
    together, ImageError where fewer than two pairs can be read, LabelError for a bad file,
    CheckpointError for bad weights.
    """
    start = time.perf_counter()
    _check(settings)
    places.create(workspace)
    remarks: list[str] = []
    with limited_to(settings.threads or torch.get_num_threads()):
        weights = load_all(settings, workspace, remarks)
        pairs = _pairs(settings, workspace, remarks)
        if pairs is None:
            return draw_alone(settings, weights, workspace, remarks)
        pictures = read_pairs(
            pairs,
            prepare=settings.prepare,
            invert=settings.invert,
            reading=parse_reading(settings.scale, settings.object),
            size=settings.size,
            offset=parse_offset(settings.pair_offset),
            labels=settings.labels,
            workers=settings.workers,
        )
        blind = blind_order(settings, pictures)
        steps = how_many(weights, preparations=len(pictures.thermal), untrained=settings.untrained)
        measuring = _measuring(settings, pictures, workspace, Steps(steps))
        rows = list(rows_of(measuring, weights, untrained=settings.untrained))
        folder = places.agreements_folder(workspace, _name(settings, measuring, weights))
        sheets = draw_pairs(settings, pictures, weights, folder, blind)
    doubts = _doubts(pictures)
    remarks = [*doubts, *_polarity(rows, pictures.known), *remarks, *undrawn(settings, weights)]
    remarks += [*pairs.remarks, *pictures.remarks]
    seconds = time.perf_counter() - start
    report = _report(settings, measuring, weights, rows, folder, sheets, remarks, doubts, seconds)
    kept = {name: value for name, value in plain(asdict(report)).items() if name != "seconds"}
    write_json(folder / "report.json", kept)  # the same call, the same bytes
    sheets = [sheet for sheet in sheets if sheet.name != BLIND]  # a page with names beside it spoils the test
    shown = [(sheet.name, sheet.read_bytes()) for sheet in sheets]
    write_bytes(folder / "report.html", render(plain(asdict(report)), sheets=shown).encode())
    places.remember(workspace, "agreement", folder.name)
    return report


def _check(settings: AgreementSettings) -> None:
    """Say a slip in the settings before anything is read."""
    if settings.colour is None or (settings.thermal is None and not settings.pictures):
        raise UsageError(
            "agreement: give two folders, `dinotool agreement RGB THERMAL`, or one with --pictures N to see "
            "only the attention of its pictures."
        )
    if settings.most == 1:
        raise UsageError("most=1: partners are compared with strangers. Give 2 or more, or 0 for all pairs.")
    for each in settings.prepare:
        parse_preparation(each, invert=settings.invert)
    parse_reading(settings.scale, settings.object)
    parse_offset(settings.pair_offset)


def _pairs(settings: AgreementSettings, workspace: Path, remarks: list[str]) -> Gathered | None:
    """Find the pairs, at most so many as are asked for; None where only pictures are to be drawn."""
    assert settings.colour is not None
    if settings.thermal is None:
        return None
    try:
        found = gather_pairs(
            settings.colour,
            settings.thermal,
            workspace=workspace,
            list_file=settings.pair_list,
            recordings=settings.recordings,
            workers=settings.workers,
        )
    except UsageError as error:
        if not settings.pictures:
            raise
        remarks.append(f"{error} So nothing is measured, and pictures of both folders are shown.")
        return None
    if len(found) < 2:
        raise UsageError(
            f"agreement: one pair only ({found.thermal[0].name}). Partners are compared with strangers, so "
            "two pairs are needed, and many from several recordings for a verdict."
        )
    if settings.most and len(found) > settings.most:
        marks = np.zeros(len(found), bool)
        marks[spread(range(len(found)), settings.most)] = True
        remarks.append(
            f"{marks.sum()} of {len(found)} pairs are measured, evenly over all (--set most=0: all)."
        )
        found = found.part(marks)
    return found


def _measuring(settings: AgreementSettings, pictures: Pictures, workspace: Path, steps: Steps) -> Measuring:
    things = [(item.pair, item.label) for item in pictures.items]
    return Measuring(
        pictures,
        Drawn(pictures.groups, seed=settings.seed),
        workspace / places.FOLDERS["agreement"] / ROWS,
        short_hash(pictures.colour.digest, pictures.groups.tolist(), settings.seed, things),
        steps,
    )


def _name(settings: AgreementSettings, measuring: Measuring, weights: Sequence[Weights]) -> str:
    thermal = [(name, light.digest) for name, light in measuring.pictures.thermal.items()]
    return short_hash(
        measuring.name, thermal, [(own.fingerprint, own.kind) for own in weights], settings.untrained
    )


def _polarity(rows: Sequence[Row], known: int) -> list[str]:
    """Say of which network inverted thermal pictures agree better with colour."""
    networks = {(row.name, row.prepared): row.figures for row in rows if row.kind == "network"}
    inverted = [row for row in rows if row.kind == "inverted"]
    said = [(row.of, turned(networks[row.of, row.prepared], row.figures, known)) for row in inverted]
    return [f"{name}: {text}" for name, text in said if text]


def _doubts(pictures: Pictures) -> list[str]:
    """Say what makes the figures worth less than they seem."""
    said = []
    if pictures.copies:
        said.append(
            counted(pictures.copies, "pair is one picture twice", "pairs are one picture twice")
            + " Such a pair scores 1 without any network. Leave them out by a list (--pair-list FILE)."
        )
    said += odd_pairs(pictures.odd)
    if pictures.unknown:
        said.append(
            f"{pictures.unknown} of {len(pictures.groups)} pairs are of unknown recordings: frames like them "
            "may be among their strangers, and intervals may be too narrow."
        )
    if pictures.alignment.verdict not in ALIGNED:
        said.append(
            "Figures of pairs that are not aligned say little: maps, tokens and labelled boxes are compared "
            "place by place."
        )
    if pictures.items and len(set(pictures.groups.tolist())) < 2:
        said.append(
            "All pairs are of one recording, of which nothing may vote for itself: labels are left out."
        )
    return said


def no_verdict(pictures: Pictures) -> str:
    """Say why nothing can be claimed of any network on these pairs; "" where it can."""
    if len(pictures.copies) == len(pictures.groups):
        return "No verdict: every pair is one picture twice, which agrees to any network."
    if pictures.alignment.verdict not in ALIGNED:
        return "No verdict: the pictures of a pair do not lie on each other, so nothing could agree."
    return ""


def _report(
    settings: AgreementSettings,
    measuring: Measuring,
    weights: Sequence[Weights],
    rows: Sequence[Row],
    folder: Path,
    sheets: Sequence[Path],
    remarks: Sequence[str],
    doubts: Sequence[str],
    seconds: float,
) -> AgreementReport:
    pictures, groups = measuring.pictures, measuring.pictures.groups
    withheld = no_verdict(pictures)
    return AgreementReport(
        name=folder.name,
        colour=str(settings.colour),
        thermal=str(settings.thermal),
        size=settings.size,
        pairs=len(groups),
        recordings=measuring.drawn.count,
        recordings_by=pictures.pairs.by,
        largest=int(np.bincount(groups).max()),
        alignment=pictures.alignment.sentence(usual_size(pictures.pairs), parse_offset(settings.pair_offset)),
        table=tuple(line_of(row) for row in rows),
        claims=() if withheld else tuple(_claims(measuring, weights, rows)),
        pictures=tuple(str(sheet) for sheet in sheets),
        page=str(folder / "report.html"),
        warnings=tuple(dict.fromkeys(remarks)),
        seconds=seconds,
        doubts=tuple(doubts),
        no_verdict=withheld,
    )


def _claims(measuring: Measuring, weights: Sequence[Weights], rows: Sequence[Row]) -> Iterator[Said]:
    """Say of each network in each preparation whether the claim holds, against floors of that preparation."""
    kinds = {own.name: own.kind for own in weights}
    for row in rows:
        if row.kind == "network":
            beside = [each for each in rows if each.prepared == row.prepared]
            by_hand = {each.name: each.figures for each in beside if each.kind == "by hand"}
            untrained = next(
                each for each in beside if each.of == kinds[row.name] and each.name.startswith(MEAN)
            )
            known = measuring.pictures.known
            for claim in claims(row.figures, untrained.figures, by_hand, known):
                yield said_of(row, claim, known)
