"""The golden messages are read here and by runtime/wire/golden.test.ts: both must agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from csps_engine.wire import generated

GOLDEN = Path(__file__).parents[3] / "runtime" / "wire" / "golden"
FILES = sorted(GOLDEN.glob("*.json"))


def cases(kind: str) -> list[Any]:
    """One parameter set a message: (name, message), with the reason of an invalid one in its id."""
    found = []
    for file in FILES:
        for index, entry in enumerate(json.loads(file.read_text("utf-8"))[kind]):
            message, label = (entry, index) if kind == "valid" else (entry["message"], entry["why"])
            found.append(pytest.param(file.stem, message, id=f"{file.stem}: {label}"))
    return found


def adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(getattr(generated, name))


def test_every_message_class_has_a_golden_file() -> None:
    classes = {
        name
        for name, value in vars(generated).items()
        if isinstance(value, type) and issubclass(value, generated.WireMessage)
    }
    assert classes - {"WireMessage"} <= {file.stem for file in FILES}
    assert len(FILES) >= 24


@pytest.mark.parametrize(("name", "message"), cases("valid"))
def test_a_valid_message_survives_unchanged(name: str, message: Any) -> None:
    parsed = adapter(name).validate_json(json.dumps(message))
    written = adapter(name).dump_json(parsed, by_alias=True, exclude_none=True)
    assert json.loads(written) == message


@pytest.mark.parametrize(("name", "message"), cases("invalid"))
def test_an_invalid_message_is_refused(name: str, message: Any) -> None:
    with pytest.raises(ValidationError):
        adapter(name).validate_json(json.dumps(message))


def test_an_environment_is_read_by_variable_names_and_ignores_others() -> None:
    names = [field.alias or "" for field in generated.GatewayEnvironment.model_fields.values()]
    variables = dict.fromkeys(names, "9000") | {"CSPS_LOG_LEVEL": "info", "PATH": "/bin"}
    read = generated.GatewayEnvironment.model_validate(variables)
    assert read.control_port == "9000"
    assert read.log_level == "info"
    with pytest.raises(ValidationError):
        generated.GatewayEnvironment.model_validate(variables | {"CSPS_LOG_LEVEL": "loud"})
