"""What `dinotool evaluate regions` can be told."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from dinonat.errors import UsageError
from dinonat.evaluation.classify import AUTO, FEATURES
from dinonat.pipelines.regions_report import ALL, BY_HAND
from dinonat.pipelines.sides import Asked
from dinonat.settings import Settings


class EvaluateRegionsSettings(Settings):
    """What `dinotool evaluate regions` can be told."""

    gallery: Path | None = None  # folder of images whose labelled items are neighbours
    query: Path | None = None  # folder of images that are classified; None: the gallery's
    labels: Path | None = None  # boxes (COCO, CSV) or whole pictures (CSV); None: a folder per class
    query_labels: Path | None = None  # of the query; None: ``labels``
    gallery_list: Path | None = None  # names the images of the gallery, a path a line
    query_list: Path | None = None
    recordings: Path | None = None  # CSV image,recording; None: as `embed` finds them
    weights: tuple[str, ...] = ()  # each as `embed` takes them; none: the newest run, else the starter's
    leave_out: Literal["recording", "image", "none"] | None = None  # None: recording where any is known
    kind: Literal["image", "region"] | None = None  # None: region where the labels have boxes
    classes: tuple[str, ...] = ()  # only these; none: all
    k: tuple[Annotated[int, Field(ge=1)], ...] = Field((5, 20), min_length=1)
    temperature: float = Field(0.07, gt=0)
    features: tuple[str, ...] = FEATURES  # beside these stand what is made by hand, all parts and auto
    prepare: str = "percentile"
    crops: dict[str, Any] = {}  # noqa: RUF012  other settings of `embed` than its preset has; pydantic copies it
    workers: int = Field(1, ge=0)
    threads: int | None = Field(None, ge=1)
    device: str = "auto"
    again: bool = False  # embed anew

    @field_validator("weights", "classes", "k", "features", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        """Take one value for a list of one, as ``--set k=20`` gives it."""
        return value if isinstance(value, list | tuple) else (value,)

    @property
    def sides(self) -> tuple[Asked, Asked]:
        """Where gallery and query are; UsageError without a folder."""
        if self.gallery is None:
            raise UsageError(
                "evaluate regions: no folder of images was given. Write `dinotool evaluate regions GALLERY "
                "[QUERY] --labels FILE`."
            )
        elsewhere = self.query is not None and self.query.resolve() != self.gallery.resolve()
        query = self.query if elsewhere else self.gallery
        same_list = None if elsewhere else self.gallery_list
        return Asked(self.gallery, self.gallery_list, self.labels), Asked(
            query or self.gallery, self.query_list or same_list, self.query_labels or self.labels
        )

    @property
    def compared(self) -> tuple[str, ...]:
        """The features that are compared: those asked for and what a verdict needs."""
        return tuple(dict.fromkeys((*self.features, *BY_HAND, ALL, AUTO)))
