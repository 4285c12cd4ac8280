"""What `dinotool embed` says when it is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dinonat.images.faults import printable

SHOWN = 5  # failures and remarks that the summary names
UNIT_WORDS = {
    "celsius": "in degrees Celsius",
    "counts": "in counts of the camera",
    "grey": "in grey levels",
    "colour": "in colour",
}


@dataclass(frozen=True)
class EmbedReport:
    """What a set holds, and how it was made."""

    set: str
    folder: str
    images: int
    regions: int
    failed: int  # images and given boxes
    failures: tuple[tuple[str, str], ...]  # the first of them: image, reason
    recordings: int  # how many different ones
    units: dict[str, int]  # celsius, counts, grey or colour -> images
    weights: str
    model: str  # fingerprint of the network
    settings: dict[str, Any]
    images_per_second: float  # of this run, reading included
    resumed: int  # images that an earlier run had done
    already_done: bool
    remarks: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        untrained = ": not trained, a control" if self.model.startswith("untrained") else ""
        saliency = self.settings["saliency"]
        lines = [
            *_first(self.remarks),
            *_first([_named(image, reason) for image, reason in self.failures], self.failed),
        ]
        lines += [
            f"Network {self.weights} ({self.model}{untrained}), preparation {self.settings['prepare']}, "
            f"size {self.settings['size']}, regions {saliency}",
            "Values: " + ", ".join(f"{count} {UNIT_WORDS[unit]}" for unit, count in self.units.items()),
            f"Set {self.set}: {self.images} images"
            + (f" in {self.recordings} recordings" if self.recordings else "")
            + f", {self.regions} regions, {self.failed} failed -> {self.folder}",
        ]
        if self.already_done:
            return [*lines, "It was done already; --again redoes it."]
        before = f", {self.resumed} images were done before" if self.resumed else ""
        return [*lines, f"{self.images_per_second:.1f} images/s{before}"]


def _named(image: str, reason: str) -> str:
    """Return a reason with the image's name in front, where it does not begin with it."""
    return reason if reason.startswith(printable(image)) else f"{printable(image)}: {reason}"


def _first(sentences: Sequence[str], count: int | None = None) -> list[str]:
    """Return the first few sentences and how many more there are."""
    more = (len(sentences) if count is None else count) - SHOWN
    return [*sentences[:SHOWN], *([f"... and {more} more"] if more > 0 else [])]
