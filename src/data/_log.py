"""Where the guide's classes say why a call came to nothing."""

from __future__ import annotations

import logging

log = logging.getLogger("misheard.guide")
"""Why a call came to nothing is said here, as the guide has it."""
