"""One server for all tests, and what they look at: a client, a model, the books."""

import os
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import openai
import pytest
from server import Server

MODEL = "smollm2-135m-instruct"


@dataclass
class Model:
    id: str
    tier: str
    credit_multiplier: int


class Books:
    """What a customer can read about its own account."""

    def __init__(self, native: openai.OpenAI):
        self.native = native

    def balance(self) -> int:
        return self.native.get("/credits", cast_to=object)["data"]["balance"]

    def generation(self, response_id: str) -> dict:
        """The stored record behind an answer, once its meter is closed."""
        deadline = time.monotonic() + 10
        while True:
            path = f"/generations/{response_id}"
            record = self.native.get(path, cast_to=object)["data"]
            if record["finish_reason"] is not None:
                return record
            assert time.monotonic() < deadline, "the meter stays open"
            time.sleep(0.05)


def options(origin: str, key: str) -> dict:
    # No retries: a test must see the first answer.
    return {"base_url": f"{origin}/v1", "api_key": key, "max_retries": 0, "timeout": 120}


def native_client(origin: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(**options(origin, key) | {"base_url": f"{origin}/api/v1"})


@pytest.fixture(scope="session")
def binary() -> str:
    if "MIZAN_BIN" not in os.environ:
        pytest.skip("needs MIZAN_BIN, a server to start and operate: see tests/clients/run")
    return os.environ["MIZAN_BIN"]


@pytest.fixture(scope="session")
def models_folder() -> Path:
    return Path(os.environ["MIZAN_TEST_MODELS"])


@pytest.fixture(scope="session")
def server(binary, models_folder, tmp_path_factory):
    server = Server(binary, tmp_path_factory.mktemp("mizan"), models_folder, MODEL)
    server.start()
    yield server
    server.stop()
    # Whatever the tests did: nothing is left open and the journal holds.
    print(server.operate("ledger", "verify"))


@pytest.fixture(scope="session")
def connection(request) -> dict:
    """Origin and key: those of the environment, else of the server we start."""
    if "MIZAN_BASE_URL" in os.environ:
        origin = os.environ["MIZAN_BASE_URL"].removesuffix("/").removesuffix("/v1")
        return {"origin": origin, "key": os.environ["MIZAN_API_KEY"]}
    server = request.getfixturevalue("server")
    return {"origin": server.origin, "key": server.new_account("clients", 100_000)}


@pytest.fixture(scope="session")
def client_options(connection) -> dict:
    return options(**connection)


@pytest.fixture(scope="session")
def client(client_options):
    with openai.OpenAI(**client_options) as client:
        yield client


@pytest.fixture(scope="session")
def native(connection):
    """The official client again, on the routes under /api/v1."""
    with native_client(**connection) as client:
        yield client


@pytest.fixture(scope="session")
def model(native) -> Model:
    name = os.environ.get("MIZAN_TEST_MODEL", MODEL)
    (entry,) = [m for m in native.get("/models", cast_to=object)["data"] if m["id"] == name]
    return Model(entry["id"], entry["tier"], entry["credit_multiplier"])


@pytest.fixture(scope="session")
def books(native) -> Books:
    return Books(native)


@pytest.fixture(scope="session")
def poor(server):
    """Makes accounts with few credits: (client, books) of a new one."""
    numbers = count(1)

    def make(credits: int) -> tuple[openai.OpenAI, Books]:
        key = server.new_account(f"poor-{next(numbers)}", credits)
        books = Books(native_client(server.origin, key))
        return openai.OpenAI(**options(server.origin, key)), books

    return make
