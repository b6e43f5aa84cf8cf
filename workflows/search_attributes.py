"""The typed search attributes of an update, by which the Temporal web UI filters."""

from temporalio.common import SearchAttributeKey

PHASE = SearchAttributeKey.for_keyword("TaskrollPhase")
DEFINITIONS = SearchAttributeKey.for_keyword_list("TaskrollDefinitions")
REQUESTED_BY = SearchAttributeKey.for_keyword("TaskrollRequestedBy")
COMMIT = SearchAttributeKey.for_keyword("TaskrollCommit")
NAMESPACE = SearchAttributeKey.for_keyword("TaskrollNamespace")

ALL = (PHASE, DEFINITIONS, REQUESTED_BY, COMMIT, NAMESPACE)
