"""Who answers which request: by a hash, so that every server says the same. Pure."""

from __future__ import annotations

import hashlib

from misheard.rollouts.states import Arm, Kind, Rollout

_BITS = 64


def place_of(rollout_id: str, session: str | None, request_id: str) -> float:
    """Where a session falls in a rollout: uniform in [0, 1), whatever ids look like.

    A request without a session is one by itself. Places in different rollouts have nothing to do
    with each other: nobody is always the first to hear a new version.

    >>> place_of("rollout-1", "call-7", "r1") == place_of("rollout-1", "call-7", "r2")
    True
    >>> place_of("rollout-1", None, "r1") == place_of("rollout-1", None, "r2")
    False
    """
    # Lengths, so that no two pairs are the same text.
    kind, name = ("request", request_id) if session is None else ("session", session)
    text = f"{len(rollout_id)} {rollout_id} {kind} {name}"
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=_BITS // 8).digest()
    # 53 bits are what a float holds exactly; more could be rounded up to 1.
    return (int.from_bytes(digest) >> (_BITS - 53)) / 2**53


def arm_of(rollout: Rollout, session: str | None, request_id: str) -> Arm:
    """Who answers: the candidate, where the session's place is below the step's share.

    The same for all requests of a session, and once the candidate has it, it has it in all later
    steps: their shares are larger. A shadow answers nobody.
    """
    if rollout.kind is Kind.SHADOW:
        return Arm.LIVE
    place = place_of(rollout.id, session, request_id)
    return Arm.CANDIDATE if place < rollout.share else Arm.LIVE


def is_shadowed(rollout: Rollout, session: str | None, request_id: str) -> bool:
    """Whether a shadow hears it, too: whole sessions, by the same places."""
    return rollout.kind is Kind.SHADOW and place_of(rollout.id, session, request_id) < rollout.share
