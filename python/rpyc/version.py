"""The version of the package.

Peers compare the major part: it stays 6, the generation of the wire format.
"""

from __future__ import annotations

version = ("6", "0", "2")
"""The parts of the version, as texts."""

__version__ = ".".join(version)
"""The version as one text. Exceptions sent to a peer carry it, read here at that moment."""

release_date = "2024-04-18"
"""The release date of the RPyC version this package is compatible with."""
