"""A strategy that another distribution brings, by the entry point of examples/own_strategy."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from taskroll.cluster.connection import Cluster
from taskroll.services.agent_calls import AgentCalls
from taskroll.services.configuration import InvalidConfiguration
from taskroll.services.configuration_file import load_services
from taskroll.services.deadline import Deadline
from taskroll.services.expectation import Expectation
from taskroll.services.fleet import Fleet
from taskroll.services.invalidate import invalidate
from taskroll.services.prepare import prepare
from taskroll.services.verify import verify
from taskroll_agent.contracts import ActivateRequest, Attestation, PrepareRequest, content_digest

from .conftest import NoCluster
from .stand_in import NEW

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_strategy"
DIGEST = content_digest(NEW)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an installer makes of the example: its entry points beside its module."""
    groups = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]
    groups["taskroll.strategies"]["broken"] = "no_such_module:Broken"
    metadata = tmp_path / "site" / "example_own_strategy-1.dist-info"
    metadata.mkdir(parents=True)
    lines = [f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in names.items()) for group, names in groups.items()]
    (metadata / "entry_points.txt").write_text("".join(lines))
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: example-own-strategy\nVersion: 1\n")
    monkeypatch.syspath_prepend(str(metadata.parent))
    monkeypatch.syspath_prepend(str(EXAMPLE))


def services(tmp_path: Path, strategy: str = "flag-file", options: str | None = None) -> Path:
    path = tmp_path / "services.yaml"
    options = options or f"{{folder: {tmp_path}}}"
    path.write_text(
        "services:\n  - name: local\n"
        "    discovery: {type: static, addresses: ['127.0.0.1:1']}\n"
        f"    strategy: {strategy}\n    options: {options}\n"
    )
    return path


@pytest.mark.usefixtures("installed")
async def test_an_update_by_it(tmp_path: Path, calls: AgentCalls) -> None:
    fleet = Fleet(load_services(services(tmp_path)), Cluster(NoCluster()), calls)
    prepared = await prepare(fleet, "ns", PrepareRequest(request_id="r1", definitions={}), Deadline.after(10))
    assert (prepared.is_prepared, prepared.replicas, prepared.unchecked) == (True, 0, 1)

    request = ActivateRequest(request_id="r1", epoch=2, release="release-2", content_digest=DIGEST)
    assert (await invalidate(fleet, "ns", request, Deadline.after(10))).is_complete
    assert ActivateRequest.model_validate_json((tmp_path / "wanted").read_text()) == request

    runs = Attestation(pod="", pod_uid="", process="1", started_at=datetime.now(UTC), epoch=2, content_digest=DIGEST)
    (tmp_path / "127.0.0.1:1.running").write_text(runs.model_dump_json())
    verified = await verify(fleet, "ns", Expectation(epoch=2, content_digest=DIGEST), Deadline.after(10))
    assert (verified.is_attested, verified.replicas) == (True, 1)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("strategy", "options", "finding"),
    [
        ("flag-file", "{}", "service local, options.folder: Field required"),
        ("flag-file", "{folder: /tmp, more: 1}", "service local, options.more: Extra inputs are not permitted"),
        ("broken", None, "strategy broken: no_such_module:Broken cannot be imported: ModuleNotFoundError"),
        ("absent", None, "'absent' is no strategy that there is; write one of: agent, restart, sync, webhook, broken"),
    ],
)
def test_what_is_wrong_is_found_when_the_file_is_loaded(
    tmp_path: Path, strategy: str, options: str | None, finding: str
) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        load_services(services(tmp_path, strategy, options))
    assert finding in caught.value.message


def test_without_the_distribution_its_name_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="'flag-file' is no strategy that there is"):
        load_services(services(tmp_path))
