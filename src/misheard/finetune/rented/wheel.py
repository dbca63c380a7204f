"""misheard itself as a wheel, made of what is installed here, so that a machine runs the same.

No build tool and no network: a wheel is a zip archive whose layout is fixed, see
https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from importlib import metadata
from pathlib import Path

import misheard
from misheard.errors import BundleError

_NAME = "misheard"
_TAG = "py3-none-any"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The first moment that a zip archive knows."""
_MODE = 0o100644 << 16
_LEVEL = 6
_TOLD = ("METADATA", "entry_points.txt", "top_level.txt")


def build_wheel(directory: Path) -> Path:
    """Write the wheel of the misheard that runs here into `directory`; the same files, same bytes.

    Raises `BundleError` where misheard runs without being installed: then nobody knows what it
    needs.
    """
    try:
        installed = metadata.distribution(_NAME)
    except metadata.PackageNotFoundError as error:
        raise BundleError("misheard is not installed here: pip install -e .") from error
    folder = f"{_NAME}-{installed.version}.dist-info"
    files = _package() | {f"{folder}/{name}": data for name, data in _told(installed).items()}
    files[f"{folder}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: {_NAME} {installed.version}\n"
        f"Root-Is-Purelib: true\nTag: {_TAG}\n"
    ).encode()
    record = f"{folder}/RECORD"
    lines = [f"{name},{_digest(data)},{len(data)}\n" for name, data in sorted(files.items())]
    files[record] = f"{''.join(lines)}{record},,\n".encode()
    wheel = directory / f"{_NAME}-{installed.version}-{_TAG}.whl"
    partial = wheel.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w") as archive:
        # The record last, as the format has it.
        for name in [*sorted(files.keys() - {record}), record]:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = _MODE
            archive.writestr(entry, files[name], zipfile.ZIP_DEFLATED, _LEVEL)
    partial.rename(wheel)
    return wheel


def _package() -> dict[str, bytes]:
    """The files of the package that is imported, wherever it is."""
    root = Path(misheard.__file__).parent
    found = {}
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not hidden and path.suffix != ".pyc":
            found["/".join((_NAME, *parts))] = path.read_bytes()
    return found


def _told(installed: metadata.Distribution) -> dict[str, bytes]:
    """What the installation says of the package, with the licences that it names."""
    told = {name: installed.read_text(name) for name in _TOLD}
    files = {name: text.encode() for name, text in told.items() if text is not None}
    for path in installed.files or ():
        folder, *rest = path.parts
        if folder.endswith(".dist-info") and rest[:1] == ["licenses"]:
            files["/".join(rest)] = path.read_binary()
    return files


def _digest(data: bytes) -> str:
    digest = hashlib.sha256(data).digest()
    return f"sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
