"""Settings from the environment, and from the pod around the process."""

from pathlib import Path

import pytest

from taskroll_agent import AgentSettings, SettingsError, settings


@pytest.fixture
def service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "SERVICE_ACCOUNT", tmp_path)
    return tmp_path


IN_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443", "HOSTNAME": "web-0"}


def test_in_a_pod_nothing_needs_to_be_set(service_account: Path) -> None:
    for name, text in {"token": "t", "ca.crt": "c", "namespace": "cornserve\n"}.items():
        (service_account / name).write_text(text)
    found = AgentSettings.from_env(IN_POD)
    assert found.kube_url == "https://10.0.0.1:6443"
    assert found.kube_token_file == service_account / "token"
    assert found.kube_ca_file == service_account / "ca.crt"
    assert (found.namespace, found.pod, found.pod_uid) == ("cornserve", "web-0", "")


def test_pod_name_and_uid_from_the_downward_api(service_account: Path) -> None:
    found = AgentSettings.from_env({**IN_POD, "POD_NAME": "web-1", "POD_UID": "u"})
    assert (found.namespace, found.pod, found.pod_uid) == ("default", "web-1", "u")


def test_an_ipv6_service_address(service_account: Path) -> None:
    assert AgentSettings.from_env({"KUBERNETES_SERVICE_HOST": "fd00::1"}).kube_url == "https://[fd00::1]:443"


def test_variables_win_over_the_pod_and_arguments_over_variables(service_account: Path) -> None:
    (service_account / "token").write_text("t")
    environ = {
        **IN_POD,
        "TASKROLL_AGENT_NAMESPACE": "other",
        "TASKROLL_AGENT_KUBE_TOKEN": "mine",
        "TASKROLL_AGENT_POD": "me",
        "TASKROLL_AGENT_MODULE_PREFIXES": "a.b, c",
        "TASKROLL_AGENT_LOAD_TIMEOUT": "5",
        "TASKROLL_AGENT_INSECURE": "true",
        "TASKROLL_AGENT_READ_TIMEOUT": " ",
    }
    found = AgentSettings.from_env(environ, pod="argument")
    assert (found.namespace, found.pod, found.kube_token, found.kube_token_file) == ("other", "argument", "mine", None)
    assert (found.module_prefixes, found.load_timeout, found.insecure, found.read_timeout) == (
        ("a.b", "c"),
        5.0,
        True,
        10.0,
    )


def test_the_pod_s_token_is_sent_to_no_other_server(service_account: Path) -> None:
    (service_account / "token").write_text("t")
    found = AgentSettings.from_env({**IN_POD, "TASKROLL_AGENT_KUBE_URL": "https://elsewhere"})
    assert (found.kube_url, found.kube_token_file, found.kube_ca_file) == ("https://elsewhere", None, None)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, "TASKROLL_AGENT_KUBE_URL"),
        ({"TASKROLL_AGENT_KUBE_URL": "x", "TASKROLL_AGENT_LOAD_TIMEOUT": "soon-secret"}, "TASKROLL_AGENT_LOAD_TIMEOUT"),
        ({"TASKROLL_AGENT_KUBE_URL": "x", "TASKROLL_AGENT_READ_TIMEOUT": "0"}, "TASKROLL_AGENT_READ_TIMEOUT"),
    ],
)
def test_what_is_wrong_is_named_by_its_variable_and_not_repeated(
    service_account: Path, environ: dict[str, str], named: str
) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        AgentSettings.from_env(environ)
    assert "soon-secret" not in str(caught.value)


def test_secrets_do_not_show(service_account: Path) -> None:
    found = AgentSettings.from_env(
        {"TASKROLL_AGENT_KUBE_URL": "x", "TASKROLL_AGENT_TOKEN": "s3cret", "TASKROLL_AGENT_KUBE_TOKEN": "s3cret"}
    )
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "TASKROLL_AGENT_MODULE_PREFIX",
            ["TASKROLL_AGENT_MODULE_PREFIX is no setting", "TASKROLL_AGENT_MODULE_PREFIXES?"],
        ),
        ("TASKROLL_AGENT_QQQ", ["TASKROLL_AGENT_QQQ is no setting of the agent and is passed over"]),
        ("TASKROLL_AGENT_ADAPTER", []),
        ("TASKROLL_AGENT_POD", []),
        ("TASKROLL_AGENTS", []),
    ],
)
def test_a_variable_that_is_no_setting_is_warned_of(
    service_account: Path, caplog: pytest.LogCaptureFixture, name: str, said: list[str]
) -> None:
    AgentSettings.from_env({**IN_POD, name: "s3cret"})
    assert len(caplog.records) == bool(said)
    assert all(part in caplog.text for part in said)
    assert "s3cret" not in caplog.text


def test_variables_of_a_service_named_like_the_agent_are_no_settings(
    service_account: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = {
        "SERVICE_HOST": "10.0.0.7",
        "SERVICE_PORT": "9000",
        "SERVICE_PORT_HTTP": "9000",
        "PORT": "tcp://10.0.0.7:9000",
        "PORT_9000_TCP": "tcp://10.0.0.7:9000",
        "PORT_9000_TCP_ADDR": "10.0.0.7",
    }
    found = AgentSettings.from_env({**IN_POD, **{f"TASKROLL_AGENT_{name}": text for name, text in link.items()}})
    assert (found.port, caplog.records) == (8470, [])
    assert AgentSettings.from_env({**IN_POD, "TASKROLL_AGENT_PORT": "9000"}).port == 9000
