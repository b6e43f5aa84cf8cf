"""Commands as an operator types them, aimed at the place that was examined."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from starter.settings import Settings
from taskroll.cluster.manifests import deploy_folder


def _plain(command: str) -> str:
    return f"taskroll {command}"


@dataclass(frozen=True)
class Commands:
    """Writes command lines.

    Attributes:
        settings: Of the place.
        taskroll: Makes ``taskroll …`` of what stands after it, with the options that the user gave.
    """

    settings: Settings
    taskroll: Callable[[str], str] = _plain

    def kubectl(self, command: str) -> str:
        """``kubectl …`` in the namespace of the definitions."""
        return f"kubectl {self._where()}--namespace {self.settings.namespace} {command}"

    def cluster_wide(self, command: str) -> str:
        """``kubectl …`` for what belongs to no namespace."""
        return f"kubectl {self._where()}{command}"

    def apply(self, folder: str) -> str:
        """``kubectl apply -k`` of a part of ``deploy/``, where this installation has it: it works in any directory."""
        return self.cluster_wide(f"apply -k {shlex.quote(str(deploy_folder() / folder))}")

    def around_policies(self, command: str) -> str:
        """``kubectl …`` as a member of taskroll's own group, which its admission policies let pass."""
        # A shell in a container may lack $USER.
        return self.kubectl(f'--as="$(whoami)" --as-group=system:masters --as-group=taskroll:system {command}')

    def _where(self) -> str:
        named = {"--kubeconfig": self.settings.kubeconfig, "--context": self.settings.context}
        return "".join(f"{option} {shlex.quote(value)} " for option, value in named.items() if value)
