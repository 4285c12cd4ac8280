"""What `dinotool propose-labels` can be told."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from dinonat.settings import Settings

# Settings that the inputs stand for, or that change nothing.
NOT_IN_NAME = {"set", "labels", "name", "again"}


class ProposeSettings(Settings):
    """What `dinotool propose-labels` can be told."""

    set: str | None = None  # set of embeddings; the newest where none is named
    labels: Path | None = None  # a file for import-labels; all labels of the set are used, clusters without
    method: Literal["auto", "vote", "diffuse", "linear", "joint"] = "auto"
    k: int = Field(20, ge=1)  # labelled neighbours that vote
    temperature: float | None = Field(None, gt=0)  # of the vote; None: what explains the labels best
    alpha: float = Field(0.9, gt=0, lt=1)  # of diffusion: share of an item that comes from its neighbours
    graph_neighbours: int = Field(15, ge=1)  # of each item in the graph of diffusion and of clusters
    features: str = "auto"  # or parts with weights: grid=0.7,hog=1
    centring: Literal["auto", "mean", "none"] = "auto"  # of the parts; auto: on the mean of the set or not
    # Labelled images are labelled completely: their other regions are examples of nothing.
    background: bool | Literal["auto"] = "auto"  # auto: where boxes are labelled
    abstain: float = Field(0.1, ge=0, lt=1)  # share of labelled items that would be left unknown as too far
    worth: bool = True  # leave unknown what in the labelled images costs more clicks than it saves
    overlap: float = Field(0.5, gt=0, le=1)  # IoU at which two regions of one label show the same thing
    precision: float = Field(0.95, gt=0, lt=1)  # of what is accepted after an audit
    audit_votes: bool = False  # whether what an audit found out is an example like other labels
    clusters: int | None = Field(None, ge=1)  # without labels, about so many; None: as many as there are
    name: str | None = None  # of the run; None: a hash of what goes into it
    seed: int = 0  # of the clusters
    again: bool = False
