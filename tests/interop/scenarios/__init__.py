"""What a client does to a server, whichever package either of them runs.

Each scenario is a function of one `peer` with plain asserts. The modules register theirs by being imported.
"""

from __future__ import annotations

from . import calls, classic, exceptions, lifecycle, proxies, values
from .registry import SCENARIOS

__all__ = ["SCENARIOS", "calls", "classic", "exceptions", "lifecycle", "proxies", "values"]
