"""The fence in the API server: whether its policies are there, and whether they refuse what they should."""

from taskroll.cluster.errors import AlreadyExists
from taskroll.cluster.fence import read_fence
from taskroll.cluster.fence_enforcement import POLICIES, await_enforcement, in_words, missing_policies
from taskroll.cluster.fence_state import FENCE_NAME
from taskroll.cluster.objects import create_object
from taskroll.cluster.resources import CONFIG_MAP, UNIT_TASK_INSTANCE
from taskroll.cluster.rights import Right, may, whoami
from taskroll.cluster.transport import JsonObject
from taskroll.models.errors import RefusedByCluster, TamperedState

from .findings import Finding, Remedy, ok
from .place import Place

_WRITE_STATE = Right("", CONFIG_MAP.plural, "create")
_CREATE_INSTANCES = Right("cornserve.ai", UNIT_TASK_INSTANCE.plural, "create")
STATE_POLICY = "taskroll-state"
ENFORCED_WITHIN = 2.0
"""Seconds; a fence that stands is enforced some milliseconds after it was raised."""


async def check_admission(place: Place) -> list[Finding]:
    """Whether the admission policies are installed and bound, and act."""
    missing = await missing_policies(place.cluster)
    if missing:
        return [
            Finding(
                check="admission",
                state="problem",
                message=f"{in_words(missing)}: updates are rejected, but for --fence best-effort",
                remedies=[Remedy(purpose="install them", command=place.commands.apply("admission"))],
            )
        ]
    if (unheeded := await _unheeded(place)) is not None:
        return [Finding(check="admission", state="problem", message=unheeded)]
    return [ok("admission", f"all {len(POLICIES)} policies are bound to deny", await _tried(place))]


async def _tried(place: Place) -> list[str]:
    if await may(place.cluster, place.namespace, _WRITE_STATE):
        return []
    return ["whether they act could not be tried: these credentials may write nothing that they refuse"]


async def _unheeded(place: Place) -> str | None:
    """What the API server lets pass that a policy should refuse; tried in dry runs, as far as these rights go."""
    body: JsonObject = {"metadata": {"name": FENCE_NAME}, "data": {}}
    user = await whoami(place.cluster)
    if not user.is_taskroll(place.namespace) and await may(place.cluster, place.namespace, _WRITE_STATE):
        try:
            await create_object(
                place.cluster, CONFIG_MAP, place.namespace, body, manager="taskroll-probe", dry_run=True
            )
            is_refused = False
        except AlreadyExists:
            is_refused = False
        except RefusedByCluster as error:
            is_refused = STATE_POLICY in error.message
        if not is_refused:
            return (
                f"the policies are bound, and the API server still lets {user.name} write "
                f"ConfigMap/{FENCE_NAME}: see which namespaces and users the bindings leave out"
            )
    try:
        holders = (await read_fence(place.cluster, place.namespace)).holders
    except TamperedState:
        # Check «fence» tells.
        return None
    if holders and await may(place.cluster, place.namespace, _CREATE_INSTANCES):
        probe = holders[0].probe_class
        if not await await_enforcement(place.cluster, place.namespace, probe, within=ENFORCED_WITHIN):
            return (
                f"the fence of {holders[0].entry.request_id} is up, and the API server lets instances of its task "
                "classes pass. Where the policies had been removed and installed again, restart the API server: it no "
                "longer sees ConfigMaps (kubernetes issue 130887)"
            )
    return None
