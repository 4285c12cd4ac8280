"""DINO: head, targets, loss and teacher (Caron et al. 2021, arXiv 2104.14294, algorithm 1).

Beside the paper's centring there is Sinkhorn-Knopp (SwAV, Caron et al. 2020; used in DINOv2), and the
KoLeo regulariser (Sablayrolles et al. 2019; DINOv2). Everything here runs in float32: logits are cosines
divided by 0.02 to 0.1, too coarse for half precision.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dinonat.pretraining import ranks


class Head(nn.Module):
    """Three-layer MLP, L2 normalisation, then prototypes of unit length: logits are cosines."""

    def __init__(self, dim: int, *, hidden: int = 1024, bottleneck: int = 64, out_dim: int = 1024) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.prototypes = nn.Linear(bottleneck, out_dim, bias=False)  # rows are normalised in forward
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Pooled features (N, dim) to logits (N, out_dim) in [-1, 1], float32 whatever the input."""
        with torch.autocast(features.device.type, enabled=False):
            z = functional.normalize(self.mlp(features.float()), dim=-1)
            return functional.linear(z, functional.normalize(self.prototypes.weight, dim=-1))


def centred_targets(logits: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """Teacher probabilities by centring and sharpening: softmax((t - c) / temperature), (N, K)."""
    return ((logits.float() - centre) / temperature).softmax(-1)


def next_centre(centre: Tensor, logits: Tensor, momentum: float = 0.9) -> Tensor:
    """Move the centre towards the mean of the raw teacher logits of all processes; after the loss.

    ``logits`` (N, K) are those of the whole step, as many in every process.
    """
    return centre * momentum + ranks.averaged(logits.float().mean(0)) * (1 - momentum)


def sinkhorn_targets(logits: Tensor, temperature: float, *, iterations: int = 3) -> Tensor:
    """Teacher probabilities (N, K) by Sinkhorn-Knopp: rows sum to 1, prototypes are used equally.

    Alternately scales columns to N / K and rows to 1, in that order, from exp(logits / temperature); the
    columns are those of all processes, each of which has N rows.
    """
    scaled = logits.float() / temperature
    q = (scaled - ranks.largest(scaled.max())).exp()
    count, prototypes = len(q) * ranks.world(), q.shape[1]
    for _ in range(iterations):
        q = q / ranks.summed(q.sum(0, keepdim=True)).clamp_min(1e-30) * (count / prototypes)
        q = q / q.sum(1, keepdim=True).clamp_min(1e-30)
    return q


def dino_loss(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    temperature: float = 0.1,
    *,
    same_place: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy over all pairs of a teacher view and another student view.

    Parameters
    ----------
    student : sequence of (B, K) logits, one for each view, the global views first
    teacher : sequence of (B, K) probabilities, one for each global view
    temperature : float
        Of the student.
    same_place : LongTensor (P,) or None
        Rows that student and teacher see in two lights: for these the views of one place are compared, too.

    The sign is that of equation 1: minus the sum of p_t log p_s. The printed algorithm of the DINONAT
    paper leaves the minus out, which would drive the student away from its teacher.
    """
    pairs = [(i, v) for i in range(len(teacher)) for v in range(len(student)) if i != v]
    if not pairs:
        raise ValueError(
            f"DINO compares a teacher view with other student views; {len(teacher)} teacher and "
            f"{len(student)} student views leave no pair."
        )
    log_student = [(logits.float() / temperature).log_softmax(-1) for logits in student]

    def between(i: int, v: int) -> Tensor:  # (B,)
        return -(teacher[i] * log_student[v]).sum(-1)

    loss = torch.stack([between(i, v) for i, v in pairs]).mean(0)
    if same_place is not None and len(same_place):
        more = torch.stack([between(i, i)[same_place] for i in range(len(teacher))]).mean(0)
        share = len(teacher) / (len(teacher) + len(pairs))  # every pair of views counts the same
        loss = loss.index_copy(0, same_place, torch.lerp(loss[same_place], more, share))
    return loss.mean()


def region_loss(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    student_tokens: Sequence[Tensor],
    teacher_tokens: Sequence[Tensor],
    temperature: float = 0.1,
) -> Tensor:
    """Compare each student token with the teacher token that is most like it.

    The region-level task of EsViT (Li et al. 2022, arXiv 2106.09785).

    Parameters
    ----------
    student : sequence of (B, T, K) logits of tokens, one for each view, the global views first
    teacher : sequence of (B, S, K) probabilities of tokens, one for each global view
    student_tokens, teacher_tokens : sequence of (B, T, C), (B, S, C)
        The tokens themselves; the pairing is by their cosine, and passes no gradient.
    temperature : float
        Of the student.

    Returns the mean over tokens and over all pairs of a teacher view and another student view.
    """
    terms = []
    units = [functional.normalize(x.detach().float(), dim=-1) for x in student_tokens]
    keys = [functional.normalize(x.detach().float(), dim=-1) for x in teacher_tokens]
    log_student = [(logits.float() / temperature).log_softmax(-1) for logits in student]
    for i, targets in enumerate(teacher):
        for v, log_p in enumerate(log_student):
            if i == v:
                continue
            nearest = (units[v] @ keys[i].transpose(1, 2)).argmax(2)  # (B, T)
            matched = targets.gather(1, nearest[..., None].expand(-1, -1, targets.shape[2]))
            terms.append(-(matched * log_p).sum(-1).mean())
    return torch.stack(terms).mean()


def koleo(features: Tensor, *, epsilon: float = 1e-8) -> Tensor:
    """Push each feature away from its nearest neighbour in the batch: -mean log distance, (N, d) -> ().

    Equal features (frames of one video) cost log(epsilon) and pass no gradient of infinite size.
    """
    z = functional.normalize(features.float(), dim=-1)
    with torch.no_grad():
        similarity = z @ z.T
        similarity.fill_diagonal_(-2)
        nearest = similarity.argmax(1)
    distance = functional.pairwise_distance(z, z[nearest], eps=epsilon)
    return -(distance + epsilon).log().mean()


def entropy(probabilities: Tensor) -> Tensor:
    """Mean entropy of rows (N, K), in nats."""
    return -(probabilities * probabilities.clamp_min(1e-30).log()).sum(-1).mean()


@torch.no_grad()
def move_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Set teacher = momentum * teacher + (1 - momentum) * student; what is counted (BatchNorm) is copied."""
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)
    for its, own in zip(teacher.buffers(), student.buffers(), strict=True):
        its.copy_(own)


@torch.no_grad()
def clip_each(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """Clip the gradient of each parameter tensor to norm ``limit`` on its own, as the official recipe."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch._foreach_norm(gradients)
    torch._foreach_mul_(gradients, [(limit / (norm + 1e-6)).clamp(max=1) for norm in norms])


def decay_groups(model: nn.Module) -> list[dict[str, object]]:
    """Split parameters: tensors of two and more dimensions decay; biases, norms, gains and rpb do not."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    still = [p for name, p in named if p.ndim < 2 or name.endswith("rpb")]
    moving = [p for name, p in named if not (p.ndim < 2 or name.endswith("rpb"))]
    return [{"params": moving, "decays": True}, {"params": still, "weight_decay": 0.0, "decays": False}]
