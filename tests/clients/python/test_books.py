"""What a customer pays when things end early or happen at once."""

import asyncio
import time

import openai
import pytest

LONG = [{"role": "user", "content": "Write a long story about a lighthouse keeper and the sea."}]


def settled(books) -> int:
    """The balance once it has stopped moving: nobody generates any more."""
    balance, since = books.balance(), time.monotonic()
    deadline = since + 20
    while time.monotonic() - since < 1:
        assert time.monotonic() < deadline, "the server still generates"
        time.sleep(0.1)
        now = books.balance()
        if now != balance:
            balance, since = now, time.monotonic()
    return balance


def test_disconnect_stops_generation(client, books, model):
    before = books.balance()
    stream = client.chat.completions.create(
        model=model.id,
        messages=LONG,
        max_tokens=2000,
        temperature=0,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    received = 0
    for chunk in stream:
        received += bool(chunk.choices[0].delta.content)
        if received == 5:
            break
    stream.close()
    charged = before - settled(books)
    record = books.generation(chunk.id)
    assert charged == record["credits"] == record["tokens_completion"] * model.credit_multiplier
    # What was on its way when the socket closed is paid for; the other 1,900 tokens are not made.
    assert received <= record["tokens_completion"] < 200


def test_plain_answer_nobody_waits_for_is_free(client, books, model):
    before = books.balance()
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).chat.completions.create(
            model=model.id,
            messages=LONG,
            max_tokens=2000,
            temperature=0,
            extra_body={"ignore_eos": True},
        )
    assert settled(books) == before


def test_balance_that_ends_mid_answer(poor, model):
    """Seven credits, then none: the answer is cut, and the next request is refused."""
    client, books = poor(credits=7)
    affordable = 7 // model.credit_multiplier
    ask = {"model": model.id, "messages": LONG, "max_tokens": 50, "temperature": 0}
    chunks = list(
        client.chat.completions.create(
            **ask, stream=True, stream_options={"include_usage": True}
        )
    )
    usage = chunks[-1].usage
    assert chunks[-2].choices[0].finish_reason == "length"
    assert usage.completion_tokens == affordable
    assert usage.model_extra["credits_exhausted"] is True
    assert books.balance() == usage.model_extra["balance"] == 7 % model.credit_multiplier
    with pytest.raises(openai.APIStatusError) as caught:
        client.with_options(max_retries=2).chat.completions.create(**ask)
    assert caught.value.status_code == 402
    assert caught.value.type == "insufficient_quota"
    assert caught.value.code == "credit_balance_exhausted"


def test_many_streams_at_once(async_client, books, model):
    """Sixteen streams: each gets what it would get alone, and the books add up."""
    before = books.balance()

    async def one(client, number: int) -> tuple[str, int]:
        stream = await client.chat.completions.create(
            model=model.id,
            messages=[{"role": "user", "content": f"Say something about the number {number % 4}."}],
            max_tokens=24,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        text, tokens = "", 0
        async for chunk in stream:
            if chunk.choices:
                text += chunk.choices[0].delta.content or ""
            if chunk.usage:
                tokens = chunk.usage.completion_tokens
        return text, tokens

    async def run() -> list[tuple[str, int]]:
        async with async_client() as client:
            return await asyncio.gather(*(one(client, number) for number in range(16)))

    answers = asyncio.run(run())
    assert all(text and tokens for text, tokens in answers)
    for number in range(4, 16):
        assert answers[number] == answers[number % 4]
    spent = sum(tokens for _, tokens in answers) * model.credit_multiplier
    assert books.balance() == before - spent


def test_idle_server_keeps_its_books(server, books):
    """Runs last in this file: `ledger verify` while the server lives."""
    assert server.mizan("ledger", "verify").returncode == 0
