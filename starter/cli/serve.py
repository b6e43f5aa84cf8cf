"""``taskroll serve``: the update endpoint as a process of its own."""

from pathlib import Path
from typing import Annotated

import typer

from starter.cli.command import Target, command


@command
async def serve(
    target: Target,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Other than loopback only with a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks one.", min=0, max=65535)] = 8470,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the bearer tokens that are accepted, one a line. (env TASKROLL_HTTP_TOKEN_FILE; "
            "or the tokens themselves in TASKROLL_HTTP_TOKEN)"
        ),
    ] = None,
) -> None:
    """Serve the update endpoint over HTTP. OpenAPI under /docs."""
    from starter.http.serving import serve_until_stopped

    await serve_until_stopped(target.settings(), host, port, token_file)
