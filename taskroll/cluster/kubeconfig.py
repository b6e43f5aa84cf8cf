"""Which cluster is meant, and with which credentials.

The kubernetes package is imported where it is used: it takes 0.4 s, and the deploy tool's ``--help`` does not need it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field

from .errors import NotConfigured
from .transport import KubernetesTransport

DEFAULT_KUBECONFIG = "~/.kube/config"

_ANOTHER = "or name another file: --kubeconfig, $KUBECONFIG"


class ClusterSettings(BaseModel):
    """How to reach the API server.

    With neither `kubeconfig` nor `context`: the service account of the pod, where this runs in one; else what
    ``$KUBECONFIG`` names, else ``~/.kube/config``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kubeconfig: str | None = None
    """A path, or several with the system's separator, as in ``$KUBECONFIG``."""
    context: str | None = None
    """None takes the current context: of the first file that names one, as kubectl does."""
    request_timeout: float = Field(default=15.0, gt=0)
    """Seconds for one call, connecting and reading the answer included."""


async def open_transport(settings: ClusterSettings) -> tuple[KubernetesTransport, str]:
    """Return a transport to the cluster that the settings mean, and the server's address.

    Raises:
        NotConfigured: where there is no kubeconfig and no pod, the kubeconfig is not in its form, lacks the context, or
            what it says of certificates cannot be used.
    """
    from kubernetes.aio.client import ApiClient, Configuration

    configuration = cast(Any, Configuration())
    if settings.kubeconfig is None and settings.context is None and _inside_pod():
        _load_incluster(configuration)
        return KubernetesTransport(ApiClient(configuration)), str(configuration.host)
    paths = _kubeconfig_paths(settings)
    for path in paths:
        _read_kubeconfig(path)
    context = settings.context or _current_context(paths)

    async def reload() -> None:
        await _load_kubeconfig(paths, context, configuration)

    await reload()
    try:
        client = ApiClient(configuration)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise NotConfigured(
            f"certificates or key of context {context!r} of {_joined(paths)} cannot be used: {error}; correct "
            f"certificate-authority(-data), client-certificate(-data) or client-key(-data) there, {_ANOTHER}"
        ) from error
    return KubernetesTransport(client, reload), str(configuration.host)


def _inside_pod() -> bool:
    from kubernetes.aio.config.incluster_config import SERVICE_TOKEN_FILENAME

    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and Path(str(SERVICE_TOKEN_FILENAME)).exists()


def _load_incluster(configuration: object) -> None:
    from kubernetes.aio import config

    try:
        # Reads the token file again each minute, by a hook in the configuration.
        cast(Any, config).load_incluster_config(client_configuration=configuration)
    except config.ConfigException as error:
        raise NotConfigured(f"the pod's service account cannot be used: {error}") from error


def _kubeconfig_paths(settings: ClusterSettings) -> list[Path]:
    named = settings.kubeconfig or os.environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG
    paths = [Path(part).expanduser() for part in named.split(os.pathsep) if part]
    found = [path for path in paths if path.exists()]
    if found:
        return found
    if settings.kubeconfig:
        origin = "the settings name it"
    elif os.environ.get("KUBECONFIG"):
        origin = "$KUBECONFIG names it"
    else:
        origin = "the default, as $KUBECONFIG is not set"
    raise NotConfigured(
        f"no kubeconfig at {named} ({origin}), and this is no pod with a service account: "
        "set KUBECONFIG, or name a kubeconfig and a context"
    )


def _current_context(paths: list[Path]) -> str:
    # The client's own merge takes the last file that names one, kubectl the first.
    for path in paths:
        if current := str(_read_kubeconfig(path).get("current-context") or ""):
            return current
    raise NotConfigured(f"no current-context in {_joined(paths)}: name a context{_known_contexts(paths)}")


async def _load_kubeconfig(paths: list[Path], context: str, configuration: object) -> None:
    from kubernetes.aio import config

    try:
        # persist_config=True would write refreshed tokens into the user's file.
        await cast(Any, config).load_kube_config(
            config_file=_joined(paths), context=context, client_configuration=configuration, persist_config=False
        )
    except config.ConfigException as error:
        raise NotConfigured(
            f"context {context!r} of {_joined(paths)} cannot be used: {error}{_known_contexts(paths)}"
        ) from error
    except (AttributeError, KeyError, OSError, TypeError, ValueError, yaml.YAMLError) as error:
        # What the client's reader stumbles over where entries have another form; ValueError also for wrong base64.
        raise NotConfigured(
            f"{_joined(paths)} has not the form of a kubeconfig ({type(error).__name__}: {error}): see `kubectl config "
            f"view` and correct it, {_ANOTHER}"
        ) from error


def _read_kubeconfig(path: Path) -> dict[str, Any]:
    try:
        content: Any = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise NotConfigured(f"kubeconfig {path} cannot be read: {why}; correct it, {_ANOTHER}") from error
    if not isinstance(content, dict):
        form = "is empty" if content is None else "has not the form of a kubeconfig"
        raise NotConfigured(f"kubeconfig {path} {form}; correct it, {_ANOTHER}")
    return cast("dict[str, Any]", content)


def _known_contexts(paths: list[Path]) -> str:
    contexts = [item for path in paths for item in cast("list[Any]", _read_kubeconfig(path).get("contexts") or [])]
    names = [str(cast("dict[str, Any]", item).get("name")) for item in contexts if isinstance(item, dict)]
    return f"; known contexts: {', '.join(names)}" if names else "; it has no contexts"


def _joined(paths: list[Path]) -> str:
    return os.pathsep.join(str(path) for path in paths)
