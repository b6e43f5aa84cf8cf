"""The endpoint's OpenAPI document: valid, with examples that the endpoint itself would take."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from starter.http.app import create_app
from starter.http.bodies import (
    AdoptionBody,
    DecisionBody,
    DefinitionBody,
    PruneBody,
    ReleaseBody,
    RollbackBody,
    UpdateBody,
    WordBody,
)
from starter.http.problems import Problem
from starter.http.tokens import BearerTokens
from starter.settings import Settings

DOCUMENT = create_app(Settings(), BearerTokens(["a-token-of-the-tests"])).openapi()
BODIES = {
    model.__name__: model
    for model in (
        AdoptionBody, DecisionBody, DefinitionBody, PruneBody, ReleaseBody, RollbackBody, UpdateBody, WordBody,
    )
}  # fmt: skip


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def resolved(node: Any) -> Any:
    """A copy in which the document's own references stand as JSON Schema's."""
    if isinstance(node, dict):
        return {
            name: value.replace("#/components/schemas/", "#/$defs/") if name == "$ref" else resolved(value)
            for name, value in node.items()
        }
    return [resolved(each) for each in node] if isinstance(node, list) else node


def validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**resolved(schema), "$defs": resolved(DOCUMENT["components"]["schemas"])})


def schemas_with_examples() -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Every place of the document that gives an example, with the schema that it stands beside."""
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for example in schema.get("examples", []):
            yield name, schema, example
    for path, method, operation in operations():
        for parameter in operation.get("parameters", []):
            examples = parameter["schema"].get("examples", []) or parameter.get("examples", [])
            for example in examples:
                yield f"{method} {path} {parameter['name']}", parameter["schema"], example
        for status, response in operation["responses"].items():
            for media, content in response.get("content", {}).items():
                if "example" in content:
                    yield f"{method} {path} {status} {media}", content["schema"], content["example"]


def test_is_openapi_3_1_with_unique_operations() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids)) == 15


def test_every_schema_is_valid() -> None:
    check = jsonschema.Draft202012Validator.check_schema
    for schema in DOCUMENT["components"]["schemas"].values():
        check(resolved(schema))
    inline = [
        content["schema"]
        for _, _, operation in operations()
        for response in operation["responses"].values()
        for content in response.get("content", {}).values()
    ]
    # Most of them are the one schema of a problem, written out in each place.
    for schema in {json.dumps(each): each for each in inline}.values():
        check(resolved(schema))


@pytest.mark.parametrize(
    ("place", "schema", "example"), [pytest.param(*each, id=each[0]) for each in schemas_with_examples()]
)
def test_every_example_is_valid(place: str, schema: dict[str, Any], example: Any) -> None:
    validator(schema).validate(example)


def test_each_body_has_an_example_that_the_endpoint_takes() -> None:
    for name, model in BODIES.items():
        examples = DOCUMENT["components"]["schemas"][name]["examples"]
        assert examples
        for example in examples:
            assert model.model_validate(example)
    for example in DOCUMENT["components"]["schemas"]["UpdateBody"]["examples"]:
        UpdateBody.model_validate(example).request("cornserve", "one", "tester")


def test_every_error_is_declared_as_a_problem() -> None:
    for path, method, operation in operations():
        if path == "/healthz":
            continue
        errors = {status: each for status, each in operation["responses"].items() if int(status) >= 400}
        assert {"401", "503"} <= errors.keys(), (method, path)
        for each in errors.values():
            [(media, content)] = each["content"].items()
            assert media == "application/problem+json"
            Problem.model_validate(content["example"])


def test_every_route_but_health_asks_for_the_token() -> None:
    unprotected = [path for path, _, operation in operations() if not operation.get("security")]
    assert unprotected == ["/healthz"]
    [scheme] = DOCUMENT["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


def test_the_key_is_required_where_something_is_started() -> None:
    with_key = {
        path: parameter["required"]
        for path, method, operation in operations()
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "Idempotency-Key"
    }
    assert with_key == {"/task-updates": True, "/rollbacks": True, "/adoptions": True}
