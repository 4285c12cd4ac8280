"""What is known of each point of a map: its label, who gave it, how sure it is, and from which run."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.errors import WorkspaceError
from dinonat.formats.own_labels import GIVEN, as_rows
from dinonat.pages.map import Colouring, binned, colouring
from dinonat.pipelines import workspace as places
from dinonat.pipelines.export_labels import TABLE, gather
from dinonat.pipelines.people import said, standing
from dinonat.proposals.abstain import UNKNOWN
from dinonat.records import REJECTED, Int64

NONE, LEFT, NO = "no label", "left unknown", "rejected"
BY_PEOPLE, NO_BY_PEOPLE = "given by a person", "rejected by a person"
NO_RECORDING, NO_SCORE, NO_METHOD = "recording not known", "no score", "no method"
GREY = (NONE, LEFT, NO, NO_BY_PEOPLE, NO_RECORDING, NO_METHOD)


def run_of(workspace: Path, set_name: str, asked: str | None) -> str | None:
    """Return the run of proposals whose labels a map of a set shows: as asked, else its newest, else None.

    Raises WorkspaceError where the run that was asked for is missing or of another set.
    """
    if asked is not None:
        run = places.chosen(workspace, "proposals", asked)
        owner = _set_of(workspace, run)
        if owner != set_name:
            raise WorkspaceError(
                f"--proposals {run}: a run about set '{owner}', not '{set_name}'. Name another run or set."
            )
        return run
    with suppress(WorkspaceError):
        newest = places.newest(workspace, "proposals")
        if _set_of(workspace, newest) == set_name:
            return newest
    own = [run for run in places.names(workspace, "proposals") if _set_of(workspace, run) == set_name]
    return max(own, key=lambda run: _made(workspace, run), default=None)


def _set_of(workspace: Path, run: str) -> str | None:
    """Return which set a run is about; None where it is damaged or unfinished."""
    folder = places.proposals_folder(workspace, run)
    with suppress(WorkspaceError):
        if (folder / TABLE).is_file():
            return str(places.read_object(folder / "meta.json").get("set"))
    return None


def _made(workspace: Path, run: str) -> tuple[int, str]:
    return (places.proposals_folder(workspace, run) / TABLE).stat().st_mtime_ns, run


def labels_of(workspace: Path, known: EmbeddingSet, run: str | None) -> pd.DataFrame:
    """Return the labels of a run with what people made of them, or only what people said."""
    if run is not None:
        return gather(workspace, run, known)
    events = standing(said(workspace, known.folder.name))
    return as_rows(events, known.items, set_name=known.folder.name)


def beside(items: pd.DataFrame, labels: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return a row for each of ``items`` (all of one kind), in their order, NaN where nothing is known.

    Regions find their label by their item, images by their name; several labels of one image are joined
    by " + ", and the rest is that of the first.
    """
    key = "item" if kind == "region" else "image"
    own = labels[labels["kind"] == kind]
    own = own.assign(**{name: own[name].astype("str") for name in _texts(own)})
    first = own.drop_duplicates(key).set_index(key)
    several = own[own[key].duplicated(keep=False)]
    if len(several):
        standing_only = several[several["status"] != REJECTED]
        joined = standing_only.groupby(key)["label"].agg(lambda each: " + ".join(dict.fromkeys(each)))
        first.loc[joined.index, "label"] = joined
    return first.reindex(items[key].to_numpy()).reset_index(drop=True)


def _texts(rows: pd.DataFrame) -> list[str]:
    names = ("item", "image", "label", "advice", "status", "reason", "method")
    return [name for name in names if name in rows]


def colourings_of(items: pd.DataFrame, rows: pd.DataFrame, clusters: Int64) -> tuple[Colouring, ...]:
    """Return every way to colour points that tells something, the most telling first.

    ``rows`` are those of `beside`; ``clusters`` (n,) stand in where the run made none.
    """
    found: list[Colouring] = []
    labelled = rows["label"].notna().to_numpy()
    if labelled.any():
        found += [
            colouring("label", _labels(rows), nothing=GREY),
            colouring("advice", _advice(rows), nothing=GREY),
        ]
        for name in ("score", "probability"):
            values = rows[name].to_numpy(np.float32)
            if not np.isnan(values).all():
                found.append(binned(name, values, missing=NO_SCORE))
        methods = rows["method"].fillna("").replace("", NO_METHOD).tolist()
        if len(set(methods) - {NO_METHOD}) > 1:
            found.append(colouring("method", methods, nothing=GREY))
    made = rows["cluster"].fillna(-1).to_numpy(np.int64)
    numbers = made if (made >= 0).any() else clusters
    digits = len(str(numbers.max(initial=0)))
    called = [f"cluster {c:0{digits}}" if c >= 0 else NONE for c in numbers]
    found.append(colouring("cluster", called, nothing=GREY))
    recordings = items["recording"].replace("", NO_RECORDING).tolist()
    if set(recordings) != {NO_RECORDING}:
        found.append(colouring("recording", recordings, nothing=GREY))
    return tuple(found)


def _labels(rows: pd.DataFrame) -> list[str]:
    """Return what each point is called."""
    known = zip(rows["label"], rows["status"], rows["advice"], strict=True)
    return [_called(label, status, advice) for label, status, advice in known]


def _called(label: object, status: object, advice: object) -> str:
    """Return a label, or why there is none; NaN, where nothing is known, is a float."""
    if isinstance(label, float):
        return NONE
    if status == REJECTED:
        return NO
    return LEFT if advice == UNKNOWN else str(label) or NONE


def _advice(rows: pd.DataFrame) -> list[str]:
    """Return what is to be done with each point, or what somebody did."""
    known = zip(rows["label"], rows["status"], rows["advice"], strict=True)
    return [_advised(label, status, advice) for label, status, advice in known]


def _advised(label: object, status: object, advice: object) -> str:
    if isinstance(label, float):
        return NONE
    if status == REJECTED:
        return NO_BY_PEOPLE
    return {GIVEN: BY_PEOPLE, UNKNOWN: LEFT}.get(str(advice), str(advice))
