"""What a service says about its own strategy in ``services.yaml``. All times in seconds."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class RestartOptions(_Options):
    """Section ``restart``."""

    timeout: float = Field(default=300.0, ge=1, le=3600)
    """For one rollout of the Deployment; the update is taken back after that. A Deployment's own
    ``progressDeadlineSeconds`` (600 by default in Kubernetes) ends it earlier where it is shorter."""


class SyncOptions(_Options):
    """Section ``sync``."""

    grpc_service: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")]
    """Full name of the gRPC service that has the method ``SyncTaskRegistry``, with its package."""
    timeout: float = Field(default=30.0, gt=0, le=300)
    """For one call. Cornserve itself waits 10 s at most for its watchers."""


class WebhookOptions(_Options):
    """Section ``webhook``."""

    path: Annotated[str, StringConstraints(pattern=r"^(/[A-Za-z0-9._~-]+)*$")] = "/taskroll"
    """Stands before the name of each call: ``<path>/prepare``."""
    scheme: Literal["http", "https"] = "http"
    timeout: float = Field(default=10.0, gt=0, le=300)
    """For one exchange of invalidate, abort or attest."""
    prepare_timeout: float = Field(default=75.0, gt=0, le=600)
    """For one exchange of prepare."""
