"""Errors that a user reads: one sentence saying what, where, what was got and what to do."""


class DinonatError(Exception):
    """Something the user can act on. The text is one sentence; commands exit with 1."""


class UsageError(DinonatError):
    """A command or setting that makes no sense as it was given; commands exit with 2."""


class ImageError(DinonatError):
    """An image file that cannot be read or is not an image. It costs only itself."""


class ThermalReadError(ImageError):
    """An image file that cannot be read: which one, and at which byte where that is known."""

    path: str = ""
    offset: int | None = None  # bytes from the start of the file


class CheckpointError(DinonatError):
    """Weights that are missing, damaged or of another architecture."""


class WorkspaceError(DinonatError):
    """A set, run or file that a command expects in the workspace and does not find."""


class LabelError(DinonatError):
    """A label file that cannot be read, or a row in it that names nothing."""
