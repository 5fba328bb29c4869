"""How the model enters an OpenAPI document."""

from copy import deepcopy
from typing import Any

import jsonschema_rs
import pytest

from hacdbs_sim.model.accesses import GuestWrite
from hacdbs_sim.model.base import Action
from hacdbs_sim.model.batches import Batch
from hacdbs_sim.model.costs import CostModel
from hacdbs_sim.model.dirty_log import DirtyLog
from hacdbs_sim.model.faults import AddFault, EntryWhen
from hacdbs_sim.model.migrations import Scheduled
from hacdbs_sim.model.operations import ACTIONS, QUERIES
from hacdbs_sim.model.vms import CreateVm, VmInfo
from hacdbs_sim.wire import body_class, json_schemas
from hacdbs_sim.wire.openapi import tidy
from tests.unit.wire.instances import json_schema, outcome_of

COUNT = {"type": "integer", "format": "int64", "minimum": 0, "maximum": 9007199254740991}
POSITIVE = {**COUNT, "minimum": 1}


def definition(kind: Any, name: str, mode: Any = "validation") -> dict[str, Any]:
    _, definitions = json_schema(kind, mode)
    found: dict[str, Any] = definitions[name]
    return found


def test_a_body_of_pages_is_one_whole_object_for_each_form() -> None:
    text = {"type": "string", "pattern": "^0[xX][01]?[0-9a-fA-F]{1,13}$"}
    gfn = {"anyOf": [COUNT, text]}
    null = {"type": "null"}
    common = {"type": "object", "additionalProperties": False}

    schema, definitions = json_schema(body_class(GuestWrite, without=frozenset({"vcpu"})))

    assert schema == {"$ref": "#/components/schemas/GuestWriteBody"}
    assert definitions["GuestWriteBody"] == {
        "title": "GuestWriteBody",
        "description": "Write pages as a vCPU.",
        "examples": [{"gfn_ranges": [[262144, 512], [263000, 1]]}],
        "oneOf": [
            {
                **common,
                "title": "GuestWriteBodyGfns",
                "properties": {
                    "gfns": {
                        "type": "array",
                        "title": "Gfns",
                        "items": gfn,
                        "description": "Guest frames, one by one; order is free, repeats count.",
                    },
                },
                "patternProperties": {"^(gfn_ranges)$": null},
                "required": ["gfns"],
            },
            {
                **common,
                "title": "GuestWriteBodyGfnRanges",
                "properties": {
                    "gfn_ranges": {
                        "type": "array",
                        "title": "Gfn Ranges",
                        "items": {
                            "type": "array",
                            "prefixItems": [gfn, POSITIVE],
                            "items": {"anyOf": [COUNT, text, POSITIVE]},
                            "minItems": 2,
                            "maxItems": 2,
                        },
                        "description": "Guest frames as ranges [first, count].",
                    },
                },
                "patternProperties": {"^(gfns)$": null},
                "required": ["gfn_ranges"],
            },
        ],
    }


def test_places_that_exclude_each_other_are_stated() -> None:
    def both(one: str, other: str) -> dict[str, Any]:
        given = {"not": {"type": "null"}}
        return {"required": [one, other], "properties": {one: given, other: given}}

    schema = definition(AddFault, "EntryWhen")

    assert schema["not"] == {"anyOf": [both("gfn", "batch"), both("gfn", "index")]}
    assert schema["additionalProperties"] is False
    assert [*schema["properties"]] == ["op", "slot", "cpu", "batch", "index", "gfn"]


def test_an_outcome_states_what_is_always_there() -> None:
    schema = definition(DirtyLog, "AcceleratorReport", "serialization")

    assert schema["description"] == (
        "What the architecture's hook did before the software (docs/kernel.md S.1)."
    )
    assert {"trace", "trace_omitted"}.isdisjoint(schema["required"])
    assert len(schema["required"]) == len(schema["properties"]) - 2
    assert schema["properties"]["trace_omitted"] == {
        **COUNT, "title": "Trace Omitted", "description": "How many runs more there were."
    }  # fmt: skip
    assert "additionalProperties" not in schema


def test_a_pair_of_integers_is_described_to_readers_of_items_alone() -> None:
    """By bounds in an `allOf`: one generator takes a plain `items` for an element more."""
    pages = definition(DirtyLog, "DirtyLog", "serialization")["properties"]["page_ranges"]

    assert pages["items"]["prefixItems"] == [COUNT, POSITIVE]
    bounds = [{"minimum": 0}, {"maximum": COUNT["maximum"]}]
    assert pages["items"]["items"] == {"type": "integer", "format": "int64", "allOf": bounds}


def test_a_choice_that_answers_have_too_is_one_object_with_all_fields() -> None:
    """For answers have every field, and an object for each choice would not say which one it is."""
    kinds: list[tuple[Any, Any]] = [(Scheduled, "validation"), (Scheduled, "serialization")]
    _, definitions = json_schemas(kinds)
    schema = definitions["Scheduled"]
    validator = jsonschema_rs.Draft202012Validator(
        {**schema, "components": {"schemas": definitions}}
    )

    assert [*schema["properties"]] == ["at", "iteration", "action", "set"]
    assert schema["properties"]["action"]["anyOf"][0]["oneOf"]
    for given, is_valid in (
        ({"iteration": 1, "at": None}, True),
        ({"at": {"ns": 5}}, True),
        ({"at": {"ns": 5, "iteration": 1}}, False),
        ({"at": {"ns": 5}, "iteration": 1}, False),
        ({"at": None}, False),
        (
            {"iteration": 1, "action": {"op": "set_cpu", "cpu": 0, "online": False}, "set": {}},
            False,
        ),
    ):
        assert validator.is_valid(given) is is_valid, given


def test_a_field_that_is_a_class_states_no_default() -> None:
    """Generators write defaults as literals, and its own fields have theirs."""
    fields = definition(AddFault, "AddIpaf")["properties"]

    assert "default" not in fields["when"]
    assert fields["every"]["default"] == 1


def test_the_default_of_a_choice_is_that_of_its_first_form() -> None:
    size = definition(CreateVm, "CreateVm")["properties"]["page_size"]

    assert "default" not in size
    assert [form.get("default") for form in size["anyOf"]] == [4096, None]


def test_a_document_can_be_tidied_twice() -> None:
    _, definitions = json_schema(CreateVm)
    again = deepcopy(definitions)

    tidy(again)

    assert again == definitions


def test_a_tag_is_required_and_the_union_has_a_discriminator() -> None:
    schema, definitions = json_schema(AddFault)

    assert schema["discriminator"]["propertyName"] == "type"
    assert schema["discriminator"]["mapping"]["ipaf"] == "#/components/schemas/AddIpaf"
    assert definitions["AddIpaf"]["required"] == ["type"]
    assert definitions["AddIpaf"]["properties"]["type"]["const"] == "ipaf"


def test_an_action_requires_its_op() -> None:
    _, definitions = json_schema(Action[Any])

    names = {f"{action.__name__}Action" for action in ACTIONS if not action.is_internal}
    assert names <= definitions.keys()
    assert "NeedVersionsAction" not in definitions
    for name in names:
        forms = definitions[name].get("oneOf", [definitions[name]])
        assert all("op" in form["required"] for form in forms)


def test_a_knob_is_described_by_its_source() -> None:
    knob = definition(CreateVm, "CostModel")["properties"]["copy_word_ps"]

    assert knob["description"].startswith("E.3 #10")


def test_every_type_has_a_schema_whose_references_are_all_there() -> None:
    outcomes = [outcome_of(operation) for operation in (*ACTIONS, *QUERIES)]
    kinds: list[tuple[Any, Any]] = [(cls, "validation") for cls in (*ACTIONS, CreateVm, Batch)]
    kinds += [(each, "serialization") for each in (*outcomes, VmInfo) if each is not None]

    schemas, definitions = json_schemas(kinds)

    def references(node: Any) -> Any:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"].rpartition("/")[2]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    assert set(references([schemas, definitions])) <= definitions.keys()
    assert not any("-" in name for name in definitions)


@pytest.mark.parametrize("cls", [EntryWhen, CostModel])
def test_a_class_is_named_in_its_title(cls: type[Any]) -> None:
    assert definition(CreateVm, cls.__name__)["title"] == cls.__name__
