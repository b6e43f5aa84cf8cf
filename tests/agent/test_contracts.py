"""What taskroll and its agents agree on: digests that anyone can recompute, and a pointer that shows an edit."""

import hashlib
import json
from typing import Any

import pytest
from pydantic import ValidationError

from taskroll_agent.contracts import (
    DefinitionContent,
    DefinitionKey,
    ReleasePointer,
    content_digest,
    release_name,
    revision_name,
    sha256_digest,
)

DIGEST = "sha256:" + "a" * 64


def by_hand(value: Any) -> str:
    """The digest as a reader of the documentation would compute it, for values without floats or exotic keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def test_a_definition_s_digest_is_over_kind_name_spec_and_managed_metadata() -> None:
    spec = {"taskClassName": "EncoderTask", "moduleName": "lib.encoder", "sourceCode": "eA==", "isUnitTask": True}
    content = DefinitionContent(kind="TaskDefinition", name="encoder-task", spec=spec)
    metadata: dict[str, Any] = {"labels": {}, "annotations": {}}
    wanted = by_hand({"kind": "TaskDefinition", "name": "encoder-task", "spec": spec, "metadata": metadata})
    assert content.digest() == wanted
    again = DefinitionContent.model_validate_json(content.model_dump_json())
    assert again.digest() == wanted
    reordered = content.model_copy(update={"spec": dict(reversed(spec.items()))})
    assert reordered.digest() == wanted
    for change in ({"isUnitTask": False}, {"extra": 1}, {"moduleName": "lib.Encoder"}):
        assert content.model_copy(update={"spec": spec | change}).digest() != wanted


def test_a_release_s_content_digest_is_over_its_map() -> None:
    digests = {"TaskDefinition/b": DIGEST, "ExecutionDescriptor/a": DIGEST}
    assert content_digest(digests) == by_hand(digests)
    assert content_digest({}) == "sha256:" + hashlib.sha256(b"{}").hexdigest()


def test_canonical_form_of_what_json_writes_in_several_ways() -> None:
    assert sha256_digest({"n": 1.0, "é": "\u2028\x7f"}) == sha256_digest({"é": "\u2028\x7f", "n": 1})


def test_the_pointer_comes_back_from_its_data() -> None:
    pointer = ReleasePointer(epoch=7, release="taskroll-release-000007-r", request_id="r", content_digest=DIGEST)
    assert ReleasePointer.from_data(pointer.data()) == pointer
    assert all(isinstance(value, str) for value in pointer.data().values())


@pytest.mark.parametrize("field", ["epoch", "release", "request_id", "content_digest", "digest"])
def test_an_edit_of_any_field_of_the_pointer_is_noticed(field: str) -> None:
    data = ReleasePointer(epoch=7, release="x", request_id="r", content_digest=DIGEST).data()
    for changed in ({**data, field: "8"}, {**data, "more": "x"}, {k: v for k, v in data.items() if k != field}):
        with pytest.raises(ValueError, match="does not match"):
            ReleasePointer.from_data(changed)


def test_keys_and_names() -> None:
    key = DefinitionKey.parse("TaskDefinition/encoder-task")
    assert (key.kind, key.name, str(key)) == ("TaskDefinition", "encoder-task", "TaskDefinition/encoder-task")
    assert revision_name(key, DIGEST) == "taskroll-task-encoder-task-" + "a" * 16
    assert revision_name(DefinitionKey("ExecutionDescriptor", "x"), DIGEST).startswith("taskroll-descriptor-x-")
    assert release_name(7, "r") == "taskroll-release-000007-r"
    for wrong in ("encoder-task", "TaskDefinition/", "/x", "Secret/x", ""):
        with pytest.raises(ValueError, match="no definition key"):
            DefinitionKey.parse(wrong)


def test_a_pointer_without_sense_is_refused() -> None:
    with pytest.raises(ValidationError):
        ReleasePointer(epoch=0, release="x", request_id="r", content_digest=DIGEST)
    with pytest.raises(ValidationError):
        ReleasePointer(epoch=1, release="x", request_id="r", content_digest="md5:1")
