"""What schemathesis does not know: names that are there, calls that would end the run, and how much
may be generated. It also has the answers' schemas closed, so that a field which the document does
not name is found."""

import json
import os
from itertools import count

import schemathesis

KNOWN = json.loads(os.environ["FUZZ_KNOWN"])
SEEN = open(os.environ["FUZZ_SEEN"], "a", buffering=1)
CALLS = count()

# What a path's `{...}` names, by the start of the path.
NAMES = [
    ("/api/v1/admin/accounts/", "accounts"),
    ("/api/v1/admin/keys/", "keys"),
    ("/api/v1/keys/", "keys"),
    ("/api/v1/admin/users/", "users"),
    ("/api/v1/users/", "users"),
    ("/api/v1/admin/topups/", "topups"),
    ("/api/v1/topups/", "topups"),
    ("/topups/", "topups"),
    ("/assets/", "files"),
    ("/api/v1/admin/refunds/", "refunds"),
    ("/api/v1/admin/vouchers/", "batches"),
    ("/api/v1/generations/", "generations"),
    ("/v1/responses/", "responses"),
    ("/api/v1/responses/", "responses"),
]
GENERATING = ("/chat/completions", "/completions")


@schemathesis.hook
def before_load_schema(context, raw_schema):
    schemas = raw_schema["components"]["schemas"]
    reached = set()

    def close(node):
        if isinstance(node, list):
            for item in node:
                close(item)
        elif isinstance(node, dict):
            name = node.get("$ref", "").removeprefix("#/components/schemas/")
            if name in schemas and name not in reached:
                reached.add(name)
                close(schemas[name])
            if "properties" in node:
                node.setdefault("additionalProperties", False)
            for value in node.values():
                close(value)

    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            close(operation["responses"])
    close(raw_schema["components"]["responses"])
    with open(os.path.join(os.path.dirname(os.environ["FUZZ_SEEN"]), "document"), "w") as file:
        json.dump(raw_schema, file)


def name(case, number):
    """Every other time, the path names something that is there."""
    path = case.operation.path
    for start, kind in NAMES:
        if path.startswith(start) and case.path_parameters and number % 2 == 0:
            choices = KNOWN[kind]
            for parameter in case.path_parameters:
                case.path_parameters[parameter] = choices[number // 2 % len(choices)]


def spare(case):
    """The caller stays who it is."""
    path, values = case.operation.path, case.path_parameters or {}
    if "/keys/{id}" in path and str(values.get("id")) == str(KNOWN["own_key"]):
        values["id"] = 999_999
    if "/users/{id}" in path and values.get("id") in KNOWN["own_users"]:
        values["id"] = 999_999
    if path.endswith("{name}/close") and values.get("name") == "fuzzed":
        values["name"] = "spare"
    if path.endswith("accounts/{name}") and isinstance(case.body, dict) and case.method == "PATCH":
        if values.get("name") == "fuzzed":
            values["name"] = "spare"


def furnish(case, number):
    """Bodies that name what is there: a model, a code, a password."""
    path, body = case.operation.path, case.body
    if not isinstance(body, dict):
        return
    if isinstance(body.get("model"), str) and number % 4:
        body["model"] = KNOWN["model"]
    if path.endswith(GENERATING):
        # A whole context for each example would take hours.
        for field in ["max_tokens", "max_completion_tokens", "min_tokens"]:
            if isinstance(body.get(field), int) and body[field] > 3:
                body[field] = 3
        body.setdefault("max_tokens", 3)
        if body["max_tokens"] is None:
            body["max_tokens"] = 3
        if isinstance(body.get("n"), int) and body["n"] > 2:
            body["n"] = 2
    if number % 2:
        return
    if path.endswith("/vouchers/redeem") and KNOWN["codes"]:
        body["code"] = KNOWN["codes"].pop()
    if path.endswith("/topups") and "pack" in body:
        body["pack"] = "starter"
        body.pop("provider", None)
    if path.endswith("/sessions/cookie"):
        case.headers = {**(case.headers or {}), "x-mizan-dashboard": "1"}
        body.pop("key", None)
        body.update(KNOWN["sign_in"])
    if path.endswith("/sessions"):
        body.update(KNOWN["sign_in"])
    if path.endswith("/invitations/accept") and "invitation" in body:
        body["invitation"] = KNOWN["invitation"]
    if path.endswith("/confirm") and "amount_kwd" in body:
        body["amount_kwd"] = "2.000"


@schemathesis.hook
def before_call(context, case, kwargs):
    number = next(CALLS)
    name(case, number)
    spare(case)
    furnish(case, number)


@schemathesis.hook
def after_call(context, case, response):
    SEEN.write(f"{response.status_code} {case.operation.method.upper()} {case.operation.path}\n")
