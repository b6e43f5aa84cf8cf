"""The API server: whether it answers, knows taskroll's kinds, and grants what the deploy tool does."""

import re
from typing import cast

from taskroll.cluster.connection import Cluster
from taskroll.cluster.errors import Unavailable, UnknownResource
from taskroll.cluster.fence_state import FENCE_NAME
from taskroll.cluster.records import RECORD_HEAD_NAME
from taskroll.cluster.resources import (
    CONFIG_MAP,
    CONTROLLER_REVISION,
    EXECUTION_DESCRIPTOR,
    TASK_DEFINITION,
    TASK_UPDATE,
    UNIT_TASK_INSTANCE,
)
from taskroll.cluster.rights import Right, lacking_rights, whoami
from taskroll.cluster.transport import Call, JsonObject
from taskroll_agent.contracts import POINTER_NAME

from .findings import Finding, Remedy, ok
from .place import Place

OLDEST = (1, 30)
"""The first Kubernetes whose ValidatingAdmissionPolicy is stable."""

NEEDED = (
    *(Right("cornserve.ai", TASK_DEFINITION.plural, verb) for verb in ("get", "list")),
    *(Right("cornserve.ai", EXECUTION_DESCRIPTOR.plural, verb) for verb in ("get", "list")),
    Right("cornserve.ai", UNIT_TASK_INSTANCE.plural, "list"),
    *(Right("taskroll.dev", TASK_UPDATE.plural, verb) for verb in ("get", "list")),
    *(Right("apps", CONTROLLER_REVISION.plural, verb) for verb in ("get", "list", "create")),
    *(Right("", CONFIG_MAP.plural, "get", name) for name in (POINTER_NAME, FENCE_NAME, RECORD_HEAD_NAME)),
)
"""What the deploy tool does with its user's rights; a part of the role ``taskroll-developer``."""


async def check_reachable(place: Place) -> list[Finding]:
    """Whether it answers, and is new enough."""
    try:
        version = await place.cluster.check_reachable()
    except Unavailable as error:
        message = f"{error.message}; see --kubeconfig and --context"
        return [Finding(check="api-server", state="problem", message=message)]
    numbers = re.match(r"v(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
        message = f"{version} answers; the fence needs 1.30, and updates need --fence best-effort"
        return [Finding(check="api-server", state="warning", message=message)]
    return [ok("api-server", f"{version} answers")]


async def check_kinds(place: Place) -> list[Finding]:
    """Whether the CRDs are installed."""
    wanted = {
        "crds": (TASK_UPDATE,),
        "crds/cornserve": (TASK_DEFINITION, EXECUTION_DESCRIPTOR, UNIT_TASK_INSTANCE),
    }
    missing: list[str] = []
    remedies: list[Remedy] = []
    for folder, resources in wanted.items():
        served = await _served(place.cluster, resources[0].api_version)
        lacking = [f"{each.plural} ({each.api_version})" for each in resources if each.plural not in served]
        if lacking:
            missing += lacking
            whose = "taskroll's" if folder == "crds" else "Cornserve's, unless the platform brings its own"
            remedies.append(Remedy(purpose=f"install {whose}", command=place.commands.apply(folder)))
    if not missing:
        return [ok("crds", "all kinds are served")]
    message = "the API server does not know kinds that taskroll needs"
    return [Finding(check="crds", state="problem", message=message, details=missing, remedies=remedies)]


async def _served(cluster: Cluster, api_version: str) -> set[str]:
    try:
        answer = await cluster.send(Call("read", f"/apis/{api_version}", "APIResourceList"))
    except UnknownResource:
        return set()
    return {str(each["name"]) for each in cast("list[JsonObject]", answer.get("resources") or [])}


async def check_rights(place: Place) -> list[Finding]:
    """Whether these credentials may do what the deploy tool does."""
    user = (await whoami(place.cluster)).name
    denied = [str(right) for right in await lacking_rights(place.cluster, place.namespace, NEEDED)]
    if not denied:
        return [ok("rights", f"{user} may do what the deploy tool does")]
    role = "--role taskroll-developer --user " + f"'{user}'"
    bind = f"create rolebinding taskroll-developer-{re.sub(r'[^a-z0-9]+', '-', user.lower()).strip('-')} {role}"
    return [
        Finding(
            check="rights",
            state="problem",
            message=f"{user} may not do all that the deploy tool does",
            details=denied,
            remedies=[Remedy(purpose="bind the role of deploy/rbac", command=place.commands.kubectl(bind))],
        )
    ]
