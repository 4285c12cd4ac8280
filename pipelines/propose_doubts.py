"""What a run leaves to be looked at first, beside its proposals: outliers, repeats, labels in doubt."""

from dinonat.neighbors.index import search
from dinonat.pipelines.doubts_file import Looked
from dinonat.pipelines.propose_graph import Place
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
        found[LABEL] = label_errors(bank.items, bank.classes, bank.names, shares)
    return Looked(tuple(found.values()), {kind: each.sentence for kind, each in found.items()})
