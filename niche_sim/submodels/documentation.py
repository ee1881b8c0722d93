"""The page of the sub-models, written from the models themselves: `python -m niche_sim.submodels.documentation`."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from niche_sim.resources import configs_dir
from niche_sim.submodels.finding import MODELS

HEAD = """# Sub-models that run alone

Each part of niche_sim can run by itself, from a YAML file through the same command line:

    niche-sim run FILE.yaml --out DIR        # or the name of a shipped example (`niche-sim list`)
    niche-sim check FILE.yaml
    niche-sim stats TRIAL.csv                # trial statistics, from a table of time, event, arm

`DIR` holds one CSV a table (floats with every digit), `resolved.yaml` (runs again as it is) and `manifest.json` (scheme,
versions, seed, checksums; units and meanings of the columns). `niche-sim hash DIR` and `verify DIR` work as for a whole run.
Every value that has a dimension is a text with its unit. `--seed` and `--set key.inner=value` replace keys. Equal seeds give
equal files.

This page is written by `python -m niche_sim.submodels.documentation`; a test holds it to the code.
"""


def _describe(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "anyOf" in field:
        parts = [_describe(part, definitions) for part in field["anyOf"] if part.get("type") != "null"]
        return " or ".join(part for part in parts if part)
    if "$ref" in field:
        return f"keys of {field['$ref'].rpartition('/')[2]}"
    if "enum" in field:
        return " or ".join(f"`{word}`" for word in field["enum"])
    if field.get("type") == "array":
        return f"list: {_describe(field.get('items', {}), definitions)}"
    if field.get("type") == "integer":
        return f"whole number, {field.get('minimum', '')} to {field.get('maximum', '')}"
    if field.get("type") == "object":
        return f"mapping of names: {_describe(field.get('additionalProperties', {}), definitions)}"
    if field.get("type") == "boolean":
        return "true or false"
    if "pattern" in field and "description" not in field:
        return "text"
    return str(field.get("description") or field.get("type") or "")


def _list_keys(schema: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    lines = ["| key | what | default |", "|---|---|---|"]
    for key, field in schema.get("properties", {}).items():
        if key == "model":
            continue
        default = "needed" if key in schema.get("required", []) else repr(field.get("default", "none")).strip("'")
        what = _describe(field, definitions).replace("|", "\\|")
        lines.append(f"| `{key}` | {what} | {default if len(default) < 40 else 'as shown there'} |")
    return lines


def _write_model(name: str) -> list[str]:
    module = import_module(f"niche_sim.submodels.{name}")
    schema = module.Spec.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    lines = [f"## {name}", "", (module.__doc__ or "").strip(), "", f"Scheme: {module.SCHEME}.", "", "### Keys", ""]
    lines += _list_keys(schema, definitions)
    for title, inner in definitions.items():
        lines += ["", f"**{title}**: {inner.get('description', '')}", "", *_list_keys(inner, definitions)]
    lines += ["", "### Files", ""]
    for table, columns in module.COLUMNS.items():
        lines += [f"`{table}.csv`", "", "| column | unit | meaning |", "|---|---|---|"]
        lines += [f"| `{column}` | {unit} | {meaning} |" for column, (unit, meaning) in columns.items()] + [""]
    lines += ["### Examples", ""]
    for path in sorted((configs_dir() / "submodels").glob("*.yaml")):
        text = path.read_text("utf-8")
        if f"model: {name}\n" in text:
            lines += [f"`niche-sim run {path.stem}`", "", "```yaml", text.strip(), "```", ""]
    return lines


def write_page() -> str:
    """Return the page as Markdown."""
    from niche_sim import statistics

    lines = [HEAD]
    for name in MODELS:
        lines += _write_model(name)
    first = (statistics.analyse.__doc__ or "").strip().split("\n")[0]
    lines += ["## stats", "", (statistics.__doc__ or "").strip(), "", first]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(write_page()) if len(sys.argv) < 2 else Path(sys.argv[1]).write_text(write_page(), encoding="utf-8")
