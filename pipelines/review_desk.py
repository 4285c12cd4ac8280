"""What the server of a review page works on: the run in hand, and whether there is a newer one."""

from pathlib import Path
from threading import Lock

from dinonat.pipelines import workspace as places
from dinonat.pipelines.review_again import Again
from dinonat.pipelines.review_list import META, TABLE, Shown, stamp
from dinonat.pipelines.review_reading import Pixels
from dinonat.pipelines.review_state import Pace, State


class Desk:
    """A run, what people say of it, who says it, and the processes that work for its page."""

    def __init__(self, workspace: Path, who: str, run: str | None) -> None:
        """Take a run of the workspace in hand, the newest where None; raises as `open` does."""
        self.workspace, self.who = workspace, who
        self.audit: str | None = None  # in whose mode the page opens
        self.again, self.pace = Again(workspace), Pace()
        self.written = 0  # acts of this server
        self.writing = Lock()  # one act after the other
        self.open(run)

    def open(self, run: str | None) -> None:
        """Take another run in hand. Raises WorkspaceError where it cannot be shown; then nothing changes."""
        shown = Shown(self.workspace, run)
        state, pixels = State(shown), Pixels(shown)
        self.twins = frozenset(pixels.twins)
        self.state, self.pixels = state, pixels

    def close(self) -> None:
        """End the processes that read pictures, and the one that proposes."""
        self.pixels.close()
        self.again.end()

    @property
    def shown(self) -> Shown:
        """The run in hand."""
        return self.state.shown

    def newer_run(self) -> str | None:
        """Return the newest run of the set, where it is another than the one in hand, or was made anew."""
        latest = self.workspace / places.LATEST
        name = places.read_object(latest).get("proposals") if latest.is_file() else None
        shown = self.shown
        if not isinstance(name, str) or (name, stamp(shown.folder / TABLE)) == (shown.run, shown.made_at):
            return None
        folder = places.proposals_folder(self.workspace, name)
        whole = (folder / TABLE).is_file() and (folder / META).is_file()
        same = whole and places.read_object(folder / META).get("set") == shown.set_name
        return name if same else None
