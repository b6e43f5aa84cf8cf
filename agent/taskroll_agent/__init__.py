"""The library that lets a service load, swap and attest the task definitions that taskroll releases.

::

    from taskroll_agent import Agent, API_PREFIX, agent_app

    agent = Agent()                                  # settings from TASKROLL_AGENT_… and the pod
    app = FastAPI(lifespan=agent.lifespan)
    app.mount(API_PREFIX, agent_app(agent))

    with agent.registry.lease() as generation:       # one call, one version
        EncoderTask = generation.get("EncoderTask")

The names below are imported when first asked for, so that `taskroll_agent.contracts` alone costs nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agent import Agent
    from .asgi import GateMiddleware, LeaseMiddleware, agent_app, standalone_app
    from .contracts import API_PREFIX, DefinitionKey
    from .errors import (
        AgentError,
        CallCancelled,
        ClusterError,
        DefinitionNotFound,
        LoadFailed,
        Refused,
        SettingsError,
    )
    from .gate import Gate
    from .generation import Generation, LoadedDefinition
    from .host import Host
    from .registry import Active, Registry
    from .settings import AgentSettings
    from .threaded import AgentThread, serve_in_thread

__all__ = [
    "API_PREFIX",
    "Active",
    "Agent",
    "AgentError",
    "AgentSettings",
    "AgentThread",
    "CallCancelled",
    "ClusterError",
    "DefinitionKey",
    "DefinitionNotFound",
    "Gate",
    "GateMiddleware",
    "Generation",
    "Host",
    "LeaseMiddleware",
    "LoadFailed",
    "LoadedDefinition",
    "Refused",
    "Registry",
    "SettingsError",
    "agent_app",
    "serve_in_thread",
    "standalone_app",
]

_HOMES = {
    "agent": ("Agent",),
    "asgi": ("GateMiddleware", "LeaseMiddleware", "agent_app", "standalone_app"),
    "contracts": ("API_PREFIX", "DefinitionKey"),
    "errors": (
        "AgentError",
        "CallCancelled",
        "ClusterError",
        "DefinitionNotFound",
        "LoadFailed",
        "Refused",
        "SettingsError",
    ),
    "gate": ("Gate",),
    "generation": ("Generation", "LoadedDefinition"),
    "host": ("Host",),
    "registry": ("Active", "Registry"),
    "settings": ("AgentSettings",),
    "threaded": ("AgentThread", "serve_in_thread"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    return getattr(import_module(f".{home}", __name__), name)
