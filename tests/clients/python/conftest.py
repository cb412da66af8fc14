"""One server for all tests, and what they look at: a client, a model, the books.

Each file of tests has an account of its own. After each test, whatever client it used, the books
must tell the same as the wire did: see `every_token_is_booked`.
"""

import os
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import openai
import pytest
from books import Books
from server import Server, with_thinker
from wire import Wire

MODEL = "smollm2-135m-instruct"  # The default one.
ABLE_MODEL = "qwen2.5-coder-0.5b-instruct"  # Was trained to call tools.
THINKER = "thinker"  # See thinker.toml.


@dataclass
class Model:
    id: str
    tier: str
    credit_multiplier: int


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
    data = tmp_path_factory.mktemp("mizan")
    serve = [MODEL, ABLE_MODEL, THINKER]
    config = with_thinker(data, models_folder)
    server = Server(binary, data, models_folder, serve, "--config", config)
    server.start()
    yield server
    server.stop()
    # Whatever the tests did: nothing is left open and the journal holds.
    print(server.operate("ledger", "verify"))


@pytest.fixture(scope="session")
def wire() -> Wire:
    return Wire()


@pytest.fixture(scope="module")
def connection(request) -> dict:
    """Origin and key: those of the environment, else of the server we start."""
    if "MIZAN_BASE_URL" in os.environ:
        origin = os.environ["MIZAN_BASE_URL"].removesuffix("/").removesuffix("/v1")
        return {"origin": origin, "key": os.environ["MIZAN_API_KEY"]}
    server = request.getfixturevalue("server")
    account = request.module.__name__.replace("_", "-")
    return {"origin": server.origin, "key": server.new_account(account, 100_000)}


@pytest.fixture(scope="module")
def client_options(connection) -> dict:
    return options(**connection)


@pytest.fixture(scope="module")
def client(client_options, wire):
    with openai.OpenAI(**client_options, http_client=wire.client()) as client:
        yield client


@pytest.fixture
def async_client(client_options, wire):
    """Makes a client: each event loop needs its own."""
    return lambda: openai.AsyncOpenAI(**client_options, http_client=wire.async_client())


@pytest.fixture(scope="module")
def native(connection):
    """The official client again, on the routes under /api/v1."""
    with native_client(**connection) as client:
        yield client


def model_of(native: openai.OpenAI, name: str) -> Model:
    (entry,) = [m for m in native.get("/models", cast_to=object)["data"] if m["id"] == name]
    return Model(entry["id"], entry["tier"], entry["credit_multiplier"])


@pytest.fixture(scope="module")
def model(native) -> Model:
    return model_of(native, os.environ.get("MIZAN_TEST_MODEL", MODEL))


@pytest.fixture(scope="module")
def able_model(native) -> Model:
    """For what a model has to want by itself."""
    return model_of(native, os.environ.get("MIZAN_TEST_ABLE_MODEL", ABLE_MODEL))


@pytest.fixture(scope="module")
def token_ids(connection, native, model):
    """Token ids of a text, which may name control tokens."""
    url = f"{connection['origin']}/tokenize"

    def tokenize(text: str) -> list[int]:
        body = {"model": model.id, "content": text, "parse_special": True}
        return native.post(url, cast_to=object, body=body)["tokens"]

    return tokenize


@pytest.fixture(scope="module")
def books(native) -> Books:
    return Books(native)


@pytest.fixture(autouse=True)
def every_token_is_booked(connection, books, wire):
    """Of each request of a test: tokens told = tokens charged = tokens stored."""
    wire.answers.clear()
    balance, newest = books.balance(), books.newest()
    yield
    requests = books.since(newest)
    for row in requests:
        is_reversed = row["status"] == "reversed"
        tokens = 0 if is_reversed else row["tokens_completion"]
        assert row["credits"] == tokens * row["credit_multiplier"], row
    assert balance - books.balance() == sum(row["credits"] for row in requests)
    for answer in wire.answers:
        if answer.tokens is not None:
            told = Books(native_client(connection["origin"], answer.key))
            told.check(answer.id, answer.tokens)


@pytest.fixture(scope="session")
def poor(server, wire):
    """Makes accounts with few credits: (client, books) of a new one."""
    numbers = count(1)

    def make(credits: int) -> tuple[openai.OpenAI, Books]:
        key = server.new_account(f"poor-{next(numbers)}", credits)
        books = Books(native_client(server.origin, key))
        client = openai.OpenAI(**options(server.origin, key), http_client=wire.client())
        return client, books

    return make
