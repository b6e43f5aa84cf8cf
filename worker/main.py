"""The worker process: ``taskroll-worker``."""

import asyncio
import contextlib
import signal
import socket
import sys

import structlog
from pydantic import ValidationError
from temporalio.service import RPCError

from taskroll.models.errors import TaskrollError
from taskroll.models.wording import transport_cause
from taskroll.process_exit import end_process

from . import health, logs
from .schedule import keep_schedules
from .settings import WorkerSettings
from .wiring import Connections, connect, create_worker, sdk_runtime

log = structlog.stdlib.get_logger("taskroll.worker")

EXIT_BAD_SETTINGS = 2
EXIT_UNREACHABLE = 4


def main() -> None:
    """Run until SIGTERM or SIGINT; then let running activities end within the graceful time-out.

    Exit status: 0 after a signal, 2 for settings that are wrong, 4 where Temporal or the API server cannot be reached.
    """
    try:
        settings = WorkerSettings.from_command_line()
        logs.configure(settings.log_format, settings.log_level)
        listening = _listen(settings.listen)
    except ValidationError as error:
        sys.exit(_say(_findings(error), EXIT_BAD_SETTINGS))
    except ValueError as error:
        sys.exit(_say(str(error), EXIT_BAD_SETTINGS))
    try:
        asyncio.run(_run(settings, listening))
    except TaskrollError as error:
        # Configuration that is wrong has no retryable error; what is retryable is out of reach.
        end_process(_say(error.message, EXIT_UNREACHABLE if error.retryable else EXIT_BAD_SETTINGS))
    except (RuntimeError, RPCError, OSError) as error:
        end_process(
            _say(f"Temporal cannot be reached: {transport_cause(error)}; see --temporal-address", EXIT_UNREACHABLE)
        )
    end_process(0)


async def _run(settings: WorkerSettings, listening: socket.socket | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sdk_metrics = f"127.0.0.1:{_free_port()}" if listening else None
    async with (
        connect(settings, runtime=sdk_runtime(sdk_metrics)) as connections,
        _endpoint(listening, connections, sdk_metrics),
        create_worker(connections, settings),
    ):
        await keep_schedules(connections.temporal, settings)
        log.info(
            "worker runs",
            task_queue=settings.task_queue,
            temporal=connections.temporal.service_client.config.target_host,
            services=[service.name for service in connections.fleet.config.services],
            listen=settings.listen,
        )
        await stop.wait()
        log.info("worker stops", graceful_seconds=settings.graceful_shutdown_timeout)


@contextlib.asynccontextmanager
async def _endpoint(listening: socket.socket | None, connections: Connections, sdk_metrics: str | None):
    if listening is None:
        yield
        return

    async def probe() -> dict[str, str]:
        wrong: dict[str, str] = {}
        try:
            await connections.cluster.check_reachable()
        except TaskrollError as error:
            wrong["kubernetes"] = error.message
        try:
            if not await connections.temporal.service_client.check_health():
                wrong["temporal"] = "not serving"
        except RPCError as error:
            wrong["temporal"] = str(error)
        return wrong

    url = f"http://{sdk_metrics}/metrics" if sdk_metrics else None
    server = health.create_server(health.create_app(probe, url))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def _listen(listen: str) -> socket.socket | None:
    """Listen on ``host:port``; None for an empty text.

    Raises:
        ValueError: for anything else, and where that address cannot be had.
    """
    if not listen:
        return None
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"listen: {listen!r} is no host:port; write 127.0.0.1:9090, or '' for no endpoint")
    address = host.strip("[]"), int(port)
    try:
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server(address, family=family)
    except OSError as error:
        raise ValueError(
            f"listen: {listen!r} cannot be listened on: {error.strerror or error}; name another address with "
            "--listen HOST:PORT, or '' for no endpoint"
        ) from error


def _findings(error: ValidationError) -> str:
    """Setting, what is wrong with it, and its value, for each that is wrong."""
    return "; ".join(
        f"{'.'.join(map(str, each['loc']))}: {each['msg']} (was {each['input']!r:.80})" for each in error.errors()
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _say(message: str, status: int) -> int:
    print(f"taskroll-worker: {message}", file=sys.stderr)  # noqa: T201
    return status


if __name__ == "__main__":
    main()
