"""The status of an update from its lasting record: what is left when Temporal's history is gone."""

from .record import UpdateRecord
from .status import UpdateStatus


def status_of_record(record: UpdateRecord) -> UpdateStatus:
    """The record's content in the form of a status. It names no plan: its changes are in the record itself."""
    return UpdateStatus(
        request_id=record.request_id,
        namespace=record.namespace,
        request_digest=record.request_digest,
        requested_by=record.requested_by,
        reason=record.reason,
        git_commit=record.git_commit,
        phase=record.phase,
        outcome=record.outcome,
        message=record.message,
        decisions=record.decisions,
        epoch_before=record.epoch_before,
        epoch=record.epoch,
        replicas=record.replicas,
        mixed_version_window_ms=record.mixed_version_window_ms,
        longest_pause_ms=record.longest_pause_ms,
        restored_byte_for_byte=record.restored_byte_for_byte,
        apps=record.apps,
        started_at=record.started_at,
        ended_at=record.ended_at,
        steps=record.steps,
    )
