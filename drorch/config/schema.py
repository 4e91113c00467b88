"""JSON Schema of the documents, for editors: completion, explanations, mistakes underlined while typing."""

from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from drorch.config.docs import descriptions
from drorch.config.inventory import Inventory
from drorch.config.runbook import Runbook

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Which = Literal["inventory", "runbook"]

_MODELS: Final[dict[Which, type[BaseModel]]] = {"inventory": Inventory, "runbook": Runbook}


def json_schema(which: Which) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a document as users write it."""
    schema = _MODELS[which].model_json_schema(by_alias=True, mode="validation", schema_generator=_Explained)
    return {"$schema": DIALECT, **schema, "title": f"drorch {which}"}


class _Explained(GenerateJsonSchema):
    """Fields carry their docstrings, and no titles that only repeat the key; a mapping takes no keys but names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401 - one of many core schemas
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        words = descriptions(model)
        for name, info in model.model_fields.items():
            told = made.get("properties", {}).get(info.alias or name)
            if told is not None and name in words and "description" not in told:
                told["description"] = " ".join(words[name].split())
        return made

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        if "patternProperties" in made:
            made["additionalProperties"] = False
        return made
