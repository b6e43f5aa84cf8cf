"""The command line of each component, and the order in which they start and stop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from taskroll.devstack.layout import DataLayout
from taskroll.devstack.ports import LOOPBACK
from taskroll.devstack.versions import BinaryName

# Started in this order, stopped in the reverse one.
START_ORDER: tuple[BinaryName, ...] = ("etcd", "kube-apiserver", "kube-controller-manager", "temporal")
DEFAULT_COMPONENTS: tuple[BinaryName, ...] = ("temporal", "etcd", "kube-apiserver")

SEARCH_ATTRIBUTES: Mapping[str, str] = {
    "TaskrollPhase": "Keyword",
    "TaskrollDefinitions": "KeywordList",
    "TaskrollRequestedBy": "Keyword",
    "TaskrollCommit": "Keyword",
    "TaskrollNamespace": "Keyword",
}

DYNAMIC_CONFIG: Mapping[str, str] = {
    # The default of 20 polls a second makes each step of a workflow wait for its turn.
    "history.transferProcessorMaxPollRPS": "2000",
    # Nothing here calls home.
    "frontend.enableServerVersionCheck": "false",
}

# As with etcd: a killed process loses nothing, a crash of the whole machine may. Measured 2026-11 on two cores and a
# slow disk: a workflow of four activities takes 45 ms with these and the poll rate above, 320 ms with the poll rate
# alone, 450 ms with the pragmas alone; 40 workflows at once take 2 s instead of 16 s.
SQLITE_PRAGMAS: Mapping[str, str] = {"journal_mode": "WAL", "synchronous": "OFF"}

SERVICE_ACCOUNT_ISSUER = "https://kubernetes.default.svc"


class Located(BaseModel):
    """A binary that was found and checked."""

    model_config = ConfigDict(frozen=True)

    name: BinaryName
    path: Path
    version: str
    source: str


class CommandSettings(BaseModel):
    """What the command lines depend on."""

    model_config = ConfigDict(frozen=True)

    layout_root: Path
    ports: dict[str, int]
    namespace: str

    @property
    def layout(self) -> DataLayout:
        """The data folder."""
        return DataLayout(self.layout_root)

    @property
    def etcd_url(self) -> str:
        """etcd's client address."""
        return f"http://{LOOPBACK}:{self.ports['etcd']}"

    @property
    def kube_url(self) -> str:
        """The API server's address."""
        return f"https://{LOOPBACK}:{self.ports['kube']}"

    @property
    def temporal_address(self) -> str:
        """Temporal's frontend."""
        return f"{LOOPBACK}:{self.ports['temporal']}"

    @property
    def ui_url(self) -> str:
        """Temporal's web UI."""
        return f"http://{LOOPBACK}:{self.ports['temporal-ui']}"


def command(name: BinaryName, binary: Path, settings: CommandSettings) -> list[str]:
    """Return the whole command line of one component."""
    arguments = {
        "temporal": _temporal,
        "etcd": _etcd,
        "kube-apiserver": _kube_apiserver,
        "kube-controller-manager": _kube_controller_manager,
    }[name](settings)
    return [str(binary), *arguments]


def _temporal(settings: CommandSettings) -> list[str]:
    ports = settings.ports
    arguments = [
        "server",
        "start-dev",
        "--disable-config-file",
        "--disable-config-env",
        f"--db-filename={settings.layout.temporal / 'temporal.db'}",
        f"--ip={LOOPBACK}",
        f"--port={ports['temporal']}",
        f"--http-port={ports['temporal-http']}",
        f"--metrics-port={ports['temporal-metrics']}",
        f"--ui-ip={LOOPBACK}",
        f"--ui-port={ports['temporal-ui']}",
        "--log-level=warn",
    ]
    if settings.namespace != "default":
        arguments.append(f"--namespace={settings.namespace}")
    arguments += [f"--search-attribute={name}={kind}" for name, kind in SEARCH_ATTRIBUTES.items()]
    arguments += [f"--dynamic-config-value={key}={value}" for key, value in DYNAMIC_CONFIG.items()]
    arguments += [f"--sqlite-pragma={key}={value}" for key, value in SQLITE_PRAGMAS.items()]
    return arguments


def _etcd(settings: CommandSettings) -> list[str]:
    # A cluster of one has no peers: port 0 keeps the peer listener out of everybody's way.
    peer = f"http://{LOOPBACK}:0"
    return [
        f"--data-dir={settings.layout.etcd}",
        f"--listen-client-urls={settings.etcd_url}",
        f"--advertise-client-urls={settings.etcd_url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        # Survives a killed process; only a crash of the whole machine can lose the last writes.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _kube_apiserver(settings: CommandSettings) -> list[str]:
    kube = settings.layout.kube
    return [
        f"--etcd-servers={settings.etcd_url}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={settings.ports['kube']}",
        f"--advertise-address={LOOPBACK}",
        # It would publish the loopback address as an endpoint, which the API refuses.
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.0.0.0/24",
        f"--cert-dir={kube / 'certs'}",
        f"--token-auth-file={kube / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        f"--service-account-issuer={SERVICE_ACCOUNT_ISSUER}",
        f"--service-account-key-file={kube / 'service-account.key'}",
        f"--service-account-signing-key-file={kube / 'service-account.key'}",
        # It refuses pods until a controller has made the namespace's default account.
        "--disable-admission-plugins=ServiceAccount",
        "--allow-privileged=true",
        f"--audit-policy-file={kube / 'audit-policy.yaml'}",
        f"--audit-log-path={settings.layout.audit_log}",
        "--audit-log-maxsize=50",
        "--audit-log-maxbackup=1",
        "--profiling=false",
    ]


def _kube_controller_manager(settings: CommandSettings) -> list[str]:
    kubeconfig = kube_controller_manager_kubeconfig(settings.layout)
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
        # Nobody calls it, so it need not listen.
        "--secure-port=0",
        f"--service-account-private-key-file={settings.layout.kube / 'service-account.key'}",
        # Each controller acts by an account of its own: the roles that the API server makes at its start are for these.
        "--use-service-account-credentials=true",
    ]


def kube_controller_manager_kubeconfig(layout: DataLayout) -> Path:
    """The controller manager's own kubeconfig: it must not act as an admin."""
    return layout.kube / "kube-controller-manager.kubeconfig"
