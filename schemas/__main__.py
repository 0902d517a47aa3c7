"""`python -m schemas` writes the JSON Schema of every message beside its definition."""

from pathlib import Path

import msgspec

from schemas.codec import json_schemas


def write(folder: Path) -> None:
    """Write one formatted JSON Schema file per message into `folder`."""
    for name, schema in json_schemas().items():
        text = msgspec.json.format(msgspec.json.encode(schema, order="deterministic"), indent=2)
        (folder / name).write_bytes(text + b"\n")


if __name__ == "__main__":
    write(Path(__file__).parent / "json")
