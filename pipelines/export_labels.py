"""Which labels leave: the proposals of a run as people made them, and what people drew beside them."""

from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dinonat.embeddings.store import EmbeddingSet, open_set
from dinonat.errors import WorkspaceError
from dinonat.formats.own_labels import as_rows
from dinonat.formats.where import where
from dinonat.pipelines import workspace as places
from dinonat.pipelines.labelled import GIVEN as GIVEN_FILE
from dinonat.pipelines.labelled import given_boxes
from dinonat.pipelines.people import said, stacked, standing, with_events
from dinonat.proposals.abstain import UNKNOWN
from dinonat.records import ACCEPTED, LATER_COLUMNS, PROPOSAL_COLUMNS, REJECTED

TABLE = "proposals.parquet"
VOTERS = "voters"  # how many labelled items voted: the lists themselves stay in proposals.parquet
APART = {"proposal", "item"}  # texts that hardly repeat
IS_REJECTED, IS_UNKNOWN, NO_LABEL = "rejected", "left unknown", "without a label"
NOT_STATUS, NOT_WHERE, NOT_ONLY = "not of --status", "not within --where", "not of the images of --only"


def read_lean(path: Path) -> pd.DataFrame:
    """Read proposals with their repeated texts as categories, and the number of voters for their lists.

    A million of them take a third of a gigabyte. Raises WorkspaceError where ``path`` is no such table.
    """
    names = [name for name in PROPOSAL_COLUMNS if name != "neighbours"]
    texts = [name for name in names if PROPOSAL_COLUMNS[name] == "str" and name not in APART]
    try:
        there = pq.read_schema(path).names
        later = {name: value for name, value in LATER_COLUMNS.items() if name not in there}
        names = [name for name in names if name not in later]
        table = pq.read_table(path, columns=names, read_dictionary=texts)
        voters = pq.read_table(path, columns=["neighbours"])["neighbours"]
    except (OSError, ValueError, KeyError) as error:
        raise WorkspaceError(
            f"{path}: not a table of proposals ({error}). Run `dinotool propose-labels` again with --again."
        ) from error
    counted = pc.fill_null(pc.list_value_length(voters), 0).cast(pa.int32())
    rows: pd.DataFrame = table.append_column(VOTERS, counted).to_pandas()
    return rows.assign(**later) if later else rows


def gather(workspace: Path, run_name: str, known: EmbeddingSet) -> pd.DataFrame:
    """Return every label of a run and of people: PROPOSAL_COLUMNS with VOTERS for the neighbours.

    Labels that people accepted or drew belong to the set and leave with every run.
    """
    name = known.folder.name
    events = said(workspace, name)
    rows = with_events(read_lean(places.proposals_folder(workspace, run_name) / TABLE), events)
    others = standing(events)
    others = others[~others["label_id"].isin(rows["proposal"])]
    tables = [rows]
    for run, own in others[others["run"] != ""].groupby("run"):
        path = places.proposals_folder(workspace, str(run)) / TABLE
        if path.is_file():
            earlier = read_lean(path)
            earlier = with_events(earlier[earlier["proposal"].isin(own["label_id"])], events)
            others = others[~others["label_id"].isin(earlier["proposal"])]
            tables.append(earlier)
    drawn = as_rows(others, known.items, set_name=name, boxes=_measured(workspace, run_name, known))
    return stacked([*tables, drawn.drop(columns="neighbours").assign(**{VOTERS: 0})])


def _measured(workspace: Path, run_name: str, known: EmbeddingSet) -> pd.DataFrame | None:
    """Return the items of the boxes that the run was given: `propose-labels` measured in them."""
    file = places.proposals_folder(workspace, run_name) / GIVEN_FILE
    with suppress(WorkspaceError):  # somebody removed that set, or it is being made again
        if file.is_file():
            return open_set(places.set_folder(workspace, given_boxes(file, known))).items
    return None


def select(
    labels: pd.DataFrame, *, status: str | None, expression: str | None, only: list[str] | None
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the labels to write, and how many were left out for which reason, in this order.

    ``status`` is one or several, separated by commas; ``only`` are names of images. Raises
    WorkspaceError where they leave none of those that could be written.
    """
    left_out: Counter[str] = Counter()
    rows = labels

    def keep(kept: pd.DataFrame, why: str) -> pd.DataFrame:
        left_out[why] += len(rows) - len(kept)
        return kept

    rows = keep(rows[rows["status"] != REJECTED], IS_REJECTED)
    rows = keep(rows[rows["advice"] != UNKNOWN], IS_UNKNOWN)
    rows = keep(rows[rows["label"] != ""], NO_LABEL)
    if only is not None:
        rows = keep(rows[rows["image"].isin(only)], NOT_ONLY)
    usable = len(rows)
    if status is not None:
        asked = [each.strip() for each in status.split(",")]
        rows = keep(rows[rows["status"].isin(asked)], f"{NOT_STATUS} {status}")
    if expression is not None:
        rows = keep(where(rows, expression), f"{NOT_WHERE} {expression}")
    if usable and not len(rows):
        there = ", ".join(f"{count} {why}" for why, count in left_out.items() if count)
        raise WorkspaceError(f"Nothing to export of {len(labels)} labels: {there}. Ask for less.")
    return rows.reset_index(drop=True), {why: count for why, count in left_out.items() if count}


def partly_labelled(labels: pd.DataFrame, complete: Collection[str]) -> list[str]:
    """Say how many images leave with some of their boxes only, where people vouch for all that leave.

    Whoever trains on these learns that what is not labelled in them is nothing.
    """
    boxes = labels[labels["kind"] == "region"]
    if boxes.empty or (boxes["status"] != ACCEPTED).any():
        return []
    images = set(boxes["image"].astype("str"))
    partly = images - set(complete)
    if not partly:
        return []
    return [
        f"Of {len(images)} images with boxes, {len(partly)} were not gone through to the end: more may be in "
        "them that is not labelled. On the review page `f` says that nothing is missing; --only takes a list."
    ]
