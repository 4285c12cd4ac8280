"""Passes of a network that a GPU replays instead of being told each kernel again: CUDA graphs.

A small network on small crops has thousands of short kernels, and giving them out takes the CPU longer than
the GPU needs for them. What is recorded once for each size of input is then given out at once.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from dinonat.errors import UsageError
from dinonat.models.network import Network

Pass = Callable[[Tensor], tuple[Tensor, ...]]  # images (B, 3, H, W) to what the loss compares


class Asked(nn.Module):
    """A network's pass as one callable, autocast inside, for all that is asked of it in training.

    Parameters
    ----------
    network : Network
    answer : callable
        From the network and images (B, 3, H, W) to a tuple of tensors.
    bfloat16 : bool
        Whether to compute in it.
    """

    def __init__(
        self, network: Network, answer: Callable[[Network, Tensor], tuple[Tensor, ...]], *, bfloat16: bool
    ) -> None:
        super().__init__()
        self.network, self.answer, self.in_bfloat16 = network, answer, bfloat16

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) to the answers."""
        # A graph may not depend on casts that were made before it: no cache of them.
        recording = x.is_cuda and torch.cuda.is_current_stream_capturing()
        with torch.autocast(
            x.device.type, torch.bfloat16, enabled=self.in_bfloat16, cache_enabled=not recording
        ):
            return self.answer(self.network, x)


def recorded(asked: Asked, sample: Tensor) -> Pass:
    """Record forward and, where it learns, backward of a pass, for inputs of the shape of ``sample``.

    Each call overwrites the answers of the call before, and what its gradient is made of: two groups that
    are asked in one step need two recordings. Raises UsageError where the network cannot be recorded.
    """
    try:
        graphed = torch.cuda.make_graphed_callables(
            asked, (torch.zeros_like(sample),), allow_unused_input=True
        )
    except RuntimeError as error:
        raise UsageError(
            f"The passes of {type(asked.network).__name__} cannot be recorded on this device "
            f"({str(error).splitlines()[0]}). Go on without: --set graphs=false."
        ) from error
    # Recording has its own stream, and newer torch would warn at every run that gradients come from it.
    hush = getattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch", None)
    if hush is not None:
        hush(False)
    return cast(Pass, graphed)
