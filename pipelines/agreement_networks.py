"""The networks that `dinotool agreement` compares."""

from dataclasses import dataclass
from pathlib import Path

from dinonat.errors import CheckpointError
from dinonat.files import short_hash
from dinonat.models.catalog import load_network
from dinonat.models.network import Network
from dinonat.pages.pictures import printable
from dinonat.pipelines import workspace as places
from dinonat.pipelines.agreement_settings import AgreementSettings
from dinonat.pipelines.devices import device_named


@dataclass(frozen=True, eq=False)
class Weights:
    """A network to be measured."""

    name: str  # as it was asked for
    network: Network
    fingerprint: str

    @property
    def kind(self) -> str:
        """Name networks that are built alike; what only training asks for makes no difference."""
        built = self.network.settings.model_dump(mode="json", exclude={"drop_path"})
        return short_hash(type(self.network).__name__, built)

    @property
    def built(self) -> str:
        """Say how it is built, in a word and its number of parameters."""
        count = sum(each.numel() for each in self.network.parameters())
        return f"{type(self.network).__name__} of {count / 1e6:.1f} M"


def load_all(settings: AgreementSettings, workspace: Path, remarks: list[str]) -> list[Weights]:
    """Load the networks that were asked for, each once; bad weights cost only themselves.

    Raises CheckpointError where none can be loaded.
    """
    asked = list(dict.fromkeys(settings.weights))
    if not asked:
        newest, said = places.newest_weights(workspace)
        remarks.append(said)
        asked = [newest]
    device = device_named(settings.device)
    loaded: dict[tuple[str, str], Weights] = {}
    refused: list[CheckpointError] = []
    for name in asked:
        try:
            network, fingerprint = load_network(places.weights_file(workspace, name), remark=remarks.append)
            own = Weights(printable(name), network.to(device), fingerprint)
        except CheckpointError as error:
            refused.append(error)
            remarks.append(f"{error} It is left out.")
            continue
        same = loaded.setdefault((own.fingerprint, own.kind), own)
        if same is not own:
            remarks.append(f"{own.name} has the weights of {same.name}, so it has no rows of its own.")
    if not loaded:
        raise refused[0]
    return list(loaded.values())
