"""Whom a front talks to: flags over variables over defaults."""

import pytest

from starter.settings import Flags, Settings, resolve
from taskroll.models.errors import InvalidRequest


@pytest.mark.parametrize(
    ("flags", "environ", "expected"),
    [
        pytest.param(Flags(), {}, Settings(), id="defaults"),
        pytest.param(Flags(), {"TASKROLL_NAMESPACE": "a"}, Settings(namespace="a"), id="variable"),
        pytest.param(Flags(namespace="b"), {"TASKROLL_NAMESPACE": "a"}, Settings(namespace="b"), id="flag wins"),
        pytest.param(Flags(), {"TASKROLL_NAMESPACE": ""}, Settings(), id="an empty variable is none"),
        pytest.param(Flags(), {"TASKROLL_TASK_QUEUE": "q"}, Settings(task_queue="q"), id="task queue"),
        pytest.param(Flags(), {"TASKROLL_CONTEXT": "c"}, Settings(context="c"), id="context"),
        pytest.param(Flags(), {"TASKROLL_KUBECONFIG": "k"}, Settings(kubeconfig="k"), id="kubeconfig"),
        pytest.param(Flags(), {"TASKROLL_TEMPORAL_PROFILE": "p"}, Settings(profile="p"), id="profile"),
        pytest.param(Flags(), {"TASKROLL_TEMPORAL_ADDRESS": "t:1"}, Settings(temporal_address="t:1"), id="address"),
        # Temporal's own variables are left to its SDK, which reads them together with the profile.
        pytest.param(Flags(), {"TEMPORAL_ADDRESS": "t:1"}, Settings(), id="Temporal's own address"),
    ],
)
def test_precedence(flags: Flags, environ: dict[str, str], expected: Settings) -> None:
    assert resolve(flags, environ) == expected


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (Flags(namespace="Upper"), "--namespace"),
        (Flags(namespace="a/b"), "'a/b'"),
        (Flags(namespace=""), "--namespace"),
        (Flags(task_queue=" "), "--task-queue"),
    ],
)
def test_a_wrong_value_is_named_with_its_flag(flags: Flags, named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        resolve(flags, {})


def test_flags_after_the_command_win_over_those_before() -> None:
    before = Flags(namespace="a", context="x")
    assert Flags(namespace="b").over(before) == Flags(namespace="b", context="x")
