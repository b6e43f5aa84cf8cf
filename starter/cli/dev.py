"""`taskroll dev up|down|status`: real Temporal and a real Kubernetes API server on this machine, without containers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from starter.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from taskroll.devstack import DevStack, StackInfo
    from taskroll.devstack.versions import BinaryName

app = typer.Typer(
    help="A local stack: Temporal with its web UI, etcd and kube-apiserver, without containers.", no_args_is_help=True
)

_DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="TASKROLL_DEV_DIR",
        help="Holds all that outlives a restart; ~/.local/share/taskroll/dev by default.",
        show_default=False,
    ),
]
_Output = Annotated[Literal["table", "json"], typer.Option("--output", "-o", help="How the answer is printed.")]


_AGENT_TOKEN_SECONDS = 30 * 24 * 3600
"""A new one is issued at each `up`."""


@app.command()
def up(
    data_dir: _DataDir = None,
    foreground: Annotated[
        bool, typer.Option("--foreground/--detach", help="Stay until Ctrl-C and end the stack, or leave it running.")
    ] = False,
    controllers: Annotated[
        bool, typer.Option("--controllers", help="Run kube-controller-manager too, so that Deployments have an effect.")
    ] = False,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", envvar="TASKROLL_NAMESPACE", help="Where taskroll is installed.")
    ] = "cornserve",
    bare: Annotated[bool, typer.Option("--bare", help="Install nothing in the cluster.")] = False,
    output: _Output = "table",
) -> None:
    """Start the stack, or find it running, install taskroll in it, and print how to reach it.

    What is printed can be given to `eval` in a shell: it has what worker, deploy tool and agents need. The first start
    on a machine may build the servers, which takes minutes and says so on stderr.
    """
    from starter.settings import Flags, resolve
    from taskroll.devstack import DevStack, DevStackError
    from taskroll.devstack.components import DEFAULT_COMPONENTS
    from taskroll.devstack.errors import DataFolderUnusable
    from taskroll.models.errors import InvalidRequest

    try:
        resolve(Flags(namespace=namespace))
    except InvalidRequest as error:
        raise _failure(f"error: {error.message}", ExitCode.BAD_INPUT) from error
    wanted: list[BinaryName] = [*DEFAULT_COMPONENTS]
    if controllers:
        wanted.append("kube-controller-manager")
    stack = DevStack(_resolved(data_dir), components=wanted, detach=not foreground)
    try:
        info, started = stack.ensure()
    except DataFolderUnusable as error:
        raise _failure(f"error: --data-dir or TASKROLL_DEV_DIR: {error}", ExitCode.BAD_INPUT) from error
    except DevStackError as error:
        raise _failure(str(error)) from error
    if not started:
        typer.echo(f"runs already, since {info.started_at:%Y-%m-%d %H:%M:%S} UTC", err=True)
        if missing := set(wanted) - info.components.keys():
            typer.echo(f"but without {', '.join(sorted(missing))}: `taskroll dev down` first", err=True)
    agent = {} if bare else _installed(info, namespace)
    typer.echo(info.model_dump_json(indent=2) if output == "json" else _reach(info, agent))
    if foreground and started:
        _stay(stack)


@app.command()
def down(
    data_dir: _DataDir = None,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Delete workflows, objects, tokens and logs as well.")
    ] = False,
) -> None:
    """Stop the stack; its data stays for the next `up`, unless told otherwise. No stack is no error."""
    from taskroll import devstack

    folder = _resolved(data_dir)
    try:
        devstack.stop_stack(folder)
        typer.echo("stopped", err=True)
    except devstack.StackNotRunning as error:
        typer.echo(str(error), err=True)
    except devstack.DevStackError as error:
        raise _failure(str(error)) from error
    if delete_data:
        devstack.delete_data(folder)
        typer.echo(f"data in {folder} deleted", err=True)


@app.command()
def status(data_dir: _DataDir = None, output: _Output = "table") -> None:
    """Show what runs: addresses, versions, processes, since when. Exit code 4 if the stack does not run."""
    from taskroll.devstack import stack_status

    found = stack_status(_resolved(data_dir))
    if output == "json":
        typer.echo(found.model_dump_json(indent=2))
    elif found.state == "running" and found.info:
        typer.echo(_reach(found.info, {}))
        typer.echo(_processes(found.info))
    else:
        words = {
            "changing": "is starting or stopping",
            "crashed": "ended without being stopped; its data is kept, `taskroll dev up` goes on with it",
            "stopped": "is stopped; its data is kept",
        }
        typer.echo(f"# the stack on {found.data_dir} {words.get(found.state, 'does not exist')}")
    raise typer.Exit(ExitCode.DONE if found.state == "running" else ExitCode.UNREACHABLE)


def _resolved(data_dir: Path | None) -> Path:
    from taskroll.devstack.layout import default_data_dir

    return data_dir.expanduser().absolute() if data_dir else default_data_dir()


def _installed(info: StackInfo, namespace: str) -> dict[str, str]:
    """Install what `kubectl apply -k deploy` does, and Cornserve's CRDs; return the variables of an agent."""
    import asyncio
    import secrets

    from taskroll.cluster.connection import Cluster
    from taskroll.cluster.errors import ClusterError
    from taskroll.cluster.kubeconfig import ClusterSettings
    from taskroll.cluster.manifests import DEV_FOLDERS, install
    from taskroll.devstack.agent_environment import agent_environment
    from taskroll.devstack.layout import DataLayout

    folder = DataLayout(info.data_dir).kube
    token = folder / "agent-caller-token"
    if not token.exists():
        token.touch(mode=0o600)
        token.write_text(secrets.token_urlsafe(24))

    async def run() -> dict[str, str]:
        administrator = ClusterSettings(kubeconfig=str(info.kubeconfig), context="admin")
        async with await Cluster.connect(administrator) as cluster:
            await install(cluster, namespace, folders=DEV_FOLDERS)
            return await agent_environment(info, folder, namespace, cluster, valid_seconds=_AGENT_TOKEN_SECONDS)

    try:
        found = asyncio.run(run())
    except ClusterError as error:
        raise _failure(f"the stack runs, but taskroll could not be installed in it: {error.message}") from error
    return {"TASKROLL_NAMESPACE": namespace, **found, "TASKROLL_AGENT_TOKEN": token.read_text()}


def _reach(info: StackInfo, agent: dict[str, str]) -> str:
    import shlex

    facts = [
        ("web UI", info.ui_url),
        ("Temporal", f"{info.temporal_address}, namespace {info.temporal_namespace}"),
        ("Kubernetes", f"{info.kube_url}, contexts admin, taskroll, developer"),
        ("data", str(info.data_dir)),
    ]
    lines = [f"# {name:<11}{value}" for name, value in facts]
    return "\n".join(
        lines + [f"export {key}={shlex.quote(value)}" for key, value in {**info.environment(), **agent}.items()]
    )


def _processes(info: StackInfo) -> str:
    from datetime import UTC, datetime

    from taskroll.models.wording import counted

    age = str(datetime.now(UTC) - info.started_at).split(".")[0]
    lines = [f"# since      {info.started_at:%Y-%m-%d %H:%M:%S} UTC ({age}), supervisor {info.supervisor_pid}"]
    for part in info.components.values():
        life = f"pid {part.pid}" if part.pid else "down"
        again = f", restarted {counted(part.restarts, 'time')}" if part.restarts else ""
        lines.append(f"# {part.name} {part.version}: {life}{again}, from {part.source} {part.binary}, log {part.log}")
    return "\n".join(lines)


def _stay(stack: DevStack) -> None:
    """Hold the stack until Ctrl-C or SIGTERM, then end it in order."""
    import signal

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    typer.echo("running; Ctrl-C ends it", err=True)
    try:
        stack.wait()
    except KeyboardInterrupt:
        typer.echo("stopping", err=True)
        stack.stop()
        return
    raise _failure("the stack ended by itself; see its logs")


def _failure(message: str, code: ExitCode = ExitCode.UNREACHABLE) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(code)
