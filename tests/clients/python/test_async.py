"""The asynchronous client: the same answers as the synchronous one, and many at once."""

import asyncio

import openai
import pytest

QUESTION = [{"role": "user", "content": "What is the largest planet?"}]


def test_plain_and_streamed(async_client, client, model):
    ask = {"model": model.id, "messages": QUESTION, "max_tokens": 16, "temperature": 0}

    async def both():
        async with async_client() as client:
            plain = await client.chat.completions.create(**ask)
            stream = await client.chat.completions.create(**ask, stream=True)
            return plain, [chunk async for chunk in stream]

    plain, chunks = asyncio.run(both())
    expected = client.chat.completions.create(**ask).choices[0]
    assert plain.choices[0].message == expected.message
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == expected.message.content
    assert chunks[-1].choices[0].finish_reason == expected.finish_reason


def test_streaming_helper(async_client, model):
    async def run():
        async with async_client() as client:
            async with client.chat.completions.stream(
                model=model.id,
                messages=[{"role": "user", "content": "Say hello."}],
                temperature=0,
                max_tokens=64,
                stream_options={"include_usage": True},
            ) as stream:
                events = [event async for event in stream]
                return events, await stream.get_final_completion()

    events, final = asyncio.run(run())
    kinds = [event.type for event in events]
    assert kinds[-1] == "content.done" or "content.done" in kinds
    deltas = "".join(event.delta for event in events if event.type == "content.delta")
    assert deltas == final.choices[0].message.content
    assert final.choices[0].finish_reason == "stop"
    assert final.usage.completion_tokens > 0


def test_completions_models_and_errors(async_client, model):
    async def run():
        async with async_client() as client:
            answer = await client.completions.create(
                model=model.id, prompt="One, two, three,", max_tokens=6, temperature=0
            )
            assert answer.choices[0].text and answer.usage.completion_tokens == 6
            listed = [entry.id async for entry in client.models.list()]
            assert model.id in listed
            assert (await client.models.retrieve(model.id)).id == model.id
            with pytest.raises(openai.NotFoundError):
                await client.models.retrieve("no-such-model")
            with pytest.raises(openai.BadRequestError):
                await client.chat.completions.create(model=model.id, messages=[])

    asyncio.run(run())


def test_cancelled_task_stops_generation(async_client, books, model):
    async def run():
        async with async_client() as client:
            plain = asyncio.create_task(
                client.chat.completions.create(
                    model=model.id,
                    messages=QUESTION,
                    max_tokens=2000,
                    temperature=0,
                    extra_body={"ignore_eos": True},
                )
            )
            await asyncio.sleep(0.3)
            plain.cancel()
            with pytest.raises(asyncio.CancelledError):
                await plain

    before, newest = books.balance(), books.newest()
    asyncio.run(run())
    (request,) = books.since(newest)
    assert request["status"] == "reversed"
    assert books.balance() == before
