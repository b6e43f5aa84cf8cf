"""A service without the agent, as a process: it reads the custom resources once, when it starts.

It ends with an error where a module does not import. ``GET /`` answers which VERSION each class has.
"""

import importlib
import json
import os
import ssl
import sys
import tempfile
import urllib.request
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any


def read_definitions() -> list[dict[str, Any]]:
    url = f"{os.environ['KUBE_URL']}/apis/cornserve.ai/v1/namespaces/{os.environ['NAMESPACE']}/taskdefinitions"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {os.environ['KUBE_TOKEN']}"})
    context = ssl.create_default_context(cafile=os.environ["KUBE_CA"])
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:
        return [item["spec"] for item in json.load(answer)["items"]]


def import_classes(folder: Path) -> dict[str, int]:
    specs = read_definitions()
    for spec in specs:
        path = folder.joinpath(*spec["moduleName"].split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b64decode(spec["sourceCode"]))
    sys.path.insert(0, str(folder))
    modules = {spec["taskClassName"]: importlib.import_module(spec["moduleName"]) for spec in specs}
    return {name: getattr(module, name).VERSION for name, module in modules.items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        versions = import_classes(Path(folder))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(versions).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...

    HTTPServer((os.environ["ADDRESS"], int(os.environ["PORT"])), Handler).serve_forever()


if __name__ == "__main__":
    main()
