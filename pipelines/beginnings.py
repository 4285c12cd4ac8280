"""Where a pretraining run begins: untrained, with starter weights, a file, or what another run learned."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dinonat.errors import UsageError
from dinonat.images.batches import sha256
from dinonat.models.catalog import STARTER_FILE
from dinonat.pipelines import workspace as places
from dinonat.pretraining.recipe import TrainSettings
from dinonat.pretraining.state import Start
from dinonat.records import STARTER

STARTER_NETWORK = "nat_nano"
HEADS = ("out_dim", "hidden", "bottleneck")  # of a run's heads: a run that goes on with them takes these


@dataclass(frozen=True)
class Beginning:
    """Weights to begin with."""

    start: Start | None  # None: weights by chance
    name: str  # as `embed --weights` takes it; "" where it takes none such
    said: str
    heads: Mapping[str, int] = field(default_factory=dict)  # settings of the heads that come along

    @property
    def digest(self) -> str:
        """What names the beginning in a run's id."""
        return self.name if self.start is None else sha256(self.start.network)


def beginning(
    asked: str | None, recipe: TrainSettings, given: Collection[str], workspace: Path, *, from_scratch: bool
) -> Beginning:
    """Find the weights that ``--init`` names, or those that are taken where nothing is asked for.

    Heads of another run come along unless the settings that are ``given`` ask for others. Raises UsageError
    for weights that are not there, and for --init with --from-scratch.
    """
    if from_scratch:
        if asked:
            raise UsageError(f"--init {asked} and --from-scratch: take one of them.")
        return untrained(recipe, "Starting from weights by chance (--from-scratch).")
    if asked is None:
        if recipe.network != STARTER_NETWORK or recipe.pooling != "mean":
            return untrained(
                recipe, "Starting from weights by chance: the starter weights are of another network."
            )
        return Beginning(
            Start(STARTER_FILE), STARTER, "Starting from the starter weights (--from-scratch: from none)."
        )
    if asked == STARTER:
        return Beginning(Start(STARTER_FILE), STARTER, "Starting from the starter weights.")
    if asked in places.names(workspace, "weights"):
        return _of_run(asked, recipe, given, workspace)
    if not Path(asked).is_file():
        there = ", ".join(places.names(workspace, "weights")) or "none"
        raise UsageError(
            f"--init {asked}: neither a file nor a run of {workspace} (there: {there}), nor 'starter'."
        )
    return Beginning(Start(Path(asked)), asked, f"Starting from {asked}.")


def untrained(recipe: TrainSettings, said: str) -> Beginning:
    """Begin with weights by chance."""
    return Beginning(None, "" if recipe.timm else f"untrained:{recipe.seed}:{recipe.network}", said)


def _of_run(run: str, recipe: TrainSettings, given: Collection[str], workspace: Path) -> Beginning:
    """Begin with the network that a run kept (of one that has not ended: its last), and with its heads."""
    folder = places.weights_folder(workspace, run)
    kept, state, made = (folder / name for name in ("teacher.safetensors", "state.pt", "recipe.json"))
    if not kept.is_file() and not state.is_file():
        raise UsageError(f"--init {run}: this run has no weights yet ({kept}). Let it go on for a while.")
    network = kept if kept.is_file() else state
    if state.is_file() and made.is_file():
        before = json.loads(made.read_text("utf-8"))
        others = [name for name in HEADS if name in given and before[name] != getattr(recipe, name)]
        if not others and bool(before["dense"]) == bool(recipe.dense):
            heads = {name: before[name] for name in HEADS}
            said = f"Starting from run {run}, its heads included."
            return Beginning(Start(network, state), run, said, heads)
    said = f"Starting from the network of run {run}; its heads are gone or of another kind, so they are new."
    return Beginning(Start(network), run, said)
