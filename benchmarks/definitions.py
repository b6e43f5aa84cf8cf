"""The definitions that the benchmarks update: K task classes in modules of their own, of a realistic size."""

import base64

from taskroll_agent.contracts import DefinitionContent

PACKAGE = "bench_tasklib.task.unit"
SOURCE_BYTES = 8_000
"""Of each module; those of Cornserve's own task library have 5 to 40 KB."""

_METHOD = '''
    def step_{number}(self, payload):
        """One of the steps that this task takes."""
        return {{**payload, "step_{number}": len(payload)}}
'''


def library(version: int, count: int) -> list[DefinitionContent]:
    """`count` definitions, all of them changed with the version."""
    return [_definition(number, version) for number in range(count)]


def probed_class(count: int) -> str:
    """The class whose VERSION tells what a replica runs: the last one to be written."""
    return f"BenchTask{count - 1}"


def _definition(number: int, version: int) -> DefinitionContent:
    lines = [f"class BenchTask{number}:\n    VERSION = {version}\n"]
    while sum(map(len, lines)) < SOURCE_BYTES:
        lines.append(_METHOD.format(number=len(lines)))
    return DefinitionContent(
        kind="TaskDefinition",
        name=f"bench-task-{number}",
        spec={
            "taskClassName": f"BenchTask{number}",
            "moduleName": f"{PACKAGE}.bench_task_{number}",
            "sourceCode": base64.b64encode("".join(lines).encode()).decode(),
            "isUnitTask": True,
        },
    )
