"""How many requests the API server has served, by its own count."""

import re
import ssl
from collections import Counter

import httpx
import yaml

from taskroll.devstack import StackInfo
from taskroll.devstack.info import ADMIN

RESOURCES = (
    "configmaps",
    "controllerrevisions",
    "executiondescriptors",
    "latesttasklibrvs",
    "pods",
    "taskdefinitions",
    "taskupdates",
    "unittaskinstances",
)
_LINE = re.compile(r"^apiserver_request_total\{(?P<labels>[^}]*)\} (?P<count>\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


async def api_requests(stack: StackInfo) -> Counter[str]:
    """Requests served so far, by ``VERB resource``, of the kinds that an update touches; watches are left out."""
    kubeconfig = yaml.safe_load(stack.kubeconfig.read_text())
    token = next(user["user"]["token"] for user in kubeconfig["users"] if user["name"] == ADMIN)
    # Its own self-signed certificate; what is read here is a count.
    insecure = ssl._create_unverified_context()
    async with httpx.AsyncClient(verify=insecure, trust_env=False) as client:
        response = await client.get(f"{stack.kube_url}/metrics", headers={"Authorization": f"Bearer {token}"})
        response.raise_for_status()
    found: Counter[str] = Counter()
    for line in _LINE.finditer(response.text):
        labels = dict(_LABEL.findall(line["labels"]))
        if labels.get("resource") in RESOURCES and labels.get("verb") != "WATCH":
            found[f"{labels['verb']} {labels['resource']}"] += int(float(line["count"]))
    return found
