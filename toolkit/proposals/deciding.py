"""What labelled items decide once, each left out with its recording, and what they say of all others."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from dinonat.neighbors.parts import Vectors, Weights, joined
from dinonat.proposals import diffusion, linear
from dinonat.proposals.abstain import Thresholds, Verdict, advise, comparable, thresholds, verdict
from dinonat.proposals.bank import Bank, of_rows
from dinonat.proposals.leave_out import balanced_weights, log_likelihood
from dinonat.proposals.methods import (
    AUTO,
    DIFFUSE,
    JOINT,
    LINEAR,
    VOTE,
    Judged,
    Shares,
    decide,
    deciding,
    needed,
    winners,
)
from dinonat.proposals.table import Origin, voted_rows
from dinonat.proposals.votes import TEMPERATURE, TEMPERATURES, Near, Search, balanced_vote, nearest_per_class
from dinonat.records import Float32, Int64

Chunk = tuple[pd.DataFrame, Vectors, Int64]  # rows of ITEM_COLUMNS, their parts, centred, and their nodes
APART = 1e-6  # less than this between all vectors: they are equal


@dataclass(frozen=True)
class Voting:
    """How labels become proposals."""

    method: str = AUTO  # one of methods.ASKED
    k: int = 20
    temperature: float | None = None  # of the vote; None: the one that explains the labels best
    abstain: float = 0.1  # share of the labelled items that would be left unknown for their likeness
    alpha: float = 0.9  # of diffusion


@dataclass(frozen=True, eq=False)
class Net:
    """The graph that labels spread along: of all items of a kind, and the labelled ones."""

    graph: csr_array  # (N, N)
    labelled: Int64  # (n,) the node of each item of the bank


@dataclass(frozen=True, eq=False)
class Decided:
    """What is settled before the first item is asked about."""

    bank: Bank
    vectors: Float32  # (n, D) search vectors of the bank
    weights: Weights
    k: int
    method: str  # that decides
    asked: tuple[str, ...]  # that say something
    temperature: float
    limits: Thresholds
    judged: tuple[Judged, ...]  # empty where nothing was compared
    spread: Float32 | None  # (N, C) shares of the nodes, where diffusion is needed
    classifier: linear.Linear | None

    @property
    def alike(self) -> bool:
        """Whether all labelled items have one and the same vector, so that nothing tells them apart."""
        return _alike(self.vectors)


def decided(bank: Bank, weights: Weights, voting: Voting, *, search: Search, net: Net | None) -> Decided:
    """Settle the temperature, the method and the thresholds by what each method says of left-out items.

    No labelled item is compared with its own recording (or image, or itself, as `recordings_of` has it).
    ``net`` is there where `methods.needed` names diffusion. One class, or one recording: the method asked
    for, all together for "auto".
    """
    vectors, n_classes = joined(bank.ready, weights), len(bank.names)
    groups, _ = bank.groups
    near = _near(bank, vectors, vectors, voting.k, search, exclude=(groups, groups))
    temperature = voting.temperature or _temperature(near, bank.classes)
    asked = needed(voting.method)
    left: dict[str, Float32] = {}
    spread, classifier = None, None
    if VOTE in asked:
        left[VOTE] = balanced_vote(near.similarity, temperature=temperature)
    if DIFFUSE in asked and net is not None:
        about = (net.labelled, bank.classes)
        left[DIFFUSE] = diffusion.left_out_shares(net.graph, *about, groups, n_classes, alpha=voting.alpha)
        given = diffusion.seeds(*about, net.graph.shape[0], n_classes)
        spread = diffusion.spread(net.graph, given, alpha=voting.alpha).shares
    if LINEAR in asked:
        left[LINEAR], strength = linear.left_out_shares(vectors, bank.classes, groups, n_classes)
        classifier = linear.fit(vectors, bank.classes, n_classes, strength=strength)
    comparable_methods = len(left) > 1 and len(np.unique(groups)) > 1
    taken, judged = decide(left, bank.classes, groups) if comparable_methods else (JOINT, ())
    method = taken if voting.method == AUTO else voting.method
    said = _verdict(bank, near, left, method, voting.k)
    limits = thresholds(said, n_classes, share=voting.abstain)
    if _alike(vectors) and n_classes > 1:
        limits = replace(limits, margin=np.inf)
    return Decided(
        bank=bank,
        vectors=vectors,
        weights=weights,
        k=voting.k,
        method=method,
        asked=tuple(left),
        temperature=temperature,
        limits=limits,
        judged=judged,
        spread=spread,
        classifier=classifier,
    )


def narrowed(about: Decided, rows: Int64, *, net: Net | None, alpha: float) -> Decided:
    """Return what is decided by the labelled items ``rows`` alone, settled as all of them settled it.

    Method, temperature, thresholds, and strength and axes of the classifier stay: they know the labels that
    are left out no better than by a few numbers, and settling them anew would take most of the time.
    """
    bank, vectors, n_classes = of_rows(about.bank, rows), about.vectors[rows], len(about.bank.names)
    asked = tuple(name for name in needed(about.method) if name in about.asked)
    spread, classifier = None, None
    if DIFFUSE in asked and net is not None:
        given = diffusion.seeds(net.labelled[rows], bank.classes, net.graph.shape[0], n_classes)
        spread = diffusion.spread(net.graph, given, alpha=alpha).shares
    before = about.classifier
    if LINEAR in asked and before is not None:
        classifier = linear.fit(
            vectors, bank.classes, n_classes, strength=before.strength, columns=before.columns
        )
    return replace(about, bank=bank, vectors=vectors, asked=asked, spread=spread, classifier=classifier)


def propose(about: Decided, chunks: Iterable[Chunk], *, search: Search, origin: Origin) -> pd.DataFrame:
    """Return a row of PROPOSAL_COLUMNS for each item of ``chunks``."""
    bank = about.bank
    names = ["" if name == bank.background else name for name in bank.names]
    labelled = bank.items["item"].to_list()
    tables = []
    for items, ready, nodes in chunks:
        said = ask(about, joined(ready, about.weights), nodes, search=search)
        advice, reasons = advise(said, about.limits, bank.names, background=bank.background)
        tables.append(
            voted_rows(items, said, advice, reasons, names=names, labelled=labelled, k=about.k, origin=origin)
        )
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def ask(about: Decided, queries: Float32, nodes: Int64, *, search: Search) -> Verdict:
    """Return what the methods say of ``queries`` (m, D), search vectors of ``nodes`` (m,) of the graph."""
    near = _near(about.bank, about.vectors, queries, about.k, search)
    shares: dict[str, Float32] = {}
    if VOTE in about.asked:
        shares[VOTE] = balanced_vote(near.similarity, temperature=about.temperature)
    if about.spread is not None:
        shares[DIFFUSE] = about.spread[nodes]
    if about.classifier is not None:
        shares[LINEAR] = about.classifier.shares(queries)
    return _verdict(about.bank, near, shares, about.method, about.k)


def _alike(vectors: Float32) -> bool:
    return len(vectors) > 1 and bool(np.ptp(vectors, axis=0).max(initial=0) < APART)


def _near(
    bank: Bank,
    vectors: Float32,
    queries: Float32,
    k: int,
    search: Search,
    *,
    exclude: tuple[Int64, Int64] | None = None,
) -> Near:
    count = len(bank.names)
    return nearest_per_class(
        vectors, bank.classes, queries, n_classes=count, k=k, search=search, exclude=exclude
    )


def _verdict(bank: Bank, near: Near, shares: Shares, method: str, k: int) -> Verdict:
    compared = comparable(bank.classes, bank.groups[0], n_classes=len(bank.names), k=k)
    return verdict(
        near, compared=compared, shares=deciding(shares, method), method=method, chosen=winners(shares)
    )


def _temperature(near: Near, classes: Int64) -> float:
    """Return the temperature at which votes of left-out items explain their classes best."""
    if not np.isfinite(near.similarity).any():
        return TEMPERATURE
    weight = balanced_weights(classes)

    def likely(temperature: float) -> float:
        shares = balanced_vote(near.similarity, temperature=temperature)
        return float(weight @ log_likelihood(shares, classes))

    return max(TEMPERATURES, key=likely)
