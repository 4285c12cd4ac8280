"""Why a label was proposed: the labelled items behind it, their weight, and what else they led to."""

from collections.abc import Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dinonat import acts, labels
from dinonat.errors import DinonatError
from dinonat.pipelines.people import database
from dinonat.pipelines.review_list import Shown, as_json
from dinonat.pipelines.review_voters import Voter, Voters
from dinonat.proposals.abstain import BACKGROUND
from dinonat.proposals.methods import SAID, VOTE
from dinonat.proposals.votes import voters_per_class
from dinonat.records import REJECTED, Float32

NAMED = 200  # rejected proposals that are named for each labelled item; all are counted
CAUSES = 50  # labelled items of the list of those behind rejected proposals
Float64 = NDArray[np.float64]


class Why:
    """What decided the proposals of one run, and which of them people have rejected so far."""

    def __init__(self, shown: Shown) -> None:
        self.shown, self.voters = shown, Voters(shown)
        self._rejected: set[int] = set()
        self._seq, self._lock = 0, Lock()
        self._caused: dict[str, list[int]] = {}

    def caused(self) -> dict[str, list[int]]:
        """Return each labelled item that decided rejected proposals of the run, and the rows of these."""
        with self._lock, labels.reading(database(self.shown.workspace)) as db:
            seq = labels.last_seq(db)
            if seq != self._seq:
                changes = acts.changes_since(db, self.shown.set_name, self._seq)
                for name, action in zip(changes["label_id"], changes["action"], strict=True):
                    row = self.shown.place_of.get(name)
                    if row is not None:
                        (self._rejected.add if action == REJECTED else self._rejected.discard)(row)
                self._caused = self.voters.decided(sorted(self._rejected))
                self._seq = seq
            return self._caused

    def of(self, row: int) -> dict[str, Any]:
        """Return what the page shows of the reasons of proposal ``row``."""
        with self._lock:  # the lists are read once
            proposal, items = self.shown.table.iloc[row], self.voters.of(row)
            there = self.voters.voters(items)
            cosines = self.voters.cosines(row, items) if items else np.zeros(0, np.float32)
        weights, sentence = self.weights(row, there, cosines)
        caused = self.caused()
        return {
            "reason": str(proposal["reason"]),
            "method": str(proposal["method"]),
            "methods": str(proposal["agree"]).split(),
            "sentence": sentence,
            "neighbours": [
                self._told(voter, caused.get(item, []))
                | {"item": item, "similarity": _number(cosine), "weight": None if w is None else _number(w)}
                for item, voter, cosine, w in zip(items, there, cosines, weights, strict=True)
            ],
            "caused": {item: len(caused[item]) for item in items if item in caused},
        }

    def weights(
        self, row: int, there: Sequence[Voter | None], cosines: Float32
    ) -> tuple[list[float | None], str]:
        """Return the share of the vote that each neighbour of ``row`` had, and what is to be said of it."""
        nothing: list[float | None] = [None] * len(there)
        proposal, made = self.shown.table.iloc[row], self.shown.made
        method = str(proposal["method"])
        if not there:
            return nothing, "No labelled item decided this."
        if int(proposal["cluster"]) >= 0:
            return nothing, "Nobody had labelled anything: this is the most typical item of the cluster."
        if method != VOTE:
            return nothing, (
                f"Decided by {SAID.get(method, 'no method')}. Shown are the nearest labelled items of the "
                "class that won, and how alike they are (cosine); only the vote has weights."
            )
        temperature = made.get("temperature") or made.get("settings", {}).get("temperature")
        mixed = proposal["kind"] == "region" and ";" in str(made.get("features", ""))
        counts = self.voters.counts(str(proposal["kind"]))
        if temperature is None or mixed or counts is None or not all(there) or np.isnan(cosines).any():
            return nothing, (
                "Decided by the vote. Shown is how alike the items are (cosine): the run does not say all "
                "that their weights follow from."
            )
        voters = [voter.labels for voter in there if voter]
        shares, sentence = vote_shares(
            cosines,
            voters,
            counts,
            k=int(made.get("settings", {}).get("k", 20)),
            temperature=float(temperature),
            known=self._known_shares(proposal),
        )
        return shares.tolist(), sentence

    def _known_shares(self, proposal: "pd.Series[Any]") -> dict[str, float]:
        """Return the share of the vote that the winner and the second class had, as far as the row tells.

        The score of a region is mixed with its objectness (`proposals.objects.ranked`); the margin is not.
        """
        label, second = (str(proposal[name]) for name in ("label", "second"))
        score, objectness = float(proposal["score"]), min(float(proposal["objectness"]), 1.0)
        if proposal["kind"] == "region" and label and not np.isnan(objectness):
            score = float(np.sqrt(score**3 / objectness)) if objectness > 0 else 0.0
        shares = {label or BACKGROUND: score, second or BACKGROUND: score - float(proposal["margin"])}
        return {name: share for name, share in shares.items() if share > 0}

    def _told(self, voter: Voter | None, rejected: Sequence[int]) -> dict[str, Any]:
        """Return what the page is told of a labelled item and of the rejected proposals that it decided."""
        names = self.shown.table["proposal"]
        ids = [str(names[row]) for row in rejected[:NAMED]]
        told: dict[str, Any] = {"rejected": len(rejected), "rejected_ids": ids}
        if voter is None:
            return told | {"image": None, "name": "", "box": None, "label": "", "crop": None}
        image = self.shown.image_at.get(voter.image)
        words = {"name": voter.image, "box": voter.box, "label": ", ".join(voter.labels)}
        return told | words | {"image": image, "crop": self._crop(image, voter)}

    def _crop(self, image: int | None, voter: Voter) -> str | None:
        if image is None:
            return None
        box = {} if voter.box is None else {side: f"{v:g}" for side, v in zip("xywh", voter.box, strict=True)}
        return f"/crop-of/{image}?{urlencode(box | {'r': self.shown.run})}"

    def causes(self) -> dict[str, Any]:
        """Return the labelled items that decided most rejected proposals, those of most first."""
        caused = sorted(self.caused().items(), key=lambda each: (-len(each[1]), each[0]))[:CAUSES]
        with self._lock:
            there = self.voters.voters([item for item, _ in caused])
        items = [
            {"item": item} | self._told(voter, rows)
            for (item, rows), voter in zip(caused, there, strict=True)
        ]
        return {"rejected": len(self._rejected), "items": items}


def vote_shares(
    cosines: Float32,
    classes: Sequence[Sequence[str]],
    counts: Mapping[str, int],
    *,
    k: int,
    temperature: float,
    known: Mapping[str, float],
) -> tuple[Float64, str]:
    """Return the share (n,) of the class-balanced vote that each stored neighbour had, and a sentence.

    A class scores the mean of exp(cosine / temperature) over its voters (`votes.balanced_vote`), so that
    one voter gives its exp / (voters of its class) / (scores of all classes). A run stores the nearest k
    voters: where others took part, the sum follows from the share of a class that is ``known`` and of which
    all voters are stored; where there is no such class, shares are among those shown.

    >>> vote_shares(np.float32([1, 1]), [["a"], ["b"]], {"a": 1, "b": 1}, k=9, temperature=0.07, known={})[0]
    array([0.5, 0.5])
    """
    voters = dict(zip(counts, voters_per_class(np.array(list(counts.values())), k).tolist(), strict=True))
    weight = np.exp((cosines.astype(np.float64) - float(cosines.max())) / temperature)
    each = np.array([sum(1 / voters.get(name, 1) for name in own) for own in classes]) * weight
    shown = {name: sum(name in own for own in classes) for name in voters}
    missing = sum(max(0, voters[name] - shown[name]) for name in voters)
    head = f"Decided by the vote (temperature {temperature:g})"
    if missing == 0:
        return each / each.sum(), f"{head}: each item's share of it; classes weigh alike."
    for name, share in known.items():
        if name in voters and shown[name] >= voters[name]:
            own = sum(w / voters[name] for w, of in zip(weight, classes, strict=True) if name in of)
            told = each * share / own
            rest = max(0.0, 1 - float(told.sum()))
            return told, f"{head}: each item's share of it; {missing} more had {rest:.0%} together."
    return each / each.sum(), f"{head}: each item's share among those shown; {missing} more took part."


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def routes(shown: Shown) -> list[Route]:
    """Return the addresses that say why: of one proposal, and of all that were rejected."""
    why = Why(shown)
    return [
        Route("/api/why/{label}", partial(_why, why)),
        Route("/api/causes", partial(_causes, why)),
    ]


async def _why(why: Why, request: Request) -> Response:
    """Answer with what decided one proposal."""
    row = why.shown.place_of.get(request.path_params["label"])
    if row is None:
        return JSONResponse({"error": "No proposal of this run: a person drew it, or it is gone."}, 404)
    return await _json(lambda: why.of(row))


async def _causes(why: Why, _: Request) -> Response:
    """Answer with the labelled items behind the rejected proposals."""
    return await _json(why.causes)


async def _json(answer: Any) -> Response:
    try:
        body = await run_in_threadpool(lambda: as_json(answer()))
    except DinonatError as error:
        return JSONResponse({"error": str(error)}, 503)
    return Response(body, media_type="application/json")
