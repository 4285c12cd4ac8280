"""What the review page may ask to be written, and the sentence where it asks for something else."""

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dinonat.errors import UsageError

MOST = 20_000  # changes of one act
Box = tuple[float, float, float, float]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Model = TypeVar("Model", bound=BaseModel)


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Change(_Asked):
    """What the page wants done to one label."""

    do: Literal["accepted", "relabelled", "moved", "drawn", "rejected"]
    id: Annotated[str, Field(max_length=100)] | None = None  # none for what is drawn
    label: Annotated[str, Field(max_length=200)] | None = None
    box: Box | None = None  # x, y, w, h in pixels of the image
    image: int | None = None  # place in the list, for what is drawn
    kind: Literal["region", "image"] | None = None
    seen: int = Field(0, ge=0)  # number of the last event that the page knew; 0 for none


class ActAsked(_Asked):
    """What one key did."""

    act: Name  # made by the page; the same again is the same act
    run: Name | None = None  # that the page shows: its numbers of images are those of this run's list
    audit: Annotated[str, Field(max_length=200)] | None = None
    changes: Annotated[list[Change], Field(max_length=MOST)] = []
    finished: int | None = None  # image in which nothing is missing


class UndoAsked(_Asked):
    """Take back the last act."""

    act: Name
    run: Name | None = None


def asked(model: type[Model], body: object) -> Model:
    """Return a request as ``model``; raise UsageError, a sentence, where it is none."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the request"
        raise UsageError(f"{where}: {first['msg']}. Nothing was written.") from error
