"""A server that has too much to do, and what the official client makes of its answers."""

import asyncio
import time

import openai
import pytest
from books import Books
from conftest import MODEL, native_client, options
from server import CATALOG, Server

PLANS = """
[plans.single]
max_concurrent_requests = 1

[plans.slow]
max_requests_per_minute = 30
"""
STORY = {"model": MODEL, "prompt": "Once upon a time", "temperature": 0}


@pytest.fixture(scope="module")
def busy(binary, models_folder, tmp_path_factory):
    """Computes one sequence at a time, and lets one wait."""
    data = tmp_path_factory.mktemp("busy")
    (data / "plans.toml").write_text(CATALOG.read_text() + PLANS)
    flags = ("--config", data / "plans.toml", "--max-batch", 1, "--queue", 1)
    server = Server(binary, data, models_folder, [MODEL], *flags)
    server.start()
    yield server
    server.stop()
    server.operate("ledger", "verify")


@pytest.fixture(scope="module")
def connection(busy):
    """This server instead of the shared one."""
    return {"origin": busy.origin, "key": busy.new_account("team", 100_000)}


@pytest.fixture
def of_plan(busy, wire):
    """Makes an account of a plan: (options of its client, books)."""

    def make(plan: str) -> tuple[dict, Books]:
        key = busy.new_account(f"{plan}-plan", 10_000, plan)
        return options(busy.origin, key), Books(native_client(busy.origin, key))

    return make


def retry_after(caught) -> int:
    return int(caught.value.response.headers["retry-after"])


def test_full_queue_is_503_and_retried(async_client, books, model):
    """Four at once, where one runs and one waits: the rest is refused at once, and comes again."""

    async def run(retries: int) -> list:
        async with async_client() as client:
            patient = client.with_options(max_retries=retries)
            ask = patient.completions.create(
                **STORY, max_tokens=30, extra_body={"ignore_eos": True}
            )
            others = [
                patient.completions.create(**STORY, max_tokens=30, extra_body={"ignore_eos": True})
                for _ in range(5)
            ]
            return await asyncio.gather(ask, *others, return_exceptions=True)

    impatient = asyncio.run(run(retries=0))
    refused = [answer for answer in impatient if isinstance(answer, Exception)]
    assert refused and len(refused) < 6
    for error in refused:
        assert isinstance(error, openai.InternalServerError)
        assert (error.status_code, error.code, error.type) == (503, "queue_full", "server_error")
        assert 1 <= int(error.response.headers["retry-after"]) <= 120
    before = books.balance()
    answers = asyncio.run(run(retries=8))
    assert {answer.choices[0].text for answer in answers} == {answers[0].choices[0].text}
    assert books.balance() == before - 6 * 30 * model.credit_multiplier


def test_too_many_at_once_is_429_and_retried(of_plan, wire):
    settings, books = of_plan("single")
    with openai.OpenAI(**settings, http_client=wire.client()) as client:
        stream = client.completions.create(**STORY, max_tokens=400, stream=True)
        next(stream)
        with pytest.raises(openai.RateLimitError) as caught:
            client.completions.create(**STORY, max_tokens=1)
        assert caught.value.code == "rate_limit_exceeded"
        assert 1 <= retry_after(caught) <= 120
        stream.close()
        answer = client.with_options(max_retries=5).completions.create(**STORY, max_tokens=1)
        assert answer.usage.completion_tokens == 1


def test_too_many_a_minute_is_429_and_waited_for(of_plan, wire):
    """The client waits as long as it is told to, and then is served."""
    settings, books = of_plan("slow")
    with openai.OpenAI(**settings, http_client=wire.client()) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            for _ in range(40):
                client.completions.create(**STORY, max_tokens=1)
        headers = caught.value.response.headers
        assert headers["x-ratelimit-limit-requests"] == "30"
        assert headers["x-ratelimit-remaining-requests"] == "0"
        told = retry_after(caught)
        assert 1 <= told <= 3
        started = time.monotonic()
        client.with_options(max_retries=2).completions.create(**STORY, max_tokens=1)
        assert time.monotonic() - started < told + 2
    assert books.balance() == 10_000 - len(books.since(None))


def test_empty_balance_is_not_retried(busy, wire):
    key = busy.new_account("empty", 1)
    with openai.OpenAI(**options(busy.origin, key), http_client=wire.client()) as client:
        client.completions.create(**STORY, max_tokens=1)
        started = time.monotonic()
        with pytest.raises(openai.APIStatusError) as caught:
            client.with_options(max_retries=5).completions.create(**STORY, max_tokens=1)
        assert caught.value.status_code == 402
        assert time.monotonic() - started < 0.4, "the first wait alone is longer"
