"""Settings of an agent. Every one has an environment variable ``TASKROLL_AGENT_…`` and a default for a pod."""

import difflib
import logging
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import SettingsError

PREFIX: Final = "TASKROLL_AGENT_"
_OTHERS: Final = {f"{PREFIX}ADAPTER"}
"""Variables of the agent that are no setting."""
_SERVICE_LINK: Final = re.compile(r"_SERVICE_(HOST|PORT)|_PORT$|_PORT_\d+_(TCP|UDP|SCTP)")
"""What Kubernetes puts into the pods of a namespace for each Service («Accessing the Service»): for one that is named
``taskroll-agent``, ``TASKROLL_AGENT_PORT`` among them."""
_log = logging.getLogger(__name__)

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts a pod's token, CA and namespace (documented in «Accessing the Kubernetes API from a Pod»)."""


class AgentSettings(BaseModel):
    """Where the releases are, who this replica is, and how patient it is.

    `from_env` reads them; a program may also build one by hand. Times are in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str
    """Namespace of the definitions, and so of the release pointer and the revisions."""

    kube_url: str
    """Base URL of the API server, such as ``https://10.0.0.1:443``."""
    kube_ca_file: Path | None = None
    """CA bundle that the API server's certificate must chain to; the system's trust store where it is None."""
    kube_insecure: bool = False
    """Accept any certificate. For a laptop, not for a cluster."""
    kube_token: str | None = Field(default=None, repr=False)
    kube_token_file: Path | None = None
    """Read again for each request, since bound service account tokens rotate. Wins over `kube_token`."""
    kube_cert_file: Path | None = None
    kube_key_file: Path | None = None
    """A client certificate and its key, where the cluster wants one instead of a token."""

    token: str | None = Field(default=None, repr=False)
    """Bearer token that callers of this agent must show. Several, separated by commas, are all accepted."""
    token_file: Path | None = None
    """File with one such token per line; read again when it changes, so that tokens can rotate."""
    insecure: bool = False
    """Answer callers without a token. The agent refuses to start where neither a token nor this is given."""

    host: str = "0.0.0.0"  # noqa: S104  a pod's own network
    port: int = Field(default=8470, ge=0, le=65535)
    """Where an adapter serves the endpoints. A service that mounts them in an app of its own does not need these."""

    pod: str
    """Name of this replica in attestations."""
    pod_uid: str = ""
    """UID of the pod (downward API), so that a replaced pod is told from a restarted process."""

    module_prefixes: tuple[str, ...] = ()
    """Only modules under these dotted names may be loaded; empty means any but the reserved ones."""

    load_timeout: float = Field(default=60.0, gt=0)
    """How long the modules of one generation may run while they are loaded."""
    read_timeout: float = Field(default=10.0, gt=0)
    """How long one read of the API server may take in all, retries included."""
    resync_interval: float = Field(default=30.0, gt=0)
    """The pointer is read this often whether or not the watch says anything."""
    start_timeout: float = Field(default=30.0, ge=0)
    """How long `Agent.start` waits for the released generation before it goes on in the background."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, /, **given: Any) -> Self:
        """Read ``TASKROLL_AGENT_<NAME>`` for each setting; `given` wins, in-cluster values fill what is left.

        In a pod nothing is needed but the token: the API server is found through ``KUBERNETES_SERVICE_HOST`` and
        ``KUBERNETES_SERVICE_PORT``, and CA, token and namespace in the service account's folder.

        A variable with this prefix that is no setting is logged as a warning, with the nearest that is one. Those that
        Kubernetes makes for a Service named ``taskroll-agent`` are passed over.

        Raises:
            SettingsError: where one is missing or malformed. Values are not repeated: they may be secrets.
        """
        environ = os.environ if environ is None else environ
        environ = {name: text for name, text in environ.items() if not _is_service_link(name, text)}
        values: dict[str, Any] = {}
        for name in cls.model_fields:
            text = environ.get(PREFIX + name.upper(), "").strip()
            if text:
                values[name] = [part.strip() for part in text.split(",")] if name == "module_prefixes" else text
        _warn_of_unknown(environ)
        values.update(given)
        _fill_from_pod(values, environ)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            wrong = "; ".join(f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
            raise SettingsError(f"settings of the agent: {wrong}") from None


def _is_service_link(name: str, text: str) -> bool:
    if not name.startswith(PREFIX) or not _SERVICE_LINK.search(name):
        return False
    return name != f"{PREFIX}PORT" or "://" in text


def _warn_of_unknown(environ: Mapping[str, str]) -> None:
    known = {PREFIX + name.upper() for name in AgentSettings.model_fields} | _OTHERS
    for name in sorted(name for name in environ if name.startswith(PREFIX) and name not in known):
        near = difflib.get_close_matches(name, known, n=1)
        _log.warning("%s is no setting of the agent and is passed over%s", name, f": {near[0]}?" if near else "")


def _fill_from_pod(values: dict[str, Any], environ: Mapping[str, str]) -> None:
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if "kube_url" not in values and host:
        values["kube_url"] = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        # The pod's own credentials belong to the pod's own API server, and are sent to no other.
        if (SERVICE_ACCOUNT / "token").exists() and not values.keys() & {"kube_token", "kube_cert_file"}:
            values.setdefault("kube_token_file", SERVICE_ACCOUNT / "token")
        if (SERVICE_ACCOUNT / "ca.crt").exists():
            values.setdefault("kube_ca_file", SERVICE_ACCOUNT / "ca.crt")
    if "namespace" not in values:
        own = SERVICE_ACCOUNT / "namespace"
        values["namespace"] = own.read_text().strip() if own.exists() else "default"
    values.setdefault("pod", environ.get("POD_NAME") or environ.get("HOSTNAME") or socket.gethostname())
    if environ.get("POD_UID"):
        values.setdefault("pod_uid", environ["POD_UID"])
