"""Who may talk to the API server: random tokens, the signing key of service accounts, the kubeconfig.

Made without a cryptography library or an openssl binary: the serving certificate is the API server's own self-signed
one, and a P-256 private key is a random number in a fixed frame.
"""

from __future__ import annotations

import base64
import csv
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from taskroll.devstack.info import ADMIN, DEVELOPER, TASKROLL

CONTROLLER_MANAGER = "kube-controller-manager"


@dataclass(frozen=True)
class _User:
    name: str
    groups: tuple[str, ...]


# The taskroll user stands for taskroll's own service account, the developer for everybody else; both may do only what
# the deployed RBAC grants them.
_USERS = {
    ADMIN: _User("admin", ("system:masters",)),
    TASKROLL: _User("taskroll", ("taskroll:system",)),
    DEVELOPER: _User("developer", ("taskroll:developers",)),
    CONTROLLER_MANAGER: _User("system:kube-controller-manager", ()),
}

# The API server makes its certificate for a year and never renews it.
_CERTIFICATE_DAYS = 300

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# RFC 5915: SEQUENCE { INTEGER 1, OCTET STRING of 32 bytes, [0] the curve }. The public key is optional and left out:
# the reader computes it.
_EC_KEY_HEAD = bytes.fromhex("30310201010420")
_EC_KEY_TAIL = bytes.fromhex("a00a06082a8648ce3d030107")


def ensure_tokens(path: Path) -> dict[str, str]:
    """Return the token of each user, by context name; made once per data folder and kept in the API server's format."""
    by_user = {user.name: context for context, user in _USERS.items()}
    if path.exists():
        with path.open(newline="") as stream:
            tokens = {by_user[row[1]]: row[0] for row in csv.reader(stream) if len(row) > 1 and row[1] in by_user}
        if tokens.keys() == _USERS.keys():
            return tokens
    tokens = {context: secrets.token_urlsafe(32) for context in _USERS}
    with os.fdopen(_create_private(path), "w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        for context, user in _USERS.items():
            writer.writerow([tokens[context], user.name, f"taskroll-dev-{context}", ",".join(user.groups)])
    return tokens


def ensure_service_account_key(path: Path) -> None:
    """Make the P-256 key that signs service account tokens, unless the data folder has one."""
    if path.exists():
        return
    scalar = 1 + secrets.randbelow(_P256_ORDER - 1)
    body = base64.encodebytes(_EC_KEY_HEAD + scalar.to_bytes(32, "big") + _EC_KEY_TAIL)
    with os.fdopen(_create_private(path), "wb") as stream:
        stream.write(b"-----BEGIN EC PRIVATE KEY-----\n" + body + b"-----END EC PRIVATE KEY-----\n")


def drop_aged_certificate(folder: Path) -> None:
    """Remove the serving certificate before it expires: the API server makes a new one at its next start."""
    certificate = folder / "apiserver.crt"
    if certificate.exists() and time.time() - certificate.stat().st_mtime > _CERTIFICATE_DAYS * 86_400:
        certificate.unlink()
        (folder / "apiserver.key").unlink(missing_ok=True)


def write_kubeconfig(path: Path, server: str, certificate: bytes, tokens: dict[str, str]) -> None:
    """Write one cluster, a user and a context per token, the first one current; readable by this user only.

    `certificate` (PEM) is what the client trusts.
    """
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(certificate).decode()}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "taskroll-dev", "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}} for name, token in tokens.items()],
        "contexts": [
            {"name": name, "context": {"cluster": "taskroll-dev", "user": name, "namespace": "default"}}
            for name in tokens
        ],
        "current-context": next(iter(tokens)),
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(_create_private(temporary), "w") as stream:
        yaml.safe_dump(content, stream, sort_keys=False)
    temporary.replace(path)


def _create_private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
