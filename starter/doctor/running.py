"""What runs: replicas that do not run the release, and instances that no service can know."""

from starter.worker_questions import ask_versions
from taskroll.cluster.definitions import list_definitions
from taskroll.cluster.objects import list_objects
from taskroll.cluster.resources import UNIT_TASK_INSTANCE
from taskroll.models.versions import ReplicaVersion, VersionReport
from taskroll.models.wording import counted

from .drift import fenced_by
from .findings import Finding, Remedy, ok
from .place import Place


async def check_replicas(place: Place) -> list[Finding]:
    """Ask a worker, which asks each replica."""
    report = await ask_versions(place.settings, place.temporal)
    return [_replicas(place, report, sorted(set((await fenced_by(place)).values())))]


def _replicas(place: Place, report: VersionReport, under_way: list[str]) -> Finding:
    wrong = [each for each in report.replicas if each.content_digest != report.content_digest or each.problem]
    details = [*report.missing, *(_in_words(each, report) for each in wrong)]
    if not details:
        message = f"all {counted(len(report.replicas), 'replica')} attest it" if report.epoch else "there is no release"
        return ok("replicas", message)
    if under_way:
        # It moves them itself, or takes them back; what is wrong with them after it has ended is a problem.
        where = f"while {', '.join(under_way)} is under way"
        message = (
            f"{len(wrong)} of {counted(len(report.replicas), 'replica')} do not attest release {report.epoch}, {where}"
        )
        return Finding(check="replicas", state="warning", message=message, details=details)
    restart = [each for each in wrong if not each.address.startswith(each.pod)]
    return Finding(
        check="replicas",
        state="problem",
        message=f"{len(wrong)} of {counted(len(report.replicas), 'replica')} do not attest release {report.epoch}"
        if wrong
        else "services have fewer replicas than they must",
        details=details,
        remedies=[
            Remedy(
                purpose=f"start {each.service}/{each.pod} anew: it comes up on what the pointer names",
                command=place.commands.kubectl(f"delete pod {each.pod}"),
            )
            for each in restart
        ],
    )


def _in_words(replica: ReplicaVersion, report: VersionReport) -> str:
    who = f"{replica.service}/{replica.pod} ({replica.address})"
    because = f": {replica.problem}" if replica.problem else ""
    if replica.content_digest is None:
        return f"{who} attests nothing{because}"
    if replica.content_digest == report.content_digest:
        return f"{who} runs the release{because}"
    return f"{who} runs epoch {replica.epoch} instead of {report.epoch}{because}"


async def check_instances(place: Place) -> list[Finding]:
    """Look for instances of classes that no definition has: an update would wait for them, and no service ends them."""
    known = {
        definition.content.task_class_name
        for definition in (await list_definitions(place.cluster, place.namespace)).values()
    }
    instances = await list_objects(place.cluster, UNIT_TASK_INSTANCE, place.namespace)
    leaked = sorted(item.name for item in instances if item.spec.get("definitionRef") not in known)
    classes = {item.name: item.spec.get("definitionRef") for item in instances}
    if not leaked:
        return [ok("instances", f"{counted(len(instances), 'instance')}, each of a class that a definition has")]
    command = place.commands.kubectl(f"delete unittaskinstance {' '.join(leaked)}")
    return [
        Finding(
            check="instances",
            state="problem",
            message=f"{counted(len(leaked), 'instance')} of classes that no definition has: no service can end them",
            details=[f"UnitTaskInstance/{name} of {classes[name]}" for name in leaked],
            remedies=[Remedy(purpose="delete them", command=command)],
        )
    ]
