"""``services.yaml``: what is taken, and what is said about what is not."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from taskroll.services.configuration import (
    InvalidConfiguration,
    PodDiscovery,
    ServicesConfig,
    TokenSource,
    split_host_port,
)
from taskroll.services.configuration_file import load_services, parse_services
from taskroll.services.strategy_name import StrategyName
from taskroll.services.strategy_registry import STRATEGIES, check_strategies

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "services.yaml"

WHOLE = """\
services:
  - name: gateway
    discovery: {type: pods, labels: {app: gateway, tasks.example/tier: front}}
    strategy: agent
    port: 8000
    token: {env: TASKROLL_AGENT_TOKEN}
    required: true
    order: 10
    min_replicas: 2
  - name: dispatcher
    discovery: {type: endpoint-slices, service: dispatcher-headless}
    port: http
    token: {file: /run/secrets/token}
  - name: cache
    discovery: {type: static, addresses: ["10.0.0.7:8000", "[fd00::7]:8000", "cache.example:80"]}
    token: {env: TASKROLL_AGENT_TOKEN}
    required: false
"""


def findings(text: str) -> list[str]:
    with pytest.raises(InvalidConfiguration) as caught:
        parse_services(text, "services.yaml")
    # pydantic's and PyYAML's own errors hold what was typed: no traceback may show them.
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert caught.value.__cause__ is None
    return caught.value.details or [caught.value.message]


def one_service(**lines: str) -> str:
    """A service with these fields instead of the usual ones; a field given as "" is left out."""
    usual = {
        "name": "gateway",
        "discovery": "{type: pods, labels: {app: gateway}}",
        "port": "8000",
        "token": "{env: TASKROLL_AGENT_TOKEN}",
    }
    fields = [f"{name}: {value}" for name, value in {**usual, **lines}.items() if value]
    return "services:\n  - " + "\n    ".join(fields) + "\n"


def test_everything_that_can_be_said() -> None:
    config = parse_services(WHOLE, "services.yaml")
    gateway, dispatcher, cache = config.services
    assert gateway.discovery == PodDiscovery(type="pods", labels={"app": "gateway", "tasks.example/tier": "front"})
    assert (gateway.port, gateway.order, gateway.required, gateway.least_replicas) == (8000, 10, True, 2)
    assert (dispatcher.port, dispatcher.order, dispatcher.required, dispatcher.least_replicas) == ("http", 0, True, 1)
    assert (cache.port, cache.required, cache.least_replicas) == (None, False, 0)
    assert config.service("cache") is cache
    assert all(service.strategy == StrategyName.AGENT for service in config.services)


def test_every_strategy_that_can_be_named_is_there() -> None:
    assert set(STRATEGIES) == set(StrategyName)


def test_the_example_is_valid() -> None:
    config = load_services(EXAMPLE)
    assert [service.name for service in config.services] == ["gateway", "dispatcher", "task-manager"]
    for service in config.services:
        assert service.discovery == PodDiscovery(type="pods", labels={"app": service.name})
        assert (service.strategy, service.port) == (StrategyName.AGENT, 8000)
        assert service.token is not None
        assert service.token.env == "TASKROLL_AGENT_TOKEN"


def test_every_services_file_that_is_shipped_is_valid() -> None:
    shipped = sorted((ROOT / "deploy").rglob("services.yaml"))
    assert len(shipped) >= 2
    for path in shipped:
        load_services(path, check_tokens=False)


def test_every_example_of_a_strategy_is_valid() -> None:
    files = sorted((ROOT / "examples" / "services").glob("*.yaml"))
    configs = [load_services(path, check_tokens=False) for path in files]
    for config in configs:
        check_strategies(config)
    assert {service.strategy for config in configs for service in config.services} == set(StrategyName)


def test_the_example_in_the_documentation_is_valid() -> None:
    blocks = (ROOT / "docs" / "services.md").read_text().split("```yaml\n")[1:]
    example = next(block.partition("```")[0] for block in blocks if block.startswith("services:"))
    assert len(parse_services(example, "services.md").services) == 4


WRONG = {
    "no such field": (one_service(prot="1"), "services.yaml:6: services[0] (gateway).prot: is no field"),
    "name missing": (one_service(name=""), "services.yaml:2: services[0].name: is missing; add it"),
    "name of a wrong form": (one_service(name="Gate_Way"), "services[0] (Gate_Way).name: 'Gate_Way' is no name; write"),
    "no port": (one_service(port=""), "services.yaml:2: services[0] (gateway): port: is missing; write the port"),
    "port zero": (one_service(port="0"), "services.yaml:4: services[0] (gateway).port: 0 is no port"),
    "port too high": (one_service(port="65536"), "65536 is no port: write a number from 1 to 65535"),
    "port in quotes": (one_service(port='"8000"'), "'8000' is a number in quotes: write it without them"),
    "no port name": (one_service(port="Http_Port"), "'Http_Port' is no port name"),
    "no token": (one_service(token=""), "token: is missing; write token: {env: NAME}"),
    "two places": (one_service(token="{env: A, file: /b}"), "names no place or two: write either env or file"),
    "no place": (one_service(token="{}"), "(gateway).token: names no place or two"),
    "strategy": (one_service(strategy="restrat"), "'restrat' is no strategy that there is; write one of: agent"),
    "restart of nothing": (one_service(strategy="restart"), "(gateway): deployment: is missing; write the name"),
    "restart without pods": (
        one_service(strategy="restart", deployment="a", discovery="{type: endpoint-slices, service: a}"),
        "(gateway): discovery: strategy restart looks at pods",
    ),
    "sync without a method": (one_service(strategy="sync", required="false"), "(gateway): sync: is missing; write"),
    "sync that is required": (
        one_service(strategy="sync", sync="{grpc_service: a.B}"),
        "(gateway): required: strategy sync cannot show what a replica runs",
    ),
    "name of a gRPC service": (
        one_service(strategy="sync", required="false", sync="{grpc_service: B}"),
        "services.yaml:8: services[0] (gateway).sync.grpc_service: 'B' is no name of a gRPC service; write one",
    ),
    "webhook without a token": (one_service(strategy="webhook", token=""), "(gateway): token: is missing; write"),
    "path of a webhook": (
        one_service(strategy="webhook", webhook="{path: hook}"),
        "(gateway).webhook.path: 'hook' is no path of a URL; write one such as /taskroll",
    ),
    "time-out": (
        one_service(strategy="restart", deployment="a", restart="{timeout: 0}"),
        "(gateway).restart.timeout: 0 ",
    ),
    "section of another strategy": (
        one_service(restart="{timeout: 5}"),
        "(gateway): restart: is for the strategy restart, this service has agent; remove it",
    ),
    "options of a strategy that has none": (one_service(options="{a: 1}"), "(gateway): options: is for strategies"),
    "name of a Deployment": (one_service(deployment="Gate_Way"), "(gateway).deployment: 'Gate_Way' "),
    "discovery type": (one_service(discovery="{type: pod}"), ".discovery: type: is none that there is; write pods,"),
    "discovery without type": (one_service(discovery="{labels: {a: b}}"), ".discovery: type: is missing; write pods,"),
    "no labels": (
        one_service(discovery="{type: pods, labels: {}}"),
        "services.yaml:3: services[0] (gateway).discovery.",
    ),
    "labels missing": (one_service(discovery="{type: pods}"), "(gateway).discovery.labels: is missing"),
    "label value": (
        one_service(discovery="{type: pods, labels: {app: 'a b'}}"),
        ".labels.app: 'a b' is no label; write names",
    ),
    "label is a number": (
        one_service(discovery="{type: pods, labels: {app: 7}}"),
        ".labels.app: 7 is no text; write it in quotes",
    ),
    "selector of another kind": (
        one_service(discovery="{type: pods, labels: {app: a}, service: a}"),
        "(gateway).discovery.service: is no field of this section",
    ),
    "no addresses": (one_service(port="", discovery="{type: static, addresses: []}"), ".discovery.addresses: "),
    "address": (
        one_service(port="", discovery="{type: static, addresses: ['10.0.0.1:80', 'nowhere']}"),
        ".discovery.addresses[1]: 'nowhere' is no address: write host:port",
    ),
    "address twice": (
        one_service(port="", discovery="{type: static, addresses: ['10.0.0.1:80', '10.0.0.1:80']}"),
        "are listed twice: 10.0.0.1:80; list each once",
    ),
    "static with a port": (
        one_service(discovery="{type: static, addresses: ['10.0.0.1:80']}"),
        "port: static addresses carry their own port; remove this one",
    ),
    "required": (one_service(required="maybe"), "(gateway).required: 'maybe' is neither true nor false; write one"),
    "required in quotes": (one_service(required="'yes'"), "(gateway).required: 'yes' is neither true nor false"),
    "min_replicas": (one_service(min_replicas="-1"), "(gateway).min_replicas: -1 "),
    "min_replicas in words": (
        one_service(min_replicas="two"),
        "(gateway).min_replicas: 'two' is no whole number; write",
    ),
    "one address in two services": (
        one_service(port="", discovery="{type: static, addresses: ['10.0.0.1:80']}")
        + one_service(name="b", port="", discovery="{type: static, addresses: ['10.0.0.1:80']}").removeprefix(
            "services:\n"
        ),
        "services: gateway and b both list 10.0.0.1:80; leave it in one of them",
    ),
    "the token itself": (one_service(token="s3cr3t"), "(gateway).token: is no mapping; write {env: NAME}"),
    "services as a mapping": ("services: {a: b}\n", "services.yaml:1: services: is no list; write one"),
    "same name": (one_service() + one_service().removeprefix("services:\n"), "two have the same name: gateway"),
    "no services": ("services: []\n", "services.yaml:1: services: is empty; name at least one"),
    "services missing": ("service: []\n", "services: is missing; add it"),
    "nothing at all": ("", "services.yaml: holds no mapping"),
    "a list": ("- a\n", "services.yaml: holds no mapping"),
    "a key twice": ("services:\n  - name: a\n    name: b\n", "services.yaml:3: name is given twice; keep one"),
    "no YAML": ("services: [\n", "services.yaml:2: "),
}


@pytest.mark.parametrize(("text", "finding"), list(WRONG.values()), ids=list(WRONG))
def test_what_is_wrong_is_named_with_file_line_field_value_and_way_out(text: str, finding: str) -> None:
    assert any(finding in found for found in findings(text)), findings(text)


def test_all_findings_are_named_at_once() -> None:
    found = findings(one_service(port="0", required="maybe", name="A"))
    assert len(found) == 3


PLATFORM = {
    "another kind": (
        "{kind: other, gateway: {service: gateway}}",
        "platform.kind: 'other' input should be 'cornserve'",
    ),
    "no gateway": ("{kind: cornserve}", "platform.gateway: is missing; add it"),
    "no place": (
        "{kind: cornserve, gateway: {}}",
        "platform.gateway: names no place or two: write either url or service",
    ),
    "two places": (
        "{kind: cornserve, gateway: {url: 'http://a', service: b}}",
        "platform.gateway: names no place or two: write either url or service",
    ),
    "port beside url": (
        "{kind: cornserve, gateway: {url: 'http://a', port: 1}}",
        "platform.gateway: port: is for a service; write it into the url",
    ),
    "no scheme": (
        "{kind: cornserve, gateway: {url: 'gateway:8000'}}",
        "is no address of a gateway: write http://host:port",
    ),
    "no host": ("{kind: cornserve, gateway: {url: 'http://'}}", "is no address of a gateway"),
    "port out of range": ("{kind: cornserve, gateway: {url: 'http://a:99999'}}", "is no address of a gateway"),
    "a query": ("{kind: cornserve, gateway: {url: 'http://a/?x=1'}}", "is no address of a gateway"),
    "no labels": (
        "{kind: cornserve, gateway: {service: g}, task_manager_labels: {}}",
        "platform.task_manager_labels: ",
    ),
    "no time": ("{kind: cornserve, gateway: {service: g}, timeout: 0}", "platform.timeout: 0 input should be greater"),
    "unknown field": (
        "{kind: cornserve, gateway: {service: g}, apps: []}",
        "platform.apps: is no field of this section",
    ),
}


@pytest.mark.parametrize("case", PLATFORM)
def test_what_is_wrong_with_the_platform_is_said(case: str) -> None:
    section, sentence = PLATFORM[case]
    [finding] = findings(one_service() + f"platform: {section}\n")
    assert sentence in finding


@pytest.mark.parametrize(
    ("gateway", "url"),
    [
        ("{service: gateway}", "http://gateway.tasks.svc:8000"),
        ("{service: gateway, port: 80}", "http://gateway.tasks.svc:80"),
        ("{url: 'https://cornserve.example/api/'}", "https://cornserve.example/api"),
    ],
)
def test_gateway_is_a_service_of_the_namespace_or_an_address(gateway: str, url: str) -> None:
    config = parse_services(one_service() + f"platform: {{kind: cornserve, gateway: {gateway}}}\n", "services.yaml")
    assert config.platform is not None
    assert config.platform.gateway.base_url("tasks") == url
    assert config.platform.task_manager_labels == {"app": "task-manager"}


def test_password_in_the_address_of_the_gateway_is_refused_and_not_shown() -> None:
    gateway = "{url: 'http://user:hunter2@gateway:8000'}"
    [finding] = findings(one_service() + f"platform: {{kind: cornserve, gateway: {gateway}}}\n")
    assert "is no address of a gateway" in finding
    assert "hunter2" not in finding


def test_token_of_the_platform_is_read_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKROLL_AGENT_TOKEN", "something")
    section = "platform: {kind: cornserve, gateway: {service: gateway}, token: {env: ABSENT_TOKEN}}\n"
    with pytest.raises(InvalidConfiguration, match="platform, token: environment variable ABSENT_TOKEN is empty"):
        parse_services(one_service() + section, "services.yaml").check_tokens()


SECRET = "hunter2-the-real-token"


@pytest.mark.parametrize(
    "text",
    [
        one_service(token=SECRET),
        one_service(token=f"{{env: '{SECRET} '}}"),
        one_service(token=f"{{value: {SECRET}}}"),
        one_service(token=f"{{env: [{SECRET}]}}"),
        one_service(token=f"[{SECRET}]"),
        one_service(token=f"{{env: {SECRET}: x"),
        one_service(token=f"'{SECRET}"),
    ],
)
def test_a_token_typed_into_the_file_is_never_shown(text: str) -> None:
    assert SECRET not in "; ".join(findings(text))


def test_nor_is_it_in_the_errors_of_the_model_itself() -> None:
    with pytest.raises(ValidationError) as caught:
        TokenSource.model_validate({"env": SECRET})
    assert SECRET not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=r"nowhere\.yaml: cannot be read: .* name another file"):
        load_services(tmp_path / "nowhere.yaml")


def with_tokens(tmp_path: Path) -> ServicesConfig:
    text = one_service() + one_service(name="cache", token=f"{{file: {tmp_path / 'token'}}}").removeprefix(
        "services:\n"
    )
    return parse_services(text, "services.yaml")


def test_tokens_are_read_from_variable_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKROLL_AGENT_TOKEN", SECRET)
    (tmp_path / "token").write_text("first\n")
    gateway, cache = with_tokens(tmp_path).services
    assert gateway.token is not None
    assert cache.token is not None
    token = gateway.token.read()
    assert token.get_secret_value() == SECRET
    assert SECRET not in f"{token!r} {token} {gateway!r}"
    assert cache.token.read().get_secret_value() == "first"
    (tmp_path / "token").write_text("rotated\n")
    assert cache.token.read().get_secret_value() == "rotated"


def test_tokens_that_cannot_be_read_are_found_when_the_file_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TASKROLL_AGENT_TOKEN")
    text = one_service() + one_service(name="cache", token=f"{{file: {tmp_path / 'token'}}}").removeprefix(
        "services:\n"
    )
    path = tmp_path / "services.yaml"
    path.write_text(text)
    with pytest.raises(InvalidConfiguration) as caught:
        load_services(path)
    first, second = caught.value.details
    assert first.startswith(
        f"{path}: service gateway, token: environment variable TASKROLL_AGENT_TOKEN is empty or not"
    )
    assert second.startswith(f"{path}: service cache, token: file {tmp_path / 'token'} cannot be read")
    assert len(load_services(path, check_tokens=False).services) == 2


@pytest.mark.parametrize("content", ["", "  \n", "two tokens", "a\nb", "größe"])
def test_a_token_that_no_header_can_carry(content: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(content)
    token = with_tokens(tmp_path).service("cache").token
    assert token is not None
    with pytest.raises(InvalidConfiguration) as caught:
        token.read()
    assert not content.strip() or content not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.7:8000", ("10.0.0.7", 8000)),
        ("[fd00::7]:1", ("fd00::7", 1)),
        ("cache.example:80", ("cache.example", 80)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert split_host_port(text) == expected


@pytest.mark.parametrize(
    "text", ["", ":", "a:", ":80", "a:0", "a:65536", "fd00::7:80", "[fd00]:80", "a b:80", "a/b:80"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        split_host_port(text)
