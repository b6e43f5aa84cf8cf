"""What uses the definitions of a closure: instances in the cluster, apps and tasks of the gateway, task manager pods.

None of them tells it alone. A gateway that restarts forgets its apps and tasks while their instances and pods stay; a
registration that failed may leave an instance that nobody knows; and a task that is being torn down keeps its pod, and
so its GPUs, after its instance is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from taskroll.cluster.app_journal import sources_of_restored_apps
from taskroll.cluster.app_sources import read_app_source
from taskroll.cluster.connection import Cluster
from taskroll.cluster.objects import KubeObject, list_objects
from taskroll.cluster.resources import POD
from taskroll.cluster.task_instances import list_instances
from taskroll.models.plan import Instance
from taskroll.models.usage import Use
from taskroll.tasklib.app_imports import uses_any

from .gateway import Gateway

TASK_MANAGER_ID = "task-manager-id"
"""Label of a task manager's pod: the task's class name in lower case, a dash, and eight digits."""
UNKNOWN_SOURCE = "its source is not known, so it may use them: give it with --app"


_Verdict = tuple[str | None, bool | None]
"""Digest of an app's source where it is known, and whether the app uses the closure; None where that cannot be told."""


@dataclass(frozen=True)
class Closure:
    """What is looked for."""

    sources: Mapping[str, str]
    """Module → text, of all definitions as they are live."""
    modules: frozenset[str]
    """Modules of the closure."""
    task_classes: frozenset[str]
    """Task classes of the closure."""
    built_on: frozenset[str]
    """Task classes that the closure imports: whoever uses a composite task of the closure has those deployed."""


@dataclass(frozen=True)
class AppUse:
    """A registered app that uses the closure, or may."""

    app_id: str
    source: str | None
    """Digest of its source; None where it is not known."""
    is_known: bool
    """False where its source is not known, or does not tell what it imports."""


@dataclass(frozen=True)
class Usage:
    """One look."""

    apps: list[AppUse]
    """The oldest first."""
    uses: list[Use]
    """Everything, the apps among it."""


@dataclass
class UsageSearch:
    """Looks again and again during one step."""

    cluster: Cluster
    gateway: Gateway | None
    """None: only instances are looked at."""
    namespace: str
    closure: Closure
    sources: dict[str, str]
    """App id → digest of its source, from the request."""
    _verdicts: dict[str, _Verdict] = field(default_factory=dict[str, _Verdict])
    _first_seen: dict[str, str] = field(default_factory=dict[str, str])

    async def look(self) -> Usage:
        """Look once.

        Raises:
            GatewayUnavailable: where the gateway does not answer: then nobody can say that nothing is in use.
        """
        if self.gateway is None:
            instances = await list_instances(self.cluster, self.namespace, self.closure.task_classes)
            return Usage([], [_instance(found) for found in instances])
        # In the order in which a deployment is made, so that one that is under way is seen in one place or the other:
        # the gateway lists a task before it creates the instance, and its pod comes after that.
        apps = await self.gateway.apps(self.namespace)
        tasks = await self.gateway.tasks(self.namespace)
        instances = await list_instances(self.cluster, self.namespace, self.closure.task_classes)
        pods = await self._pods()
        named = {instance.name for instance in instances}
        in_use = {name: state for name, state in tasks.items() if name in named or self._is_of(name)}
        may_serve_apps = in_use or any(_class_of(name) in _lowered(self.closure.built_on) for name in tasks)
        users = await self._users(apps, may_serve_apps=bool(may_serve_apps))
        return Usage(
            users,
            [
                *(self._app(user, apps[user.app_id]) for user in users),
                *(self._task(name, state) for name, state in in_use.items() if name not in named),
                *(self._found(instance, tasks, pods) for instance in instances),
                *(self._pod(pod, tasks) for pod in pods),
            ],
        )

    async def _pods(self) -> list[KubeObject]:
        assert self.gateway is not None
        labels = self.gateway.config.task_manager_labels
        return [
            pod
            for pod in await list_objects(self.cluster, POD, self.namespace, labels=labels)
            if self._is_of(pod.labels.get(TASK_MANAGER_ID, ""))
            and pod.status.get("phase") not in ("Succeeded", "Failed")
        ]

    def _is_of(self, name: str) -> bool:
        return _class_of(name) in _lowered(self.closure.task_classes)

    async def _users(self, apps: Mapping[str, str], *, may_serve_apps: bool) -> list[AppUse]:
        await self._judge(apps)
        users: list[AppUse] = []
        for app_id in apps:
            source, verdict = self._verdicts[app_id]
            if verdict or (verdict is None and may_serve_apps):
                users.append(AppUse(app_id, source, is_known=verdict is not None))
        return users

    async def _judge(self, apps: Collection[str]) -> None:
        """Find out of apps that were not seen before whether they use the closure."""
        fresh = [app_id for app_id in apps if app_id not in self._verdicts]
        if any(app_id not in self.sources for app_id in fresh):
            self.sources = {**await sources_of_restored_apps(self.cluster, self.namespace), **self.sources}
        for app_id in fresh:
            digest = self.sources.get(app_id)
            verdict = None
            if digest is not None:
                text = await read_app_source(self.cluster, self.namespace, digest)
                # Parsing takes a while: not on the event loop.
                verdict = await asyncio.to_thread(uses_any, text, self.closure.sources, self.closure.modules)
            self._verdicts[app_id] = digest, verdict

    def _app(self, user: AppUse, state: str) -> Use:
        notes = [] if state == "ready" else [state]
        if user.source is None:
            notes.append(UNKNOWN_SOURCE)
        elif not user.is_known:
            notes.append("its source does not tell what it imports, so it may use them")
        return Use(kind="app", name=user.app_id, since=self._seen(user.app_id), note="; ".join(notes))

    def _task(self, name: str, state: str) -> Use:
        return Use(kind="task", name=name, since=self._seen(name), note=f"{state}, without an instance")

    def _found(self, instance: Instance, tasks: Mapping[str, str], pods: list[KubeObject]) -> Use:
        if instance.name in tasks:
            return _instance(instance)
        clear = f"kubectl delete unittaskinstance {instance.name} -n {self.namespace}"
        class_name = instance.class_name.lower()
        listed = sum(_class_of(name) == class_name for name in tasks)
        if sum(_class_of(pod.labels[TASK_MANAGER_ID]) == class_name for pod in pods) > listed:
            note = f"the gateway has forgotten it; its pod, see below, may still run. When that is gone: {clear}"
        else:
            note = f"leaked: neither gateway nor pod knows it; clear it with: {clear}"
        return _instance(instance, note)

    def _pod(self, pod: KubeObject, tasks: Mapping[str, str]) -> Use:
        class_name = _class_of(pod.labels[TASK_MANAGER_ID])
        note = ""
        if pod.is_deleting:
            note = "terminating"
        elif not any(_class_of(name) == class_name for name in tasks):
            selector = f"{TASK_MANAGER_ID}={pod.labels[TASK_MANAGER_ID]}"
            note = (
                f"the gateway knows no task of it; clear it with: kubectl delete pod,service -l {selector} "
                f"-n {self.namespace}, then restart the resource manager"
            )
        return Use(kind="pod", name=pod.name, since=pod.created_at, note=note)

    def _seen(self, name: str) -> str:
        return self._first_seen.setdefault(name, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def _instance(instance: Instance, note: str = "") -> Use:
    return Use(kind="instance", name=f"{instance.class_name} {instance.name}", since=instance.created_at, note=note)


def _class_of(name: str) -> str:
    """``encodertask`` of ``encodertask-0a1b…``, as the platform names tasks, instances and task managers."""
    return name.rpartition("-")[0].lower()


def _lowered(names: Collection[str]) -> set[str]:
    return {name.lower() for name in names}
