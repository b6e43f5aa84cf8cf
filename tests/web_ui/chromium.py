"""A Chromium to look at the web UI with."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> Path | None:
    """Return the browser that ``TASKROLL_CHROMIUM_BIN`` or ``PATH`` names.

    On a Debian machine where this runs as root, as on CI, Debian's package is installed (about a minute); nowhere
    else is anything put into the system.
    """
    named = os.environ.get("TASKROLL_CHROMIUM_BIN")
    if named:
        return Path(named)
    return _on_path() or (_install() if _may_install() else None)


def _on_path() -> Path | None:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    return Path(found) if found else None


def _may_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _install() -> Path | None:
    print("no Chromium here: installing Debian's package (about a minute)", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-dejavu-core"],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        if done.returncode:
            print(done.stderr[-2000:], file=sys.stderr)
    return _on_path()
