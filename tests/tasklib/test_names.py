import pytest

from taskroll.tasklib.names import listed, module_name_fault, resource_name, resource_name_fault, shown
from taskroll_agent.contracts import DefinitionKey


@pytest.mark.parametrize(
    ("class_name", "expected"),
    [
        ("EncoderTask", "encoder-task"),
        ("MLLMEmbeddingTask", "mllm-embedding-task"),
        ("LLMBaseUnitTask", "llm-base-unit-task"),
        ("HuggingFaceQwenImageTask", "hugging-face-qwen-image-task"),
        ("VLLMDescriptor", "vllm-descriptor"),
        ("DisaggregatedMLLMTask", "disaggregated-mllm-task"),
        ("Encoder", "encoder"),
        ("ABC", "abc"),
        ("AB", "ab"),
        ("TaskA", "task-a"),
        ("aB", "a-b"),
        ("LLM2Task", "ll-m2-task"),
        ("TaskV2", "task-v2"),
        ("Task2x", "task2x"),
        ("_Base", "base"),
        ("Two_Words", "two-words"),
        ("A__B", "a-b"),
        ("Base_", "base"),
        ("_", ""),
    ],
)
def test_resource_names_are_those_of_cornserves_tool(class_name: str, expected: str) -> None:
    assert resource_name(class_name) == expected


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("lib", None),
        ("lib.task.unit.encoder", None),
        ("_lib.x1", None),
        ("", "is empty"),
        ("..", "empty part"),
        ("lib..a", "empty part"),
        (".lib", "empty part"),
        ("lib.", "empty part"),
        ("lib/a", "not an identifier"),
        ("../../etc/passwd", "empty part"),
        ("lib\\a", "not an identifier"),
        ("lib.a\n", "not an identifier"),
        ("lib.a b", "not an identifier"),
        ("lib.1a", "not an identifier"),
        ("lib.a-b", "not an identifier"),
        ("lib.\0", "not an identifier"),
        ("lib.é", "beyond ASCII"),
        ("lib.\u043e", "beyond ASCII"),
        ("lib.class", "keyword"),
        ("lib.None", "keyword"),
        ("lib." + "a" * 129, "129 characters"),
        (".".join(["a" * 100] * 6), "605 characters"),
    ],
)
def test_module_names(name: str, fault: str | None) -> None:
    found = module_name_fault(name)
    assert found is None if fault is None else fault in (found or "")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("encoder-task", None),
        ("a.b", None),
        ("a" * 216, None),
        ("a" * 217, "too long"),
        ("", "not a Kubernetes name"),
        ("Encoder", "not a Kubernetes name"),
        ("-a", "not a Kubernetes name"),
        ("a_b", "not a Kubernetes name"),
        ("a/b", "not a Kubernetes name"),
        ("a\n", "not a Kubernetes name"),
    ],
)
def test_resource_names_leave_room_for_the_name_of_the_revision(name: str, fault: str | None) -> None:
    found = resource_name_fault(DefinitionKey("ExecutionDescriptor", name))
    assert found is None if fault is None else fault in (found or "")


def test_names_in_messages_are_cut_and_escaped() -> None:
    assert shown("a\x1b[31m\n") == r"'a\x1b[31m\n'"
    assert shown("Ünï\u202e") == r"'Ünï\u202e'"
    assert len(shown("a" * 10_000)) <= 80
    assert listed("abc") == "a, b, c"
    assert listed(map(str, range(9)), limit=2) == "0, 1, and 7 more"
