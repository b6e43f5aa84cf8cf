"""A service process that calls its tasks all the time, while whoever started it swaps them; ends with its input."""

import sys
import threading

from taskroll_agent import Agent, serve_in_thread


def main() -> None:
    agent = Agent()
    thread = serve_in_thread(agent, "127.0.0.1", 0)
    ended = threading.Event()

    @agent.registry.leased
    def call() -> None:
        user = agent.registry.get("User")
        user().late()
        user().run(None)

    def calls() -> None:
        while not ended.wait(0.001):
            call()

    caller = threading.Thread(target=calls)
    caller.start()
    print(thread.address[1], flush=True)
    sys.stdin.read()
    ended.set()
    caller.join()
    thread.stop()


if __name__ == "__main__":
    main()
