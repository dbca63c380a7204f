"""Texts without the paths of this machine and the addresses of its stores."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from sqlalchemy import make_url

from misheard.workspace import Workspace

# Addresses of this server, which texts name to say where to look.
_OURS = (
    r"/(?:openapi\.json|healthz|readyz|metrics|v1/models|v1/feedback|v1/audio/transcriptions"
    r"|api/v1(?:/[a-z]+)?)(?![\w/-])"
)
# A path may begin by the name of a machine, at home, or here.
_BEGINS = rf"(?:[\w.-]+:|~|\.{{1,2}})?(?!{_OURS})/"
_PLACES = re.compile(
    rf"\w[\w+.-]*://[^\s'\"]+"  # a scheme with what follows it
    rf"|(?<='){_BEGINS}[^'\n]+(?=')|(?<=\"){_BEGINS}[^\"\n]+(?=\")"  # in quotes it may have spaces
    rf"|(?<![\w.:/]){_BEGINS}[^\s'\"]+"
)
_known: set[str] = {tempfile.gettempdir()}
"""Where this process keeps things, however odd the names."""


def never_tell(workspace: Workspace) -> None:
    """From now on, hide where this workspace is, too, and what is in it."""
    root, url = workspace.root, workspace.settings.database.url
    _known.update((str(root), str(root.absolute()), str(root.resolve())))
    if url:
        made = make_url(url)
        _known.update((url, made.render_as_string()))
        if made.get_backend_name() == "sqlite" and made.database:
            _known.add(made.database)


def without_places(text: str) -> str:
    """The same without the paths of this machine and the addresses of its stores.

    >>> without_places("'/srv/my calls/blobs' is no directory, sqlite:///x.db is. See /v1/models.")
    "'…' is no directory, … is. See /v1/models."
    """
    for place in sorted(_known, key=len, reverse=True):
        text = _inside(place).sub("…", text)
    return _PLACES.sub("…", text)


def _inside(place: str) -> re.Pattern[str]:
    """A place with the address that leads to it, and what is in it."""
    name = re.escape(place)
    if not Path(place).is_absolute() and "://" not in place:
        # Its name alone may be any word.
        name = rf"(?<![\w./-]){name}(?=/)" if place.strip("./") else r"(?!)"
    within = rf"(?:\w[\w+.-]*:/*)?{name}(?![\w-])"
    return re.compile(
        rf"(?<='){within}[^'\n]*(?=')|(?<=\"){within}[^\"\n]*(?=\")|{within}(?:/[^\s'\"]*)?"
    )
