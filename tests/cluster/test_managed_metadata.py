"""Whose labels and annotations are whose. No cluster needed."""

from __future__ import annotations

import pytest

from taskroll.cluster.managed_metadata import GIT_COMMIT, MANAGED_METADATA, compose_metadata, managed_part
from taskroll.models.plan import ObjectMetadata
from taskroll_agent.contracts import Metadata


def _listed(labels: str = "", annotations: str = "") -> str:
    quoted = [",".join(f'"{key}"' for key in keys.split()) for keys in (annotations, labels)]
    return f'{{"annotations":[{quoted[0]}],"labels":[{quoted[1]}]}}'


COMPOSED = {
    "a new object without metadata": (None, Metadata(), None, ObjectMetadata()),
    "a new object": (
        None,
        Metadata(labels={"a": "1"}),
        "c",
        ObjectMetadata(labels={"a": "1"}, annotations={MANAGED_METADATA: _listed("a"), GIT_COMMIT: "c"}),
    ),
    "others' keys stay": (
        ObjectMetadata(labels={"x": "1"}, annotations={"y": "2"}, finalizers=["f"], owner_references=[{"name": "o"}]),
        Metadata(annotations={"b": "3"}),
        None,
        ObjectMetadata(
            labels={"x": "1"},
            annotations={"y": "2", "b": "3", MANAGED_METADATA: _listed("", "b")},
            finalizers=["f"],
            owner_references=[{"name": "o"}],
        ),
    ),
    "ours that are no longer wanted go": (
        ObjectMetadata(
            labels={"x": "1", "old": "1"},
            annotations={"gone": "1", MANAGED_METADATA: _listed("old", "gone"), GIT_COMMIT: "c"},
        ),
        Metadata(),
        None,
        ObjectMetadata(labels={"x": "1"}),
    ),
    "another's key is taken over": (
        ObjectMetadata(labels={"x": "theirs"}),
        Metadata(labels={"x": "ours"}),
        None,
        ObjectMetadata(labels={"x": "ours"}, annotations={MANAGED_METADATA: _listed("x")}),
    ),
}


@pytest.mark.parametrize("case", COMPOSED)
def test_a_write_composes_the_metadata(case):
    former, managed, commit, expected = COMPOSED[case]
    composed = compose_metadata(former, managed, commit)
    assert composed == expected
    assert managed_part(composed) == managed
    assert compose_metadata(composed, managed, commit) == composed


def test_a_list_that_names_keys_of_taskroll_itself_is_not_followed():
    metadata = ObjectMetadata(annotations={GIT_COMMIT: "c", MANAGED_METADATA: _listed("", GIT_COMMIT)})
    assert managed_part(metadata) == Metadata()
