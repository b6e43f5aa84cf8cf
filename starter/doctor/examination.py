"""All checks of one place, in the order in which they are shown."""

import asyncio

from .admission import check_admission
from .api_server import check_kinds, check_reachable, check_rights
from .apps import check_apps
from .drift import check_drift
from .findings import Diagnosis
from .place import Place, found
from .records import check_records
from .release import check_release
from .running import check_instances, check_replicas
from .temporal import check_temporal
from .updates import check_updates
from .workers import check_workers


async def examine(place: Place) -> Diagnosis:
    """Look at everything, change nothing.

    What cannot be looked at is skipped and says why; one check that fails leaves the others standing.
    """
    reachable, temporal = await asyncio.gather(
        found("api-server", check_reachable(place)), found("temporal", check_temporal(place))
    )
    answers = reachable[0].state != "problem"
    asking = found("workers", check_workers(place))
    if not answers:
        groups = [reachable, temporal, await asking]
    else:
        kinds, rights, admission, *rest = await asyncio.gather(
            found("crds", check_kinds(place)),
            found("rights", check_rights(place)),
            found("admission", check_admission(place)),
            asking,
            found("release", check_release(place)),
            found("updates", check_updates(place)),
            found("definitions", check_drift(place)),
            found("replicas", check_replicas(place)),
            found("instances", check_instances(place)),
            found("apps", check_apps(place)),
            found("records", check_records(place)),
        )
        groups = [reachable, kinds, rights, admission, temporal, *rest]
    return Diagnosis(namespace=place.namespace, findings=[finding for group in groups for finding in group])
