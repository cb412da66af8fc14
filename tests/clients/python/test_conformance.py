"""Public conformance tools, run as their users run them: their verdict is the test.

They ask without a seed and without `max_tokens`, and expect turns that end. So this server's models
are greedy unless asked otherwise: every run is the same.
"""

import json
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest
from conftest import ABLE_MODEL, MODEL
from server import CATALOG, Server

SCRIPTS = Path(sysconfig.get_path("scripts"))
GREEDY = "sampling = { temperature = 0 }"


@pytest.fixture(scope="module")
def connection(binary, models_folder, tmp_path_factory):
    """A server of its own instead of the shared one."""
    data = tmp_path_factory.mktemp("conformance")
    catalog = re.sub(r"(?m)^sampling = .*$", GREEDY, CATALOG.read_text())
    (data / "models.toml").write_text(catalog)
    serve = [MODEL, ABLE_MODEL]
    server = Server(binary, data, models_folder, serve, "--config", data / "models.toml")
    server.start()
    yield {"origin": server.origin, "key": server.new_account("conformance", 100_000)}
    server.stop()
    server.operate("ledger", "verify")


def run(tool: str, *arguments: str) -> dict:
    """The report, if the tool is content."""
    command = [SCRIPTS / tool, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_provider_check(connection):
    """Catalogue, every model, plain and streamed chat: no failure and no warning."""
    url, key = f"{connection['origin']}/v1", connection["key"]
    tool = "trustedrouter-provider-check"
    report = run(tool, "--base-url", url, "--api-key", key, "--model", ABLE_MODEL, "--json", "-")
    found = {check["id"]: check["status"] for check in report["checks"]}
    assert len(found) == 18
    # A marketplace's own catalogue is the only thing it does not find.
    assert {id for id, status in found.items() if status != "pass"} == {"catalog.declared-v2"}


def comply(connection, form: str, tests: list[str], *arguments: str) -> None:
    """All of `tests` pass."""
    url, key = f"{connection['origin']}/v1", connection["key"]
    ask = ["--format", form, "-u", url, "-k", key, "-m", ABLE_MODEL, "-f", ",".join(tests)]
    report = run("llm-comply", *ask, "--json", *arguments)
    assert {r["id"]: r["status"] for r in report["results"]} == dict.fromkeys(tests, "passed")


# Left out of each: images and summaries of reasoning, which no model here has, and compaction of
# responses, which this server does not offer.


def test_llm_comply_chat(connection):
    tests = "basic-response system-prompt multi-turn streaming-response streaming-usage"
    tests = [f"chat-{test}" for test in [*tests.split(), "error-handling"]]
    comply(connection, "openai-chat", tests)


def test_llm_comply_chat_tools(connection):
    comply(connection, "openai-chat", ["chat-tool-calling"])


def test_llm_comply_responses(connection):
    tests = (
        "basic-response system-prompt multi-turn streaming-response streaming-usage "
        "assistant-phase response-output-phase-schema error-handling"
    )
    comply(connection, "open-responses", tests.split())


def test_llm_comply_responses_tools(connection):
    comply(connection, "open-responses", ["tool-calling"])


ANTHROPIC = ["--auth-header", "x-api-key", "--no-bearer", "-H", "anthropic-version:2023-06-01"]


def test_llm_comply_messages(connection):
    tests = "basic-response system-prompt multi-turn streaming-response streaming-usage"
    tests = [f"anth-{test}" for test in [*tests.split(), "error-handling"]]
    comply(connection, "anthropic", tests, *ANTHROPIC)


def test_llm_comply_messages_tools(connection):
    comply(connection, "anthropic", ["anth-tool-calling"], *ANTHROPIC)
