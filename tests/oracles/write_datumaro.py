"""Let datumaro write what it reads: `PYTHON write_datumaro.py FROM FOLDER TO OUT [KEYWORDS AS JSON]`.

It runs in a Python of its own, which has datumaro and not dinonat. FROM and TO are names of datumaro.
"""

import json
import sys


def write(source: str, folder: str, target: str, out: str, keywords: str = "{}") -> None:
    from datumaro import Dataset

    Dataset.import_from(folder, source).export(out, target, **json.loads(keywords))


if __name__ == "__main__":
    write(*sys.argv[1:])
