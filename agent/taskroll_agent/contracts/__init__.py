"""What taskroll and its agents agree on: definitions, revisions, releases, and the calls between them.

Everything here is data and pure functions: no I/O, no clock. The agent needs nothing else of taskroll, and taskroll
needs nothing else of the agent.
"""

from .calls import (
    API_PREFIX,
    AbortAnswer,
    AbortRequest,
    ActivateAnswer,
    ActivateRequest,
    Attestation,
    CallInFlight,
    HoldAnswer,
    HoldRequest,
    ImportProblem,
    PrepareAnswer,
    PrepareRequest,
    Refusal,
    ReleaseAnswer,
    ReleaseRequest,
    StandingGeneration,
)
from .canonical import canonical_json, sha256_digest
from .census import Census, Holder, OldGeneration, OldObjects
from .definition import (
    DIGEST_PATTERN,
    DefinitionContent,
    DefinitionKey,
    Kind,
    Metadata,
    revision_name,
)
from .release import (
    POINTER_NAME,
    Release,
    ReleaseEntry,
    ReleasePointer,
    content_digest,
    release_name,
)

__all__ = [
    "API_PREFIX",
    "DIGEST_PATTERN",
    "POINTER_NAME",
    "AbortAnswer",
    "AbortRequest",
    "ActivateAnswer",
    "ActivateRequest",
    "Attestation",
    "CallInFlight",
    "Census",
    "DefinitionContent",
    "DefinitionKey",
    "HoldAnswer",
    "HoldRequest",
    "Holder",
    "ImportProblem",
    "Kind",
    "Metadata",
    "OldGeneration",
    "OldObjects",
    "PrepareAnswer",
    "PrepareRequest",
    "Refusal",
    "Release",
    "ReleaseAnswer",
    "ReleaseEntry",
    "ReleasePointer",
    "ReleaseRequest",
    "StandingGeneration",
    "canonical_json",
    "content_digest",
    "release_name",
    "revision_name",
    "sha256_digest",
]
