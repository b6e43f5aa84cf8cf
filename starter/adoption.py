"""What is live as a request: the release takes it as it is, and no custom resource is written."""

from collections.abc import Mapping, Sequence

from taskroll.cluster.definitions import LiveDefinition
from taskroll.models.errors import InvalidRequest
from taskroll.models.request import SubmittedRequest, UpdateRequest
from taskroll_agent.contracts import DefinitionContent, Release

from .cluster_connection import ClusterConnection
from .package_request import DeployOptions
from .validation import validated


async def read_adoption(
    cluster: ClusterConnection, namespace: str, names: Sequence[str], options: DeployOptions
) -> UpdateRequest:
    """Ask for the release to take definitions as they are live, or to leave out those that are gone.

    Args:
        names: ``Kind/name`` or the name alone. None of them means all, on a cluster without a release.
        options: As for a deployment. Under a request id that was used for an adoption before, what was asked then.

    Raises:
        InvalidRequest: a name is unknown or ambiguous; a release exists and nothing is named; there is none, and
            something is named; nothing is live.
        ServiceUnavailable: the cluster is away.
    """
    live = await cluster.definitions()
    known = await cluster.request(options.request_id)
    if known is not None and known.adopt and _is_named(known, names):
        return _request(namespace, await cluster.contents(known.definitions), known.delete, options)
    release = await cluster.current_release()
    keys = _keys(names, live, release)
    contents = {key: live[key].content for key in keys if key in live}
    return _request(namespace, contents, [key for key in keys if key not in live], options)


def _keys(names: Sequence[str], live: Mapping[str, LiveDefinition], release: Release | None) -> list[str]:
    if release is None and names:
        raise InvalidRequest(
            "there is no release yet, and the first one takes all definitions that are live: leave the names out"
        )
    if release is not None and not names:
        raise InvalidRequest(
            f"release {release.epoch} exists already. See what differs from it with: taskroll doctor. Then name the "
            "definitions to take as they are (taskroll adopt DEFINITION), or bring back what was released (taskroll "
            f"rollback --to {release.epoch})"
        )
    if not names and not live:
        raise InvalidRequest("there is nothing to adopt: no definition is live in this namespace")
    everything = sorted([*live, *(key for key in (release.definitions if release else {}) if key not in live)])
    return sorted({_key(name, everything) for name in names}) if names else everything


def _key(name: str, everything: Sequence[str]) -> str:
    found = [key for key in everything if _means(name, key)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidRequest(f"definition {name!r}: may be {' or '.join(found)}; write one of them")
    raise InvalidRequest(f"definition {name!r}: neither live nor in the release; see taskroll versions and doctor")


def _is_named(known: SubmittedRequest, names: Sequence[str]) -> bool:
    """Whether these names, or their absence, are how the request that is stored may have been asked for."""
    keys = {*known.definitions, *known.delete}
    meant = [{key for key in keys if _means(name, key)} for name in names]
    return not names or (all(meant) and set().union(*meant) == keys)


def _means(name: str, key: str) -> bool:
    return name in (key, key.partition("/")[2])


def _request(
    namespace: str, contents: Mapping[str, DefinitionContent], gone: Sequence[str], options: DeployOptions
) -> UpdateRequest:
    return validated(
        "the adoption cannot be asked for",
        lambda: UpdateRequest(
            request_id=options.request_id,
            namespace=namespace,
            requested_by=options.requested_by,
            reason=options.reason,
            definitions=list(contents.values()),
            delete=list(gone),
            adopt=True,
            policy=options.policy,
        ),
    )
