"""Which index serves how many vectors: exact search up to a million, above it inverted lists, refined."""

from dataclasses import dataclass

import numpy as np

from dinonat.records import Int64

EXACT_UP_TO = 1_000_000  # rows; a search of all by all takes hours there, and grows with the square
A_LIST = 64  # rows that train each list; FAISS asks for 39 at least
PROBED = 64  # lists that a query looks into; see `pick`
ROUNDS = 10  # of k-means that places the lists
SEED = 1234


@dataclass(frozen=True)
class Plan:
    """An inverted file (Sivic and Zisserman 2003) of 8-bit vectors, and how it is trained and asked."""

    lists: int
    probed: int  # lists a query looks into
    trained: int  # rows that place the lists

    @property
    def factory(self) -> str:
        """The index in the words of FAISS's factory."""
        return f"IVF{self.lists},SQ8"

    def sample(self, n: int) -> Int64:
        """Return which of ``n`` rows train the lists: drawn once, always the same ones."""
        drawn = np.random.default_rng(SEED).choice(n, size=min(self.trained, n), replace=False)
        return np.sort(drawn).astype(np.int64)


def pick(n: int, *, exact_up_to: int = EXACT_UP_TO) -> Plan | None:
    """Return how to search ``n`` rows: None is exact search, a plan an approximate one.

    About four times sqrt(n) lists, a power of two, of which 64 are looked into: a query is compared
    with 1.6 % of the rows at a million, 0.8 % at 4 million.

    >>> pick(1_000_000), pick(4_000_000).factory
    (None, 'IVF8192,SQ8')
    """
    if n <= exact_up_to:
        return None
    lists = 1 << max(0, round(np.log2(max(1.0, 4 * n**0.5))))
    while lists > 1 and n < A_LIST * lists:  # only where a caller asks for it with few rows
        lists //= 2
    return Plan(lists, min(PROBED, lists), A_LIST * lists)


def described(n: int, *, exact_up_to: int = EXACT_UP_TO) -> str:
    """Say in words how ``n`` rows are searched.

    >>> described(20_000)
    'exact search'
    """
    plan = pick(n, exact_up_to=exact_up_to)
    if plan is None:
        return "exact search"
    return f"approximate search ({plan.factory}, {plan.probed} lists of each query, ranked by exact cosines)"
