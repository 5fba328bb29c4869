"""Every class of the model goes to the wire and back."""

from functools import lru_cache
from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hacdbs_sim import model
from hacdbs_sim.model.base import Action, Model
from hacdbs_sim.model.batches import Batch, LogFormat
from hacdbs_sim.model.operations import ACTIONS, QUERIES
from hacdbs_sim.model.sessions import CreateSession
from hacdbs_sim.model.vms import CreateVm
from hacdbs_sim.wire import (
    action_to_plain,
    read,
    reader_of,
    to_plain,
    write,
)
from hacdbs_sim.wire.class_fields import is_request, members_of
from hacdbs_sim.wire.examples import example_of
from tests.unit.wire.instances import json_schema, of_type, outcome_of

EXPORTED: list[Any] = [value for name, value in vars(model).items() if not name.startswith("_")]
CLASSES = [
    cls
    for cls in EXPORTED
    if isinstance(cls, type)
    and issubclass(cls, Model)
    and hasattr(cls, "__dataclass_fields__")
    and not members_of(cls)
]
OUTCOMES = {
    operation.op: outcome_of(operation)
    for operation in (*ACTIONS, *QUERIES)
    if outcome_of(operation) is not None
}
quick = settings(max_examples=8, deadline=None, suppress_health_check=[*HealthCheck])


@pytest.mark.parametrize("cls", CLASSES)
@quick
@given(data=st.data())
def test_a_class_is_read_as_it_was_written(cls: type[Any], data: st.DataObject) -> None:
    value = data.draw(of_type(cls))

    text = write(value)
    again = read(cls, text)

    assert type(again) is type(value)
    assert write(again) == text
    assert orjson.loads(text) == to_plain(value)


@pytest.mark.parametrize("op", OUTCOMES)
@quick
@given(data=st.data())
def test_an_outcome_is_read_as_it_was_written(op: str, data: st.DataObject) -> None:
    value = data.draw(of_type(OUTCOMES[op]))

    again = reader_of(OUTCOMES[op])(write(value))

    assert write(again) == write(value)
    assert type(again) is type(value)


@pytest.mark.parametrize("cls", [each for each in ACTIONS if not each.is_internal])
@quick
@given(data=st.data())
def test_an_action_is_read_by_its_op(cls: type[Any], data: st.DataObject) -> None:
    action = data.draw(of_type(cls))

    again = reader_of(Action)(write(action_to_plain(action)))

    assert type(again) is cls
    assert action_to_plain(again) == action_to_plain(action)


@lru_cache
def validator(kind: Any, mode: str) -> Any:
    schema, definitions = json_schema(kind, mode)
    document = {**schema, "components": {"schemas": definitions}}
    return jsonschema_rs.validator_for(document)


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if is_request(cls)])
@quick
@given(data=st.data())
def test_a_request_is_valid_by_its_schema(cls: type[Any], data: st.DataObject) -> None:
    value = data.draw(of_type(cls))

    form: Any = cls
    validator(form, "validation").validate(to_plain(value))


@pytest.mark.parametrize("op", OUTCOMES)
@quick
@given(data=st.data())
def test_an_outcome_is_valid_by_its_schema(op: str, data: st.DataObject) -> None:
    value = data.draw(of_type(OUTCOMES[op]))

    validator(OUTCOMES[op], "serialization").validate(orjson.loads(write(value)))


@pytest.mark.parametrize("cls", [*ACTIONS, CreateVm, CreateSession, Batch])
def test_each_request_has_an_example_that_its_reader_takes(cls: type[Any]) -> None:
    example = example_of(cls.__name__)

    assert example is not None
    read(cls, orjson.dumps(example))


@pytest.mark.parametrize("format", [LogFormat.RANGES, LogFormat.BASE64, LogFormat.WORDS])
@quick
@given(data=st.data())
def test_a_log_is_the_same_in_each_format(format: LogFormat, data: st.DataObject) -> None:  # noqa: A002
    log = data.draw(of_type(OUTCOMES["get_dirty_log"]))

    assert read(type(log), write(log, format=format)) == log
