"""Cases where other servers' wire or count went wrong."""

import asyncio
import time

import openai
import pytest

QUESTION = [{"role": "user", "content": "Tell a story about a fox."}]


@pytest.fixture
def ask(model) -> dict:
    return {"model": model.id, "messages": QUESTION, "temperature": 0}


@pytest.mark.parametrize("streamed", [False, True])
def test_one_token_of_each_of_three(client, books, ask, model, streamed):
    before = books.balance()
    own = {"n": 3, "max_tokens": 1, "temperature": 1, "seed": 4}
    if streamed:
        options = {"stream": True, "stream_options": {"include_usage": True}}
        chunks = list(client.chat.completions.create(**ask | own, **options))
        usage = chunks[-1].usage
        ends = {c.choices[0].index: c.choices[0].finish_reason for c in chunks[:-1]}
    else:
        answer = client.chat.completions.create(**ask | own)
        usage = answer.usage
        ends = {choice.index: choice.finish_reason for choice in answer.choices}
    assert ends == {0: "length", 1: "length", 2: "length"}
    assert usage.completion_tokens == 3
    assert books.balance() == before - 3 * model.credit_multiplier


@pytest.mark.parametrize("streamed", [False, True])
def test_no_token_at_all(client, books, ask, token_ids, streamed):
    """The turn ends at once: an empty answer, for nothing."""
    before = books.balance()
    (end,) = token_ids("<|im_end|>")
    own = {"max_tokens": 5, "logit_bias": {str(end): 100}}
    if streamed:
        with client.chat.completions.stream(**ask | own) as stream:
            stream.until_done()
            (choice,) = stream.get_final_completion().choices
    else:
        (choice,) = client.chat.completions.create(**ask | own).choices
    assert choice.message.content == ""
    assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
    assert books.balance() == before


def test_continuous_usage_counts_up(client, ask):
    """Only for who asks for it; the last one has the extension's fields too."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(
        client.chat.completions.create(**ask, max_tokens=8, stream=True, stream_options=options)
    )
    counts = [chunk.usage.completion_tokens for chunk in chunks]
    assert counts == sorted(counts) and counts[-1] == 8
    assert all("credits" not in chunk.usage.model_extra for chunk in chunks[:-1])
    assert chunks[-1].usage.model_extra["credits"] > 0


def test_stop_string_that_begins_and_does_not_come(client, ask):
    """What is held back is given out in the end."""
    whole = client.chat.completions.create(**ask, max_tokens=12)
    text = whole.choices[0].message.content
    almost = text[-3:] + "\N{SNOWMAN}"
    stream = client.chat.completions.create(**ask, max_tokens=12, stop=almost, stream=True)
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    assert chunks[-1].choices[0].finish_reason == "length"


def test_many_requests_on_a_balance_of_one(poor, ask, wire):
    """One token can be paid, so one is sent; nobody gets one for nothing."""
    client, books = poor(credits=1)

    async def run() -> list:
        settings = {"base_url": client.base_url, "api_key": client.api_key, "max_retries": 0}
        async with openai.AsyncOpenAI(**settings, http_client=wire.async_client()) as many:
            asked = (many.chat.completions.create(**ask, max_tokens=1) for _ in range(50))
            return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(run())
    errors = [answer for answer in answers if isinstance(answer, openai.APIStatusError)]
    paid = [answer.usage.completion_tokens for answer in answers if answer not in errors]
    assert sum(paid) == 1
    assert {error.status_code for error in errors} <= {402, 429}
    assert books.balance() == 0


def test_leaving_the_queue_is_free(async_client, books, ask):
    """More at once than are computed together: those that leave early cost nothing."""
    newest = books.newest()

    async def run() -> None:
        async with async_client() as client:
            long = {"max_tokens": 300, "extra_body": {"ignore_eos": True}}
            asked = [
                asyncio.create_task(client.chat.completions.create(**ask, **long))
                for _ in range(40)
            ]
            await asyncio.sleep(0.3)
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    before = books.balance()
    asyncio.run(run())
    requests = books.since(newest)
    assert requests and all(request["status"] == "reversed" for request in requests)
    assert books.balance() == before


def test_others_go_on_when_one_leaves(async_client, ask):
    """A client that disconnects ends its own generation only."""

    async def run() -> list[str]:
        async with async_client() as client:
            alone = await client.chat.completions.create(**ask, max_tokens=60)
            others = [
                asyncio.create_task(client.chat.completions.create(**ask, max_tokens=60))
                for _ in range(3)
            ]
            leaving = await client.chat.completions.create(**ask, max_tokens=500, stream=True)
            async for _ in leaving:
                break
            await leaving.close()
            answers = [alone, *await asyncio.gather(*others)]
            return [answer.choices[0].message.content for answer in answers]

    texts = asyncio.run(run())
    assert texts == [texts[0]] * 4


def test_repeated_request_is_paid_for_once(client, books, ask):
    before = books.balance()
    headers = {"Idempotency-Key": f"once-{time.time_ns()}"}
    first = client.chat.completions.create(**ask, max_tokens=6, extra_headers=headers)
    spent = before - books.balance()
    again = client.chat.completions.create(**ask, max_tokens=6, extra_headers=headers)
    assert again.choices[0].message.content == first.choices[0].message.content
    assert before - books.balance() == spent
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**ask, max_tokens=7, extra_headers=headers)
    assert caught.value.status_code in (400, 409, 422)


def test_images_are_refused_by_name(client, ask):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            **ask | {"messages": [{"role": "user", "content": [image]}]}, max_tokens=1
        )
    assert caught.value.param == "messages[0].content[0].type"
