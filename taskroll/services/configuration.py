"""The services that taskroll keeps on one version: the form of ``services.yaml``.

Reading the file, and saying what is wrong in it, is in `configuration_file`. `docs/services.md` is the reference.
"""

import ipaddress
import os
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, Strict, StringConstraints, model_validator

from taskroll.models.errors import TaskrollError

from .strategy_name import StrategyName
from .strategy_options import RestartOptions, SyncOptions, WebhookOptions

STRATEGY_GROUP = "taskroll.strategies"
"""Entry points of this group are strategies that somebody else's distribution brings."""


class InvalidConfiguration(TaskrollError):
    """``services.yaml``, or a secret that it names, is missing or wrong. `details` has one line per finding."""

    code = "InvalidConfiguration"


_LABEL_VALUE = r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$"
_LABEL_NAME = r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
_PORT_NAME = re.compile(r"^(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$")
_HOST = re.compile(r"^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?$")


def _port(port: int | str) -> int | str:
    if isinstance(port, int):
        if not 1 <= port <= 65535:
            raise ValueError("is no port: write a number from 1 to 65535, or the name of a port")
    elif port.isdecimal():
        raise ValueError("is a number in quotes: write it without them")
    elif not _PORT_NAME.fullmatch(port):
        raise ValueError("is no port name: 1 to 15 lower-case letters, digits and dashes, with a letter among them")
    return port


def split_host_port(text: str) -> tuple[str, int]:
    """Split ``host:port`` or ``[IPv6]:port``.

    Raises:
        ValueError: where it is not of that form.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError("is no address: write host:port, such as 10.0.0.7:8000 or [fd00::7]:8000")
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(host[1:-1])), int(port)
    if ":" in host or not _HOST.fullmatch(host):
        raise ValueError("is no address: write host:port, an IPv6 address in brackets")
    return host, int(port)


def _address(text: str) -> str:
    split_host_port(text)
    return text


def _base_url(text: str) -> str:
    url = urlsplit(text)
    try:
        fits = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        fits = False
    if not fits or url.username is not None or url.query or url.fragment:
        raise ValueError("is no address of a gateway: write http://host:port or https://host/path, nothing else")
    return text.rstrip("/")


Labels = Annotated[
    dict[
        Annotated[str, StringConstraints(pattern=_LABEL_NAME)],
        Annotated[str, StringConstraints(pattern=_LABEL_VALUE)],
    ],
    Field(min_length=1),
]


def strategy_names() -> list[str]:
    """Names that a service may have as its strategy: those that come with taskroll, then those that are installed."""
    own = [name.value for name in StrategyName]
    return own + sorted(name for name in entry_points(group=STRATEGY_GROUP).names if name not in own)


def _strategy(name: str) -> str:
    if name not in strategy_names():
        raise ValueError(f"is no strategy that there is; write one of: {', '.join(strategy_names())}")
    return name


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class PodDiscovery(_Section):
    """Replicas are the pods that have certain labels."""

    type: Literal["pods"]
    labels: Labels
    """All of these, as ``matchLabels`` of the Deployment. At least one: without any, every pod would be a replica."""


class EndpointSliceDiscovery(_Section):
    """Replicas are the endpoints of a Service, from its EndpointSlices."""

    type: Literal["endpoint-slices"]
    service: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    """Name of the Kubernetes Service."""


class StaticDiscovery(_Section):
    """Replicas are the addresses of a list."""

    type: Literal["static"]
    addresses: Annotated[list[Annotated[str, AfterValidator(_address)]], Field(min_length=1, max_length=5000)]
    """``host:port`` each, an IPv6 address in brackets."""

    @model_validator(mode="after")
    def _once_each(self) -> "StaticDiscovery":
        twice = sorted({address for address in self.addresses if self.addresses.count(address) > 1})
        if twice:
            raise ValueError(f"addresses are listed twice: {', '.join(twice)}; list each once")
        return self


class TokenSource(_Section):
    """Where the token stands that a service or the gateway wants, or that calls are signed with. It never stands in the
    file itself."""

    env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Name of an environment variable."""
    file: Annotated[str, StringConstraints(min_length=1)] | None = None
    """Path of a file that holds nothing but the token, such as a mounted Secret. Read for each fan-out, so that a
    token that was rotated is taken without a restart."""

    @model_validator(mode="after")
    def _one_place(self) -> "TokenSource":
        if (self.env is None) == (self.file is None):
            raise ValueError("names no place or two: write either env or file")
        return self

    def read(self) -> SecretStr:
        """Return the token.

        Raises:
            InvalidConfiguration: where the variable or file is missing, empty, or holds what no HTTP header can carry.
        """
        if self.env is not None:
            place, text = f"environment variable {self.env}", os.environ.get(self.env, "")
            way_out = f"set {self.env} to the token that the agents were started with"
        else:
            place, way_out = f"file {self.file}", "put the token that the agents were started with into it"
            try:
                text = Path(self.file or "").read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidConfiguration(f"{place} cannot be read: {error}; {way_out}") from None
        token = text.strip()
        if not token:
            raise InvalidConfiguration(f"{place} is empty or not set; {way_out}")
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise InvalidConfiguration(f"{place} holds more than a token (spaces, line breaks or non-ASCII); {way_out}")
        return SecretStr(token)


class ServiceConfig(_Section):
    """One service: how its replicas are found, and how they are told."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    """Its name in taskroll: in plans, results and messages."""
    discovery: Annotated[PodDiscovery | EndpointSliceDiscovery | StaticDiscovery, Field(discriminator="type")]
    strategy: Annotated[str, AfterValidator(_strategy)] = StrategyName.AGENT.value
    """One of `strategy_names`."""
    port: Annotated[int | str, AfterValidator(_port)] | None = None
    """Of the endpoints that are called: a number, or the name of a port of the container or the EndpointSlice. None for
    static addresses, which carry their own, and where nothing is called."""
    token: TokenSource | None = None
    """What agents want as bearer token, or calls to a webhook are signed with."""
    deployment: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")] | None = None
    """Name of the Deployment that makes the replicas. As long as fewer are found than it wants, the service is not
    complete. The strategy ``restart`` restarts it."""
    required: Annotated[bool, Strict()] = True
    """Whether an update fails where a replica of this service does. Others are told and asked as well, but not
    waited for."""
    order: int = Field(default=0, ge=-1000, le=1000)
    """Services of a lower order are told first at invalidation; those of the same order side by side."""
    min_replicas: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Fewer replicas than this are a failure of a required service. By default 1 for a required service, so that
    labels with a typing error cannot make an update succeed on nothing; 0 for others."""
    restart: RestartOptions | None = None
    sync: SyncOptions | None = None
    webhook: WebhookOptions | None = None
    options: dict[str, Any] | None = None
    """For a strategy that does not come with taskroll: what it wants to be told."""

    @property
    def patience(self) -> float:
        """Seconds that telling the service may take, beyond those of a call."""
        return (self.restart or RestartOptions()).timeout if self.strategy == StrategyName.RESTART else 0.0

    @property
    def least_replicas(self) -> int:
        """`min_replicas`, or its default."""
        if self.min_replicas is not None:
            return self.min_replicas
        return 1 if self.required else 0

    @model_validator(mode="after")
    def _complete(self) -> "ServiceConfig":
        self._refuse_foreign_sections()
        if self.strategy == StrategyName.RESTART:
            if self.deployment is None:
                raise ValueError("deployment: is missing; write the name of the Deployment that is to be restarted")
            if not isinstance(self.discovery, PodDiscovery):
                raise ValueError("discovery: strategy restart looks at pods; write {type: pods, labels: …}")
            return self
        if isinstance(self.discovery, StaticDiscovery):
            if self.port is not None:
                raise ValueError("port: static addresses carry their own port; remove this one")
        elif self.port is None:
            raise ValueError("port: is missing; write the port of the agent's endpoints, a number or a name")
        if self.strategy in {StrategyName.AGENT, StrategyName.WEBHOOK} and self.token is None:
            raise ValueError("token: is missing; write token: {env: NAME} or token: {file: PATH}")
        if self.strategy == StrategyName.SYNC:
            if self.sync is None:
                raise ValueError("sync: is missing; write sync: {grpc_service: PACKAGE.SERVICE}")
            if self.required:
                raise ValueError(
                    "required: strategy sync cannot show what a replica runs, so no update could end with it; write "
                    "required: false, or use the strategy agent or restart"
                )
        return self

    def _refuse_foreign_sections(self) -> None:
        for section in (StrategyName.RESTART, StrategyName.SYNC, StrategyName.WEBHOOK):
            if getattr(self, section) is not None and self.strategy != section:
                raise ValueError(
                    f"{section}: is for the strategy {section}, this service has {self.strategy}; remove it"
                )
        if self.options is not None and self.strategy in set(StrategyName):
            raise ValueError(f"options: is for strategies that do not come with taskroll; {self.strategy} has none")


class GatewayAddress(_Section):
    """Where the platform's gateway is."""

    url: Annotated[str, AfterValidator(_base_url)] | None = None
    """``http://host:port``, a path may follow."""
    service: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")] | None = None
    """Name of a Kubernetes Service, in the namespace that an update is about."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Of the Service."""

    @model_validator(mode="after")
    def _one_place(self) -> "GatewayAddress":
        if (self.url is None) == (self.service is None):
            raise ValueError("names no place or two: write either url or service")
        if self.url is not None and "port" in self.model_fields_set:
            raise ValueError("port: is for a service; write it into the url")
        return self

    def base_url(self, namespace: str) -> str:
        """The URL for an update of that namespace, without a slash at its end."""
        return self.url or f"http://{self.service}.{namespace}.svc:{self.port}"


class PlatformConfig(_Section):
    """The platform that runs the tasks: who can say what uses a definition, and stop it."""

    kind: Literal["cornserve"]
    gateway: GatewayAddress
    token: TokenSource | None = None
    """What the gateway wants as bearer token; Cornserve's own wants none."""
    timeout: Annotated[float, Field(gt=0, le=300)] = 10.0
    """Seconds for a question to the gateway."""
    change_timeout: Annotated[float, Field(gt=0, le=7200)] = 300.0
    """Seconds for registering or unregistering an app, which start and stop task managers."""
    task_manager_labels: Labels = Field(default_factory=lambda: {"app": "task-manager"})
    """Of the pods that run tasks."""


class ServicesConfig(_Section):
    """The whole of ``services.yaml``."""

    services: Annotated[list[ServiceConfig], Field(min_length=1, max_length=200)]
    platform: PlatformConfig | None = None
    """None: what uses a definition is looked for in the custom resources alone."""
    provided_modules: list[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]] = Field(
        default_factory=list[str]
    )
    """Modules, or packages with all that is in them, that every service has installed although they lie in a package
    of the tasks: a definition may import them."""

    @model_validator(mode="after")
    def _names_once(self) -> "ServicesConfig":
        names = [service.name for service in self.services]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"services: two have the same name: {', '.join(twice)}; give each its own")
        return self

    @model_validator(mode="after")
    def _addresses_once(self) -> "ServicesConfig":
        owners: dict[str, str] = {}
        for service in self.services:
            for address in service.discovery.addresses if isinstance(service.discovery, StaticDiscovery) else []:
                if (owner := owners.setdefault(address, service.name)) != service.name:
                    raise ValueError(
                        f"services: {owner} and {service.name} both list {address}; leave it in one of them"
                    )
        return self

    def service(self, name: str) -> ServiceConfig:
        """The service of that name.

        Raises:
            KeyError: where there is none.
        """
        for service in self.services:
            if service.name == name:
                return service
        raise KeyError(name)

    def check_tokens(self) -> None:
        """Read every token once, so that a missing one is found at the start and not in the middle of an update.

        Raises:
            InvalidConfiguration: naming each service, and the platform, whose token cannot be read.
        """
        findings: list[str] = []
        for service in self.services:
            if service.token is not None:
                try:
                    service.token.read()
                except InvalidConfiguration as error:
                    findings.append(f"service {service.name}, token: {error.message}")
        if self.platform is not None and self.platform.token is not None:
            try:
                self.platform.token.read()
            except InvalidConfiguration as error:
                findings.append(f"platform, token: {error.message}")
        if findings:
            raise InvalidConfiguration("; ".join(findings), details=findings)
