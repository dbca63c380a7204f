"""Error cases and corrections, as the quick-start guide calls them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from misheard.audio import Recording, read_bytes
from misheard.cases.records import CaseStatus, Correction, ErrorCase
from misheard.errors import UnknownIdError
from misheard.optional import optional
from misheard.workspace import current_actor
from src.data._cloud import Buckets
from src.data._shared import Plain, iso, log, open_workspace


@dataclass(frozen=True, kw_only=True)
class FailedCase(Plain):
    """A transcript that was wrong, and what was really said where that is known."""

    case_id: str
    audio_path: str
    original_transcript: str
    corrected_transcript: str | None = None
    error_types: list[str] = field(default_factory=list)
    error_score: float | None = None
    """As given with the case; else word errors over words, once it is corrected."""
    metadata: dict[str, Any] = field(default_factory=dict)
    timestamp: str = ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        return cls(**values)


class DataManager:
    """Stores failed transcripts and their corrections."""

    def __init__(
        self,
        local_storage_dir: str | Path | None = None,
        use_gcs: bool | None = None,
        gcs_bucket_name: str | None = None,
        gcs_prefix: str = "",
        project_id: str | None = None,
    ) -> None:
        """Open the workspace in `local_storage_dir`; see `docs/API_REFERENCE.md` for the rest."""
        buckets = Buckets(project_id=project_id, bucket_name=gcs_bucket_name, prefix=gcs_prefix)
        self.workspace = open_workspace(local_storage_dir, use_gcs, buckets)

    def store_failed_case(
        self,
        audio_path: str | Path,
        original_transcript: str,
        corrected_transcript: str | None = None,
        error_types: Sequence[str] | None = None,
        error_score: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Keep a wrong transcript with its audio, which is copied; the id of its case."""
        return self.workspace.report_case(
            Recording(data=read_bytes(audio_path), name=str(audio_path)),
            hypothesis=original_transcript,
            reference=corrected_transcript,
            error_types=error_types or (),
            suspicion=error_score,
            details=metadata,
            actor=current_actor(),
        )

    def store_correction(
        self,
        case_id: str,
        corrected_transcript: str,
        correction_method: str = "manual",
        metadata: Mapping[str, Any] | None = None,
    ) -> bool:
        """Say what was really said; False, with the reason logged, for an unknown case."""
        try:
            case = self.workspace.cases.get(case_id)
        except UnknownIdError as error:
            log.warning("%s", error)
            return False
        correction = Correction(
            inference_id=case.inference_id,
            reference=corrected_transcript,
            author=current_actor(),
            method=correction_method,
            details=dict(metadata or {}),
        )
        self.workspace.cases.correct([correction])
        return True

    def get_failed_case(self, case_id: str) -> FailedCase | None:
        """One case, or None."""
        try:
            return _failed_case(self.workspace.cases.get(case_id))
        except UnknownIdError:
            return None

    def get_failed_cases_by_error_type(self, error_type: str) -> list[FailedCase]:
        """Cases of one type of error, newest first."""
        return self._cases(error_type=error_type)

    def get_corrected_cases(self) -> list[FailedCase]:
        """Cases that a person has corrected or confirmed, newest first."""
        return [case for case in self._cases() if case.corrected_transcript is not None]

    def get_uncorrected_cases(self) -> list[FailedCase]:
        """Cases that wait for a person, newest first."""
        return self._cases(status=CaseStatus.OPEN)

    def get_statistics(self) -> dict[str, Any]:
        """How many cases there are, and of which kind."""
        totals = self.workspace.cases.totals()
        return {
            "total_failed_cases": totals.cases,
            "corrected_cases": totals.labelled_cases,
            "uncorrected_cases": totals.cases - totals.labelled_cases,
            "correction_rate": totals.labelled_cases / totals.cases if totals.cases else 0.0,
            "error_type_distribution": totals.by_type,
            "total_corrections": totals.corrections,
            "last_updated": iso(totals.last_changed),
        }

    def export_to_dataframe(self) -> Any:
        """A pandas DataFrame, one row a case."""
        pandas = optional("pandas", extra="dataframes")
        columns = list(FailedCase.__dataclass_fields__)
        return pandas.DataFrame([case.to_dict() for case in self._cases()], columns=columns)

    def export_corrections_to_dataframe(self) -> Any:
        """A pandas DataFrame, one row a correction, earlier ones of the same case among them."""
        pandas = optional("pandas", extra="dataframes")
        case_ids = {case.inference_id: case.id for case in self.workspace.cases.listed(limit=None)}
        rows = [
            {
                "case_id": case_ids.get(one.inference_id),
                "corrected_transcript": one.reference,
                "correction_method": one.method,
                "author": one.author,
                "metadata": one.details,
                "timestamp": iso(one.created_at),
            }
            for one in self.workspace.cases.corrections(limit=None)
        ]
        columns = ["case_id", "corrected_transcript", "correction_method", "author", "metadata"]
        return pandas.DataFrame(rows, columns=[*columns, "timestamp"])

    def sync_from_gcs(self) -> bool:
        """Copy home from the bucket what is not here yet; False where a file of it is nowhere.

        Without a bucket there is nothing to fetch: `NoBucketError`.
        """
        done = self.workspace.syncing.home(
            actor=current_actor(), watching=lambda _, __: lambda _: None
        )
        for one in done.failed:
            log.warning("%s", one)
        return not done.failed

    def clear_all_data(self, confirm: bool = False) -> bool:
        """Forget every case and correction, for good; only with `confirm=True`."""
        if not confirm:
            log.warning("Nothing was cleared. To forget every case: clear_all_data(confirm=True)")
            return False
        self.workspace.cases.clear(actor=current_actor())
        return True

    def _cases(self, **chosen: Any) -> list[FailedCase]:
        found = self.workspace.cases.listed(limit=None, **chosen)
        return [_failed_case(case) for case in found]


def _failed_case(case: ErrorCase) -> FailedCase:
    return FailedCase(
        case_id=case.id,
        audio_path=case.source,
        original_transcript=case.hypothesis,
        corrected_transcript=case.reference,
        error_types=case.error_types,
        error_score=case.score if case.suspicion is None else case.suspicion,
        metadata=case.details,
        timestamp=iso(case.created_at) or "",
    )
