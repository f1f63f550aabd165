"""JSON Schema of a config file, so that editors complete keys and underline mistakes."""

import json

from pipeline.config.model import Config


def schema_text() -> str:
    """The schema as text; configs/schema.json holds the same, and a test keeps it current."""
    schema = Config.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["properties"].pop("name")
    schema["properties"]["extends"] = {
        "type": "string",
        "description": "A config file that this one changes; mappings merge, everything else is replaced.",
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
