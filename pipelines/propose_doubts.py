"""What a run leaves to be looked at first, beside its proposals: outliers, repeats, labels in doubt."""

from dinonat.neighbors.index import search
from dinonat.pipelines.doubts_file import Looked
from dinonat.pipelines.propose_graph import Place
from dinonat.proposals.bank import Bank
from dinonat.proposals.deciding import Decided
from dinonat.proposals.doubts import (
    DUPLICATE,
    LABEL,
    OUTLIER,
    Doubts,
    label_errors,
    near_duplicates,
    outliers,
    vote_shares,
)
from dinonat.records import Bool


def looked_at(place: Place | None, about: Decided | None) -> Looked:
    """Look through the items of a ``place``, and the labels that decided ``about`` others."""
    found: dict[str, Doubts] = {}
    if place is not None:
        found[OUTLIER] = outliers(place.items, place.graph)
        found[DUPLICATE] = near_duplicates(place.items, place.graph, place.vectors)
    if about is not None and len(about.bank.names) > 1:
        bank = about.bank
        shares = vote_shares(
            about.vectors, bank.classes, bank.groups[0], n_classes=len(bank.names), search=search
        )
        found[LABEL] = label_errors(
            bank.items, bank.classes, bank.names, shares, given_by_people=_given_by_people(bank)
        )
    return Looked(tuple(found.values()), {kind: each.sentence for kind, each in found.items()})


def _given_by_people(bank: Bank) -> Bool:
    """Mark the labels of people; regions that meet a drawn box, and background, are examples beside them."""
    nothing = -1 if bank.background is None else bank.names.index(bank.background)
    given = (bank.items["kind"] == "image") | (bank.items["label"] != "")
    marks: Bool = given.to_numpy() & (bank.classes != nothing)
    return marks
