"""What schemathesis cannot know of this server: which names there are, and which headers every answer has.

EVENSONG_CONTRACT_KEYS says whether the server under test has keys.
"""

from __future__ import annotations

import os
from typing import Any

import schemathesis

KEYED = os.environ.get("EVENSONG_CONTRACT_KEYS") == "yes"
VOICES, MODELS = ["tone", "alloy"], ["tone", "tts-1"]
FILES = ["style.css", "app.js", "docs.html", "icon.svg"]
# Of what is generated, so much stays as it is; of the rest, a name that is there takes its place.
ASTRAY = 4


def known(generated: Any, names: list[str]) -> Any:
    """Mostly a name that is there: random ones would all end at the same refusal."""
    if not isinstance(generated, str) or not generated:
        return generated
    chosen = sum(generated.encode("utf-8", "surrogatepass"))
    return generated if chosen % ASTRAY == 0 else names[chosen % len(names)]


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    if KEYED:
        return
    # Where the server has no keys, nobody needs one.
    for item in raw_schema["paths"].values():
        for operation in item.values():
            operation["security"] = []


@schemathesis.hook
def map_path_parameters(context: schemathesis.HookContext, path_parameters: Any) -> Any:
    for name, names in [("voice", VOICES), ("model", MODELS), ("path", FILES)]:
        if path_parameters and name in path_parameters:
            path_parameters[name] = known(path_parameters[name], names)
    return path_parameters


@schemathesis.hook
def map_query(context: schemathesis.HookContext, query: Any) -> Any:
    if query and "model" in query:
        query["model"] = known(query["model"], MODELS)
    return query


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    if isinstance(body, dict):
        for name, names in [("voice", VOICES), ("model", MODELS), ("model_id", MODELS)]:
            if name in body:
                body[name] = known(body[name], names)
    return body


@schemathesis.check
def the_documented_headers_are_there(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """OpenAPI cannot say that an answer's header must be there; here all of them must."""
    answers = case.operation.definition.raw["responses"]
    said = answers.get(str(response.status_code), {}).get("headers", {})
    missing = [name for name in said if name.lower() not in response.headers]
    assert not missing, f"{response.status_code} without {', '.join(missing)}"


@schemathesis.serializer("application/x-ndjson")
def lines(_context: object, text: object) -> bytes:
    """Documents, one a line: whatever text the document allows is sent as it is."""
    return text if isinstance(text, bytes) else str(text).encode(errors="surrogatepass")
