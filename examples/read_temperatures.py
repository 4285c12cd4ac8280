"""Write the lowest, the median and the highest value of every thermal image in a folder as CSV.

    python examples/read_temperatures.py thermal/ > temperatures.csv

`unit` says what the numbers are: degrees Celsius, counts of the camera (no temperatures), or grey levels
of a picture made for the eye. Of a file with several frames each has a line, counted from 0. A file that
cannot be read costs only itself: its line says why.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import dinonat
from dinonat.errors import ImageError
from dinonat.images.listing import list_images

HEADER = ["file", "frame", "unit", "min", "median", "max", "remarks"]


def rows(folder: Path) -> Iterator[list[object]]:
    """Yield a row of HEADER for each frame of each image below ``folder``."""
    for ref in list_images(folder).refs:
        try:
            frame = dinonat.read_thermal(ref.file, frame=ref.frame)
        except ImageError as error:
            yield [ref.path, ref.frame, "", "", "", "", str(error)]
            continue
        valid = frame.data[np.isfinite(frame.data)]
        numbers = np.percentile(valid, [0, 50, 100]) if valid.size else [np.nan] * 3
        texts = [f"{number:.3f}" for number in numbers]
        yield [ref.path, ref.frame, frame.unit, *texts, " ".join(frame.warnings)]


if __name__ == "__main__":
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(rows(Path(sys.argv[1])))
