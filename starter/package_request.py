"""A task package on disk as the request that deploys it. Nothing of the package is imported or run."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from taskroll.models.apps import AppSource
from taskroll.models.errors import InvalidRequest, InvalidSource
from taskroll.models.policy import UpdatePolicy
from taskroll.models.request import UpdateRequest
from taskroll.tasklib.discovery import TaskPackage, discover
from taskroll.tasklib.git import git_provenance
from taskroll.tasklib.package_config import PackageConfigError
from taskroll.tasklib.package_files import PackagePathError
from taskroll.tasklib.problems import errors
from taskroll_agent.contracts import DefinitionContent, DefinitionKey

from .cluster_connection import ClusterConnection
from .validation import validated


@dataclass(frozen=True)
class DeployOptions:
    """How a package shall be deployed."""

    request_id: str
    requested_by: str
    reason: str = ""
    policy: UpdatePolicy = field(default_factory=UpdatePolicy)
    apps: list[AppSource] = field(default_factory=list[AppSource])
    """Sources of registered apps."""
    prune: bool = False
    """Delete live definitions of the package's modules that the package no longer has."""


@dataclass(frozen=True)
class PackageRequest:
    """The request, and the package that it was made from."""

    request: UpdateRequest
    package: TaskPackage
    warnings: list[str]


async def read_package_request(
    cluster: ClusterConnection, namespace: str, path: Path, options: DeployOptions
) -> PackageRequest:
    """Find the definitions of a package and ask for all of them.

    The request names every definition of the package, not only those that differ from what is live: so the same package
    under the same request id is the same request, whatever the cluster has become meanwhile. Which of them change is
    for the plan to say; which sources have to be sent is for `ClusterConnection.write_missing_revisions`.

    Raises:
        InvalidRequest: the path or the package's configuration cannot be used, or an option is wrong.
        InvalidSource: the sources cannot be deployed; with a line per finding.
        ServiceUnavailable: where pruning needs the cluster and it is away.
    """
    warnings: list[str] = []
    package = await _discover(path)
    git = await asyncio.to_thread(git_provenance, path, warn=warnings.append)
    wrong = errors(package.problems)
    if wrong:
        raise InvalidSource(
            f"package {str(path)!r} cannot be deployed, {len(wrong)} "
            + ("thing is wrong with it" if len(wrong) == 1 else "things are wrong with it"),
            details=[str(problem) for problem in wrong],
        )
    contents = package.contents()
    delete = await _to_prune(cluster, package, contents, options.request_id) if options.prune else []
    request = validated(
        "the request cannot be made",
        lambda: UpdateRequest(
            request_id=options.request_id,
            namespace=namespace,
            requested_by=options.requested_by,
            reason=options.reason,
            git=git,
            definitions=contents,
            delete=delete,
            apps=options.apps,
            policy=options.policy,
        ),
    )
    warnings += [str(problem) for problem in package.problems if problem.severity == "warning"]
    return PackageRequest(request, package, warnings)


async def _discover(path: Path) -> TaskPackage:
    try:
        return await asyncio.to_thread(discover, path)
    except (PackageConfigError, PackagePathError) as error:
        raise InvalidRequest(str(error)) from error
    except OSError as error:
        raise InvalidRequest(f"package {str(path)!r} cannot be read: {error}") from error


async def _to_prune(
    cluster: ClusterConnection, package: TaskPackage, contents: list[DefinitionContent], request_id: str
) -> list[str]:
    """Keys of the live definitions in the package's modules that it no longer has.

    A request that was submitted before keeps the list that it was submitted with: after it has done its work nothing
    is left to prune, and the same command has to stay the same request.
    """
    stored = await cluster.request(request_id)
    if stored is not None and stored.definitions == {str(content.key): content.digest() for content in contents}:
        return stored.delete
    wanted = {content.key for content in contents}
    gone = {
        key: live.content.module
        for key, live in (await cluster.definitions()).items()
        if DefinitionKey.parse(key) not in wanted and _is_under(live.content.module, package.name)
    }
    linked = [each.module for each in package.problems if each.code == "directory-not-followed" and each.module]
    if kept := [key for key, module in gone.items() if any(_is_under(module, folder) for folder in linked)]:
        raise InvalidRequest(
            f"prune: {', '.join(kept)} would be deleted, and may be in {', '.join(linked)}, which is passed over: it "
            "is a link to a folder. Put the folder itself there, or leave --prune out"
        )
    return list(gone)


def _is_under(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
