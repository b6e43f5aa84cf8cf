"""What a pod with the service account ``taskroll-agent`` finds: the API server, its CA, a token of the account."""

import base64
from pathlib import Path
from typing import Any

import yaml

from taskroll.cluster.connection import Cluster
from taskroll.cluster.transport import Call
from taskroll.devstack.info import StackInfo

ACCOUNT = "taskroll-agent"


async def agent_environment(
    stack: StackInfo, folder: Path, namespace: str, cluster: Cluster, *, valid_seconds: int = 24 * 3600
) -> dict[str, str]:
    """The agent's variables, but for the token that its callers must show.

    Args:
        stack: With `deploy/rbac` installed.
        folder: For CA and token.
        namespace: Of the definitions.
        cluster: With the right to issue tokens.
        valid_seconds: How long the account's token is valid.
    """
    kubeconfig: dict[str, Any] = yaml.safe_load(stack.kubeconfig.read_text())
    authority = folder / "kube-ca.crt"
    authority.write_bytes(base64.b64decode(kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]))
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{ACCOUNT}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
    body = request | {"spec": {"expirationSeconds": valid_seconds}}
    issued = await cluster.send(Call("create", path, "TokenRequest", ACCOUNT, body=body))
    token = folder / "agent-token"
    token.touch(mode=0o600)
    token.write_text(issued["status"]["token"])
    return {
        "TASKROLL_AGENT_NAMESPACE": namespace,
        "TASKROLL_AGENT_KUBE_URL": stack.kube_url,
        "TASKROLL_AGENT_KUBE_CA_FILE": str(authority),
        "TASKROLL_AGENT_KUBE_TOKEN_FILE": str(token),
    }
