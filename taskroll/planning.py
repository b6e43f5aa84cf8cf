"""How a plan follows from a request and the live state. Pure: reads nothing, writes nothing."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from taskroll_agent.contracts import DefinitionContent, DefinitionKey, ReleaseEntry

from .models.errors import InvalidRequest, InvalidSource
from .models.plan import Action, DefinitionChange, FormerObject
from .models.request import SubmittedRequest
from .models.wording import counted
from .tasklib.checks import check_sources
from .tasklib.closure import closure_of_change, sources_of
from .tasklib.import_graph import ImportGraph, import_graph
from .tasklib.problems import errors


@dataclass(frozen=True)
class LiveState:
    """The definitions of a namespace as they are: content, and what a restore needs."""

    contents: Mapping[str, DefinitionContent]
    entries: Mapping[str, ReleaseEntry]
    former: Mapping[str, FormerObject]


@dataclass(frozen=True)
class Extent:
    """How far a change reaches."""

    closure: list[str]
    depends_on: list[str]
    task_classes: list[str]


def wanted_entries(
    request: SubmittedRequest,
    current: Mapping[str, ReleaseEntry],
    target: Mapping[str, ReleaseEntry] | None,
) -> dict[str, ReleaseEntry | None]:
    """What the request wants of each definition that it speaks of; None where it shall be gone.

    Args:
        current: definitions of the current release; what a rollback may delete.
        target: definitions of the release to go back to; None where the request is no rollback.
    """
    if target is not None:
        gone: dict[str, ReleaseEntry | None] = {key: None for key in current if key not in target}
        return {**gone, **target}
    commit = None
    if request.git is not None:
        commit = request.git.commit + ("-dirty" if request.git.dirty else "")
    wanted: dict[str, ReleaseEntry | None] = {
        key: ReleaseEntry(digest=digest, git_commit=commit) for key, digest in request.definitions.items()
    }
    return {**wanted, **dict.fromkeys(request.delete)}


def adopted_entries(
    request: SubmittedRequest, live: Mapping[str, ReleaseEntry], released: Mapping[str, ReleaseEntry]
) -> dict[str, ReleaseEntry | None]:
    """What an adoption wants of each definition: what is live. None where it is gone and the release still has it.

    Args:
        released: definitions of the current release; empty where there is none.

    Raises:
        InvalidRequest: where what is live is not what was to be adopted, or a first release would not take all of it.
    """
    moved = [key for key, digest in request.definitions.items() if key not in live or live[key].digest != digest]
    moved += [key for key in request.delete if key in live]
    if moved:
        raise InvalidRequest(
            f"{counted(len(moved), 'definition')} changed after the adoption was asked for; look at what is live with "
            "taskroll adopt --dry-run, then ask again",
            details=sorted(moved),
        )
    left = [] if released else sorted(live.keys() - request.definitions.keys())
    if left:
        raise InvalidRequest(
            "the first release takes all definitions of the namespace, and the request leaves some out; ask again with "
            "taskroll adopt, without names",
            details=left,
        )
    return {**{key: live[key] for key in request.definitions}, **dict.fromkeys(request.delete)}


def changed_keys(
    wanted: Mapping[str, ReleaseEntry | None],
    live: Mapping[str, ReleaseEntry],
    released: Mapping[str, ReleaseEntry],
    *,
    exactly: bool,
) -> list[str]:
    """Keys whose definition is not what is wanted, sorted: as a custom resource, or in the current release.

    Both count: somebody may have edited the custom resource to what is wanted now, and the replicas, which follow
    the release, do not run it.

    Args:
        live: the custom resources as they are.
        released: definitions of the current release; empty where there is none.
        exactly: also the recorded Git commit has to match: a rollback brings back the definition byte for byte, while
            the same source from another commit is no change for an update.
    """

    def same(entry: ReleaseEntry | None, now: ReleaseEntry | None) -> bool:
        if entry is None or now is None:
            return entry is now
        return entry == now if exactly else entry.digest == now.digest

    return sorted(
        key for key, entry in wanted.items() if not (same(entry, live.get(key)) and same(entry, released.get(key)))
    )


def foreign_edits(
    keys: Iterable[str], live: Mapping[str, ReleaseEntry], released: Mapping[str, ReleaseEntry]
) -> list[str]:
    """A warning for each of these definitions whose custom resource is not what the current release says."""
    return [
        f"{key} was {'changed' if key in live else 'deleted'} by somebody else since it was released"
        for key in keys
        if key in released and (key not in live or live[key].digest != released[key].digest)
    ]


def absent_deletions(
    delete: Iterable[str], live: Mapping[str, ReleaseEntry], released: Mapping[str, ReleaseEntry]
) -> list[str]:
    """A warning for each definition that shall be deleted and is neither live nor in the current release."""
    return [
        f"delete: there is no {key}, neither live nor released: nothing is done about it; is the name right?"
        for key in delete
        if key not in live and key not in released
    ]


def brought_along(keys: Collection[str], live: Collection[str]) -> list[str]:
    """A warning where a first release takes definitions as they are that the update does not change."""
    others = sorted(key for key in live if key not in keys)
    if not others:
        return []
    shown = ", ".join(others[:10]) + (f" and {len(others) - 10} more" if len(others) > 10 else "")
    return [
        f"there is no release yet: the first one takes what else is live as it is, and replicas load it too: {shown}. "
        "To take all of it as it is before anything changes: taskroll adopt"
    ]


def make_changes(
    keys: Iterable[str],
    wanted: Mapping[str, ReleaseEntry | None],
    contents: Mapping[str, DefinitionContent],
    live: LiveState,
    *,
    adopt: bool = False,
) -> list[DefinitionChange]:
    """The changes of a plan, in the order of their keys.

    Args:
        contents: by key, the wanted contents of those in `keys`; of those that shall be gone and are not live, the
            released ones.
        adopt: what is wanted is what is live.
    """
    changes: list[DefinitionChange] = []
    for key in keys:
        entry, former = wanted[key], live.former.get(key)
        kind, name = DefinitionKey.parse(key)
        content = contents[key] if key in contents else live.contents[key]
        action: Action = "delete" if entry is None else "adopt" if adopt else "change" if former else "create"
        changes.append(
            DefinitionChange(
                kind=kind,
                name=name,
                action=action,
                class_name=content.class_name,
                module=content.module,
                after=entry,
                former=former,
            )
        )
    return changes


def contents_after(
    live: Mapping[str, DefinitionContent], changes: Iterable[DefinitionChange], wanted: Mapping[str, DefinitionContent]
) -> dict[str, DefinitionContent]:
    """All definitions as they will be."""
    after = dict(live)
    for change in changes:
        key = str(change.key)
        if change.after is None:
            after.pop(key, None)
        else:
            after[key] = wanted[key]
    return after


def extent_of(
    changes: Iterable[DefinitionChange],
    before: Mapping[str, DefinitionContent],
    after: Mapping[str, DefinitionContent],
) -> Extent:
    """Closure of the changes over the import graphs before and after, what it depends on, and its task classes."""
    changed_modules = {change.module for change in changes}
    changed_modules |= {before[str(change.key)].module for change in changes if str(change.key) in before}
    graph_before, graph_after = import_graph(sources_of(before.values())), import_graph(sources_of(after.values()))
    modules = closure_of_change(graph_before, graph_after, changed_modules)
    needed = (_imported_by(graph_before, modules) | _imported_by(graph_after, modules)) - modules
    everything = {**before, **after}
    closure = sorted(key for key, content in everything.items() if content.module in modules)
    depends_on = sorted(key for key, content in everything.items() if content.module in needed)
    classes = {everything[key].task_class_name for key in closure}
    classes |= {before[key].task_class_name for key in closure if key in before}
    return Extent(closure=closure, depends_on=depends_on, task_classes=sorted(classes))


def _imported_by(graph: ImportGraph, modules: Iterable[str]) -> set[str]:
    """What these modules import, directly or through others."""
    reached: set[str] = set()
    front = list(modules)
    while front:
        found = graph.imports_of(front.pop()) - reached
        reached |= found
        front += found
    return reached


def refuse_bad_sources(
    after: Mapping[str, DefinitionContent], extent: Extent, changed: Collection[str], provided: Collection[str] = ()
) -> list[str]:
    """Check the sources of the closure, without running any of them. What is wrong elsewhere was so before.

    Args:
        after: All definitions as they are after the update.
        extent: Of the update.
        changed: Keys of the definitions that it changes.
        provided: modules of the tasks' packages that services have installed themselves.

    Returns:
        Warnings, one line each.

    Raises:
        InvalidSource: with all errors found in the closure.
    """
    scope = [after[key].key for key in extent.closure if key in after]
    problems = check_sources(after.values(), scope=scope, provided=provided)
    found = errors(problems)
    if found:
        broken = {problem.definition for problem in found} | {problem.module for problem in found}
        others = [key for key in extent.closure if key in after and key not in changed]
        ways_out = [
            f"{key} is not changed by this update, and builds on what is: deploy it mended along with it, or take it "
            f"away first: kubectl delete {after[key].key.kind.lower()} {after[key].key.name}"
            for key in others
            if broken & {key, after[key].module}
        ]
        raise InvalidSource(
            f"definitions: {counted(len(found), 'problem')} in the sources", details=[*map(str, found), *ways_out]
        )
    return [str(problem) for problem in problems]
