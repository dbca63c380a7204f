"""What a token may do: a ladder of four roles."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """Each may do what those before it may."""

    TRANSCRIBE = "transcribe"
    """Have speech transcribed, and say of these transcripts what was really spoken."""
    REVIEW = "review"
    """See what was heard, listen to it, correct it, and look at how the loop stands."""
    OPERATE = "operate"
    """Train, judge, deploy, roll back, silence an alert."""
    ADMINISTER = "administer"
    """Make and revoke tokens, delete a person's data."""

    def may(self, needed: Role) -> bool:
        """Whether who has this role may do what needs the role `needed`."""
        ladder = list(Role)
        return ladder.index(self) >= ladder.index(needed)
