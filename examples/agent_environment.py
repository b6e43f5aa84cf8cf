"""What a pod with the service account ``taskroll-agent`` finds: the API server, its CA, a token of the account."""

import base64
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio.client import ApiClient, CoreV1Api

from taskroll.devstack import StackInfo

ACCOUNT = "taskroll-agent"
TOKEN_SECONDS = 24 * 3600


async def agent_environment(stack: StackInfo, folder: Path, namespace: str, api: ApiClient) -> dict[str, str]:
    """The agent's variables, but for the token that its callers must show.

    Args:
        stack: With `deploy/rbac` installed.
        folder: For CA and token.
        namespace: Of the definitions.
        api: With the right to issue tokens.
    """
    kubeconfig: dict[str, Any] = yaml.safe_load(stack.kubeconfig.read_text())
    authority = folder / "kube-ca.crt"
    authority.write_bytes(base64.b64decode(kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]))
    request: Any = {"spec": {"audiences": [], "expirationSeconds": TOKEN_SECONDS}}
    issued: Any = await CoreV1Api(api).create_namespaced_service_account_token(ACCOUNT, namespace, request)
    token = folder / "agent-token"
    token.touch(mode=0o600)
    token.write_text(issued.status.token)
    return {
        "TASKROLL_AGENT_NAMESPACE": namespace,
        "TASKROLL_AGENT_KUBE_URL": stack.kube_url,
        "TASKROLL_AGENT_KUBE_CA_FILE": str(authority),
        "TASKROLL_AGENT_KUBE_TOKEN_FILE": str(token),
    }
