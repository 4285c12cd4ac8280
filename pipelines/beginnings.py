"""Where a pretraining run begins: untrained, with starter weights, a file, or what another run learned."""

import json
from dataclasses import dataclass
from pathlib import Path

from dinonat.errors import UsageError
from dinonat.images.batches import sha256
from dinonat.models.catalog import NETWORKS, STARTER_FILE
from dinonat.pipelines import workspace as places
from dinonat.pretraining.recipe import TrainSettings
from dinonat.records import STARTER

STARTER_NETWORK = "nat_nano"
HEADS = ("out_dim", "hidden", "bottleneck")  # heads of a run fit where these are the same


@dataclass(frozen=True)
class Beginning:
    """Weights to begin with."""

    path: Path | None  # a checkpoint, or the state of a run; None: weights by chance
    name: str  # as `embed --weights` takes it
    said: str

    @property
    def with_heads(self) -> bool:
        """Whether the heads come along, which only the state of a run has."""
        return self.path is not None and self.path.suffix == ".pt"

    @property
    def digest(self) -> str:
        """What names the beginning in a run's id."""
        return self.name if self.path is None else sha256(self.path)


def beginning(asked: str | None, recipe: TrainSettings, workspace: Path, *, from_scratch: bool) -> Beginning:
    """Find the weights that ``--init`` names, or those that are taken where nothing is asked for.

    Raises UsageError for weights that are not there, and for --init with --from-scratch.
    """
    if from_scratch:
        if asked:
            raise UsageError(f"--init {asked} and --from-scratch: take one of them.")
        return _untrained(recipe, "Starting from weights by chance (--from-scratch).")
    if asked is None:
        fits = recipe.network == STARTER_NETWORK and recipe.pooling == "mean"
        if not fits:
            return _untrained(
                recipe, "Starting from weights by chance: the starter weights are of another network."
            )
        return Beginning(
            STARTER_FILE, STARTER, "Starting from the starter weights (--from-scratch: from none)."
        )
    if asked == STARTER:
        return Beginning(STARTER_FILE, STARTER, "Starting from the starter weights.")
    if asked in places.names(workspace, "weights"):
        return _of_run(asked, recipe, workspace)
    if not Path(asked).is_file():
        there = ", ".join(places.names(workspace, "weights")) or "none"
        raise UsageError(
            f"--init {asked}: neither a file nor a run of {workspace} (there: {there}), nor 'starter'."
        )
    return Beginning(Path(asked), asked, f"Starting from {asked}.")


def _untrained(recipe: TrainSettings, said: str) -> Beginning:
    known = recipe.network in NETWORKS or not recipe.timm
    name = f"untrained:{recipe.seed}:{recipe.network}" if known else ""
    return Beginning(None, name, said)


def _of_run(run: str, recipe: TrainSettings, workspace: Path) -> Beginning:
    folder = places.weights_folder(workspace, run)
    made = folder / "recipe.json"
    if (folder / "state.pt").is_file() and made.is_file():
        before = json.loads(made.read_text("utf-8"))
        same = all(before[name] == getattr(recipe, name) for name in HEADS)
        if same and bool(before["dense"]) == bool(recipe.dense):
            return Beginning(folder / "state.pt", run, f"Starting from run {run}, its heads included.")
    path = folder / "teacher.safetensors"
    if not path.is_file():
        raise UsageError(f"--init {run}: this run has no weights yet ({path}). Let it end first.")
    return Beginning(path, run, f"Starting from the network of run {run}; its heads are of another kind.")
