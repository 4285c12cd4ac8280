"""Print what happened to a label: what people did to it, when, and from which file.

python examples/history_of_a_label.py WORKSPACE SET LABEL_ID    (the id stands in every export as label_id)
"""

import sys
from pathlib import Path

from dinonat import labels


def main(workspace: str, set_name: str, label_id: str) -> None:
    """Print one line for each event of the label, the first one first."""
    with labels.reading(Path(workspace) / "labels.db") as db:
        events = labels.history(db, set_name, label_id)
    if events.empty:
        print(f"{label_id}: nobody has said anything about it; it is as it was proposed.")
    for event in events.itertuples():
        box = "" if event.kind == "image" else f" at {event.x:g}, {event.y:g}, {event.w:g} x {event.h:g}"
        what = f"{event.action} as {event.label}{box} in {event.image}"
        print(f"{event.at}  {what}  ({event.who}, {event.origin})")


if __name__ == "__main__":
    main(*sys.argv[1:4])
