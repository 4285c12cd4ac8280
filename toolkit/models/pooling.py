"""Attention pooling: which tokens the one vector of a picture is made from, learned with the network.

SimPool (Psomas et al. 2023, "Keep It SimPool", arXiv 2309.06891) without its power mean: the exponent
gamma shifts values by their minimum over the whole batch, so that a vector would depend on its batch
mates.
"""

import torch
from torch import Tensor, nn


class SimPool(nn.Module):
    """One query made from the mean of the tokens; values are the normed tokens themselves, one head.

    u = mean_i x_i;  a = softmax_i((W_q u) . (W_k LN(x_i)) / sqrt(d));  z = sum_i a_i LN(x_i)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, d) to the pooled vector z (B, d)."""
        normed = self.norm(x)
        return torch.einsum("bn,bnd->bd", self._weights(x, normed), normed)

    def weights(self, x: Tensor) -> Tensor:
        """Tokens (B, N, d) to how much each counts, a (B, N): positive, of sum 1."""
        return self._weights(x, self.norm(x))

    def _weights(self, x: Tensor, normed: Tensor) -> Tensor:
        query = self.query(x.mean(dim=1)) * x.shape[-1] ** -0.5
        # (W_q u) . (W_k y) = (W_k^T W_q u) . y: one product a picture instead of one a token.
        scores: Tensor = torch.einsum("bnd,bd->bn", normed, query @ self.key.weight)
        return scores.softmax(dim=1)
