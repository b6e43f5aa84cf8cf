"""The services of docker-compose.yml as processes of this machine, since no engine runs here.

A real PostgreSQL (of any version that is installed), the real Temporal server on it by way of its image's configuration
template, and the real web UI. Host names become the loopback, ports become free ones; all else, settings, scripts and
health checks, is what docker-compose.yml says.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from taskroll.devstack.binaries import locate
from taskroll.devstack.ports import LOOPBACK
from taskroll.devstack.process import dies_with_parent

from . import go_programs
from .checker import PASSWORD, Checker, JsonObject

PORTS = {
    "postgresql": 25432,
    "ui": 28080,
    "worker": 29090,
    "http": 28470,
    "FRONTEND_GRPC_PORT": 27233,
    "FRONTEND_HTTP_PORT": 27243,
    "FRONTEND_MEMBERSHIP_PORT": 26933,
    "MATCHING_GRPC_PORT": 27235,
    "MATCHING_MEMBERSHIP_PORT": 26935,
    "HISTORY_GRPC_PORT": 27234,
    "HISTORY_MEMBERSHIP_PORT": 26934,
    "WORKER_GRPC_PORT": 27239,
    "WORKER_MEMBERSHIP_PORT": 26939,
}
"""The usual ones and 20,000: those in capitals are variables of the server's configuration template."""


def build_programs() -> Path:
    """What the images of Temporal's server, its admin tools and its UI hold, at the versions of docker-compose.yml."""
    server, ui = "go.temporal.io/server", "github.com/temporalio/ui-server/v2"
    return go_programs.build(
        "temporal",
        {
            "temporal-sql-tool": f"{server}/cmd/tools/sql",
            "temporal-server": f"{server}/cmd/server",
            "ui-server": f"{ui}/cmd/server",
        },
        {"config_template.yaml": (server, "docker/config_template.yaml"), "ui.yaml": (ui, "config/docker.yaml")},
    )


def find_postgresql() -> Path | None:
    """The folder of PostgreSQL's programs; Debian keeps them off the PATH, a folder per version."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in installed), key=lambda folder: int(folder.parent.name), default=None)


@dataclass
class Rehearsal:
    """The services by name. What still runs is ended when `ended` closes."""

    compose: JsonObject
    checker: Checker
    programs: Path
    postgresql: Path
    folder: Path
    ports: Mapping[str, int]
    ended: ExitStack
    servers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, "subprocess.Popen[bytes]"])

    @property
    def address(self) -> str:
        """Of Temporal's front end."""
        return f"{LOOPBACK}:{self.ports['FRONTEND_GRPC_PORT']}"

    def settings(self, service: str) -> dict[str, str]:
        """The service's environment, moved to this machine."""
        moved = {
            "postgresql": LOOPBACK,
            "5432": str(self.ports["postgresql"]),
            "0.0.0.0": LOOPBACK,
            "temporal:7233": self.address,
        }
        moved |= self.mounts(service)
        given: dict[str, str] = self.compose["services"][service]["environment"]
        return {name: moved.get(value, value) for name, value in given.items()} | self._surroundings()

    def mounts(self, service: str) -> dict[str, str]:
        """What is mounted into the service, by where."""
        mounts = self.compose["services"][service].get("volumes", [])
        return {mount["target"]: mount["source"] for mount in mounts}

    def _surroundings(self) -> dict[str, str]:
        programs = [self.programs, locate("temporal").path.parent, self.postgresql, Path(sys.executable).parent]
        path = [*programs, os.environ["PATH"]]
        return {"HOME": "/nonexistent", "PATH": os.pathsep.join(map(str, path))}

    def run_step(self, step: str) -> str:
        """Run a step's script as its container would, and return what it says. Raises CalledProcessError."""
        shell, script = self.compose["services"][step]["entrypoint"]
        return subprocess.run(
            [shell, self.mounts(step)[script]],
            env=self.settings(step),
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
        ).stdout

    def start_postgresql(self) -> None:
        """Start it, on the data that is there, as the image does."""
        data = self.folder / "postgresql"
        if not data.exists():
            settings = self.compose["services"]["postgresql"]["environment"]
            secret = self.folder / "password"
            secret.write_text(settings["POSTGRES_PASSWORD"])
            wanted = ["--username", settings["POSTGRES_USER"], *settings["POSTGRES_INITDB_ARGS"].split()]
            quick = ["--encoding", "UTF8", "--no-sync"]
            self._start_as_other("initdb", ["--pgdata", str(data), "--pwfile", str(secret), *wanted, *quick]).wait(
                timeout=60
            )
        port = self.ports["postgresql"]
        # What is tested survives a restart, not a power cut: no waiting for the disk.
        own = {"listen_addresses": LOOPBACK, "port": port, "unix_socket_directories": self.folder, "fsync": "off"}
        options = [word for name, value in own.items() for word in ("-c", f"{name}={value}")]
        self.servers["postgresql"] = self._start_as_other("postgres", ["-D", str(data), *options])
        self.wait_until_healthy("postgresql", ["--port", str(port)])

    def _start_as_other(self, program: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        # PostgreSQL refuses to run as root.
        start = dies_with_parent()
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            start = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
            start += ["--pdeathsig=KILL"]
        return self._start("postgresql", [*start, str(self.postgresql / program), *arguments], self._surroundings())

    def start_temporal(self) -> None:
        """Start the server with the configuration that its image would make."""
        settings = self.settings("temporal")
        settings |= {name: str(port) for name, port in self.ports.items() if name.isupper()}
        text = self.checker.template(self.programs / "config_template.yaml", settings)
        self.servers["temporal"] = self._start_configured("temporal", "temporal-server", text, settings)
        self.wait_until_healthy("temporal", ["--address", self.address])

    def start_ui(self) -> None:
        """Start the web UI."""
        settings = self.settings("ui") | {"TEMPORAL_UI_PORT": str(self.ports["ui"])}
        text = (self.programs / "ui.yaml").read_text()
        self.servers["ui"] = self._start_configured("ui", "ui-server", text, settings)
        self.wait_until_healthy("ui", ["--connect-to", f"::{LOOPBACK}:{self.ports['ui']}"])

    def start_ours(self, service: str, command: Sequence[str], secrets: Mapping[str, str]) -> None:
        """Start a service of the image of this repository, from this checkout.

        Args:
            service: Its name.
            command: What its container would start, with the address moved.
            secrets: Files for what Compose would mount, by the name of the secret.
        """
        files = {f"/run/secrets/{name}": path for name, path in secrets.items()}
        settings = {name: files.get(value, value) for name, value in self.settings(service).items()}
        if "TASKROLL_SERVICES" in settings:
            text = Path(settings["TASKROLL_SERVICES"]).read_text()
            for there, here in files.items():
                text = text.replace(there, here)
            (self.folder / "services.yaml").write_text(text)
            settings |= {
                "TASKROLL_SERVICES": str(self.folder / "services.yaml"),
                "TASKROLL_LISTEN": f"{LOOPBACK}:{self.ports[service]}",
            }
        program = Path(sys.executable).with_name(command[0])
        self.servers[service] = self._start(service, [*dies_with_parent(), str(program), *command[1:]], settings)
        target = self.compose["services"][service]["ports"][0]["target"]
        self.wait_until_healthy(service, [], {str(target): str(self.ports[service])})

    def _start_configured(
        self, service: str, program: str, configuration: str, settings: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        (self.folder / service).mkdir(exist_ok=True)
        (self.folder / service / "docker.yaml").write_text(configuration)
        arguments = ["--root", str(self.folder), "--config", service, "--env", "docker", "start"]
        return self._start(service, [*dies_with_parent(), str(self.programs / program), *arguments], settings)

    def _start(self, service: str, command: list[str], settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with self._log(service).open("ab") as log:
            process = subprocess.Popen(
                command, env=dict(settings), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.ended.callback(_end, process)
        return process

    def _log(self, service: str) -> Path:
        return self.folder / f"{service}.log"

    def wait_until_healthy(self, service: str, moved: Sequence[str], changed: Mapping[str, str] | None = None) -> None:
        """Ask with the service's own health check until it says yes.

        Args:
            service: Its name.
            moved: Options for the check's command that say where the service really listens.
            changed: Words of the check's command that are others here.
        """
        test: list[str] = self.compose["services"][service]["healthcheck"]["test"]
        assert test[0] == "CMD"
        here = changed or {}
        check = [here.get(word, word) for word in test[1:]]
        deadline = time.monotonic() + 60
        while (asked := self._ask([*check, *moved])).returncode != 0:
            if self.servers[service].poll() is not None or time.monotonic() > deadline:
                log = self._log(service).read_text(errors="replace")
                pytest.fail(f"{service} is not healthy: {asked.stderr}\n{log[-3000:]}")
            time.sleep(0.1)

    def _ask(self, check: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(check, env=self._surroundings(), capture_output=True, text=True, timeout=20)

    def stop(self, service: str) -> int:
        """Ask the service to end, as Compose does, and return its exit code."""
        # PostgreSQL's image names SIGINT: at SIGTERM it would wait for its clients to leave.
        self.servers[service].send_signal(signal.SIGINT if service == "postgresql" else signal.SIGTERM)
        return self.servers[service].wait(timeout=30)

    def sql(self, database: str, statement: str) -> str:
        """What the database answers."""
        where = f"postgresql://temporal@{LOOPBACK}:{self.ports['postgresql']}/{database}"
        return subprocess.run(
            [self.postgresql / "psql", "--no-psqlrc", "--tuples-only", "--no-align", where, "--command", statement],
            env=self._surroundings() | {"PGPASSWORD": PASSWORD},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        # At once for all of them, and PostgreSQL takes its own children along.
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
