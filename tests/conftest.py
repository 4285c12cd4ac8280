import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of real images; tests that need it skip where DINOTOOL_DATA is not set."""
    folder = os.environ.get("DINOTOOL_DATA")
    if not folder:
        pytest.skip("DINOTOOL_DATA is not set: no real images here")
    return Path(folder)
