"""Run as `python -m taskroll.devstack.sdk_download KIND VERSION FOLDER`: let the Temporal SDK download a server."""

import asyncio
import os
import sys

from temporalio.testing import WorkflowEnvironment


async def _download(kind: str, version: str, folder: str) -> None:
    if kind == "dev-server":
        environment = await WorkflowEnvironment.start_local(  # pyright: ignore[reportUnknownMemberType]
            download_dest_dir=folder, dev_server_download_version=version, dev_server_log_level="error"
        )
    else:
        environment = await WorkflowEnvironment.start_time_skipping(
            download_dest_dir=folder, test_server_download_version=version
        )
    await environment.shutdown()


def main() -> None:
    """Start the server, which downloads it, and stop it again."""
    code = 0
    try:
        asyncio.run(_download(*sys.argv[1:]))
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        code = 1
    sys.stderr.flush()
    # The SDK's threads can crash an interpreter that winds down right after a call.
    os._exit(code)


if __name__ == "__main__":
    main()
