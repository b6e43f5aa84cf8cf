"""A service of threads, without an event loop: ``python -m examples.wsgi_service HOST PORT AGENT_PORT``.

A WSGI app in the threads of its server. The agent runs in a thread of its own with its endpoints on a port of their
own. ``POST /encode`` has the text as its body, and answers which version of the task made the answer.

Settings of the agent come from the environment (``TASKROLL_AGENT_…``).
"""

import json
import sys
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from taskroll_agent import Agent, serve_in_thread

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def application(agent: Agent) -> "WSGIApplication":
    """The WSGI app."""

    def encode(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        text = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
        with agent.gate.call(["EncoderTask"]), agent.registry.lease() as generation:
            answer = generation.get("EncoderTask")().invoke({"text": text})
            body = json.dumps(answer).encode()  # in the block: an iterable read later would run outside of it
        start_response("200 OK", [("Content-Type", "application/json")])
        return [body]

    return encode


class ThreadingServer(ThreadingMixIn, WSGIServer):
    """A thread for each request."""

    daemon_threads = True


class QuietHandler(WSGIRequestHandler):
    """Writes no line for each request."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def main(host: str, port: int, agent_port: int) -> None:
    """Serve until interrupted."""
    agent = Agent()
    thread = serve_in_thread(agent, host, agent_port)
    with make_server(host, port, application(agent), ThreadingServer, QuietHandler) as server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            thread.stop()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
