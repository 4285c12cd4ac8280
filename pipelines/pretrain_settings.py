"""What `dinotool pretrain` can be told, and what of it names a run."""

from pathlib import Path

from pydantic import Field

from dinonat.pipelines.pretrain_pictures import PictureSettings
from dinonat.pretraining.recipe import TrainSettings


class PretrainSettings(TrainSettings, PictureSettings):
    """What `dinotool pretrain` can be told: pictures, recipe, and how long.

    Of the recipe, what nobody gives is fitted to the data (``dinonat.pretraining.sizing``).
    """

    init: str | None = None  # starter, a file or a run; None: starter where it fits
    from_scratch: bool = False
    monitor: Path | None = None  # images in class folders, by which the teachers are judged
    minutes: float = Field(30.0, gt=0)
    epochs: float | None = Field(None, gt=0)  # passes over the images, instead of minutes
    cool_down: bool = False  # end an open run that is on its plateau
    check: bool = False  # learn one batch by heart, say time and memory, and make no run
    device: str = "auto"
    threads: int | None = None
    resume: str | None = None  # go on with this run for longer
    again: bool = False


# How long and where a run is made does not change what it is; all else names it.
NOT_IN_ID = {
    *("minutes", "epochs", "cool_down", "check", "device", "threads", "workers", "resume", "again"),
    *("folders", "pairs", "pair_list", "recordings"),  # the pictures are in it, by name
    *("init", "from_scratch"),  # the weights it begins with are in it, whatever they are called
}
