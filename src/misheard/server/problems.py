"""Errors as RFC 9457 has them: `application/problem+json` that says what to do."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse


def problem_response(
    status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error's answer: `title` says what kind it is, `detail` what was wrong and what to do."""
    return JSONResponse(
        {"type": "about:blank", "title": title, "status": status, "detail": detail},
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/problem+json",
    )
