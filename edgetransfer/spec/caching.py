"""Says where finished work is kept unless the user says otherwise.

It does not make the folder.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "EDGETRANSFER_CACHE"


def default_cache() -> Path:
    """Return the folder that the environment names, else the user's cache folder."""
    import platformdirs

    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path(platformdirs.user_cache_dir("edgetransfer"))
