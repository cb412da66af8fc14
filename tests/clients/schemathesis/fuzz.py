"""Starts a server with something of everything on it, and has schemathesis call every operation of
its document as each kind of caller."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE.parent / "python"))
from server import Server  # noqa: E402

MODEL = "smollm2-135m-instruct"
OPERATOR = "the operator of the fuzzed server"
PASSWORD = "correct horse battery staple"
# A plan that does not slow a fuzzer down.
SETTINGS = "\n[plans.unlimited]\n"
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
]
# No fuzzer can sign as a payment provider does, and schemathesis does not call what it reads the
# document from.
NEVER_SUCCEED = {"POST /api/v1/payments/{provider}/webhook", "GET /openapi.json"}
# What whoever has no key is told is the same everywhere, and a user may do less than a key.
PHASES = {
    "a key": "examples,coverage,fuzzing",
    "the operator": "examples,coverage,fuzzing",
    "a user": "examples,coverage",
    "nobody": "examples",
}


def call(server, secret, method, path, body=None):
    """A call that has to succeed; its answer."""
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.origin + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def furnish(server):
    """Rows of every kind; the secrets of the callers, and what paths may name."""
    admin = "/api/v1/admin"
    for name in ["fuzzed", "spare"]:
        call(server, OPERATOR, "POST", f"{admin}/accounts", {"name": name, "plan": "unlimited"})
    credits = {"credits": 10**9, "reason": "to be fuzzed"}
    call(server, OPERATOR, "POST", f"{admin}/accounts/fuzzed/grants", credits)
    scopes = "inference,usage,billing,keys,users"
    wanted = {"label": "fuzzer", "scopes": scopes}
    key = call(server, OPERATOR, "POST", f"{admin}/accounts/fuzzed/keys", wanted)
    secret = key["secret"]

    owner = {"name": "owner", "role": "owner"}
    owner = call(server, secret, "POST", "/api/v1/users", owner)
    member = call(server, secret, "POST", "/api/v1/users", {"name": "member", "role": "member"})
    accepted = {"invitation": owner["invitation"], "password": PASSWORD}
    call(server, "", "POST", "/api/v1/invitations/accept", accepted)
    session = {"name": "owner", "password": PASSWORD}
    session = call(server, "", "POST", "/api/v1/sessions", session)["token"]

    chat = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    generation = call(server, secret, "POST", "/v1/chat/completions", chat)["id"]
    said = {"model": MODEL, "input": "Hi", "max_output_tokens": 1}
    responses = [call(server, secret, "POST", "/v1/responses", said)["id"] for _ in range(40)]
    order, paid = (
        call(server, secret, "POST", "/api/v1/topups", {"pack": "starter"})["id"] for _ in "12"
    )
    transfer = {"amount_kwd": "2.000", "reference": "furniture"}
    call(server, OPERATOR, "POST", f"{admin}/topups/{paid}/confirm", transfer)
    refund = {"credits": 5, "reason": "furniture"}
    refund = call(server, OPERATOR, "POST", f"{admin}/topups/{paid}/refunds", refund)["id"]
    batch = {"batch": "furniture", "credits": 1, "count": 500}
    codes = call(server, OPERATOR, "POST", f"{admin}/vouchers", batch)["codes"]
    spare = call(server, secret, "POST", "/api/v1/keys", {"label": "spare"})["id"]
    call(server, secret, "PUT", "/api/v1/notices/low-balance", {"below": 10})
    known = {
        "model": MODEL,
        "own_key": key["id"],
        "own_users": [owner["id"]],
        "invitation": member["invitation"],
        "sign_in": {"name": "owner", "password": PASSWORD},
        "codes": codes,
        "keys": [spare],
        "users": [member["id"]],
        "accounts": ["fuzzed", "spare"],
        "generations": [generation],
        "responses": responses,
        "topups": [order, paid],
        "refunds": [refund],
        "batches": ["furniture"],
        "files": ["index.html"],
    }
    return {"a key": secret, "the operator": OPERATOR, "a user": session, "nobody": ""}, known


def fuzz(origin, secret, phases, known, seconds, seen):
    """One run of schemathesis; whether all was well."""
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "hooks",
        "PYTHONPATH": str(HERE),
        "FUZZ_KNOWN": json.dumps(known),
        "FUZZ_SEEN": str(seen),
    }
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{origin}/openapi.json",
        "--checks=" + ",".join(CHECKS),
        f"--phases={phases}",
        "--max-examples=20",
        "--continue-on-failure",
        "--generation-database=none",
        "--suppress-health-check=all",
        "--request-timeout=60",
        "--no-color",
        "--warnings=off",
        "--seed=1",
    ]
    if secret:
        command.append(f"--header=Authorization: Bearer {secret}")
    if seconds:
        command.append(f"--max-time={seconds}")
    return subprocess.run(command, env=environment, cwd=seen.parent).returncode == 0


def succeeded(seen):
    """Of each operation, how often it answered with which status."""
    statuses = defaultdict(Counter)
    for line in seen.read_text().splitlines():
        status, operation = line.split(" ", 1)
        statuses[operation][int(status)] += 1
    return statuses


def main():
    seconds = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(prefix="mizan-fuzzed-") as folder:
        folder = Path(folder)
        settings = folder / "models.toml"
        settings.write_text((ROOT / "models.toml").read_text() + SETTINGS)
        models = Path(os.environ["MIZAN_TEST_MODELS"])
        binary, data = os.environ["MIZAN_BIN"], folder / "data"
        server = Server(binary, data, models, [MODEL], "--config", settings)
        server.environment |= {"MIZAN_ADMIN_KEY": OPERATOR}
        server.start()
        callers, known = furnish(server)
        seen = folder / "seen"
        failed = []
        for name, secret in callers.items():
            print(f"\n== as {name}", flush=True)
            if not fuzz(server.origin, secret, PHASES[name], known, seconds, seen):
                failed.append(name)
        server.stop()
        # Whatever was called: nothing is left open and the journal holds.
        print(server.operate("ledger", "verify"))
        statuses = succeeded(seen)
        with urllib.request.urlopen((folder / "document").as_uri()) as document:
            paths = json.load(document)["paths"]
    operations = {f"{m.upper()} {path}" for path, methods in paths.items() for m in methods}
    barren = {o for o in operations if not any(s < 400 for s in statuses[o])} - NEVER_SUCCEED
    for operation in sorted(barren):
        print(f"never succeeded: {operation} {dict(statuses[operation])}")
    print(f"{len(operations)} operations, {sum(sum(s.values()) for s in statuses.values())} calls")
    if failed or barren:
        sys.exit(f"failed: {', '.join(failed) or 'not every operation was seen to succeed'}")


if __name__ == "__main__":
    main()
