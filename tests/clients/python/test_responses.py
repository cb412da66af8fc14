"""The Responses API with the official client: create, stream, parse, store, tools, errors."""

import asyncio
from typing import Literal

import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

QUESTION = "What is the capital of France?"


class Verdict(BaseModel):
    colour: Literal["red", "green"]
    is_sure: bool


TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather of a city.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "London"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def ask(model) -> dict:
    return {"model": model.id, "input": QUESTION, "max_output_tokens": 16, "temperature": 0}


def test_create(client, books, ask, model):
    before = books.balance()
    answer = client.responses.create(**ask)
    assert isinstance(answer, Response)
    assert answer.id.startswith("resp_") and answer.object == "response"
    assert answer.model == model.id
    assert answer.error is None
    (message,) = answer.output
    assert (message.type, message.role) == ("message", "assistant")
    (part,) = message.content
    assert part.type == "output_text" and part.text == answer.output_text
    assert part.annotations == []
    assert answer.output_text
    usage = answer.usage
    assert 0 < usage.output_tokens <= 16
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    cost = usage.output_tokens * model.credit_multiplier
    assert usage.model_extra["credits"] == cost
    assert books.balance() == before - cost


def test_cut_is_incomplete(client, ask):
    answer = client.responses.create(
        **ask | {"max_output_tokens": 3}, instructions="Write a long story."
    )
    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage.output_tokens == 3


def test_same_words_as_chat(client, ask, model):
    """Instructions are a system message, the input a user's."""
    messages = [
        {"role": "system", "content": "Answer in one word."},
        {"role": "user", "content": QUESTION},
    ]
    chat = client.chat.completions.create(
        model=model.id, messages=messages, max_tokens=16, temperature=0
    )
    answer = client.responses.create(**ask, instructions="Answer in one word.")
    assert answer.output_text == chat.choices[0].message.content
    assert answer.usage.input_tokens == chat.usage.prompt_tokens
    items = [
        {"role": "developer", "content": "Answer in one word."},
        {"role": "user", "content": [{"type": "input_text", "text": QUESTION}]},
    ]
    assert client.responses.create(**ask | {"input": items}).output_text == answer.output_text


def test_streamed_events(client, ask):
    plain = client.responses.create(**ask)
    events = list(client.responses.create(**ask, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    opening = ["response.created", "response.in_progress"]
    opening += ["response.output_item.added", "response.content_part.added"]
    assert kinds[:4] == opening
    closing = ["response.output_text.done", "response.content_part.done"]
    closing += ["response.output_item.done", f"response.{plain.status}"]
    assert kinds[-4:] == closing
    deltas = events[4:-4]
    assert {event.type for event in deltas} == {"response.output_text.delta"}
    assert "".join(event.delta for event in deltas) == plain.output_text
    assert all(event.logprobs == [] for event in deltas)
    assert events[-4].text == plain.output_text
    final = events[-1].response
    assert final.output_text == plain.output_text
    assert final.usage.output_tokens == plain.usage.output_tokens
    assert final.id == events[0].response.id


def test_streaming_helper(client, ask):
    short = {"input": "Say only: hello", "max_output_tokens": 60}
    with client.responses.stream(**ask | short) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert final.status == "completed"
    assert "".join(deltas) == final.output_text


def test_parse(client, ask):
    answer = client.responses.parse(**ask | {"max_output_tokens": 60}, text_format=Verdict)
    assert answer.status == "completed"
    assert isinstance(answer.output_parsed, Verdict)
    with client.responses.stream(
        **ask | {"max_output_tokens": 60}, text_format=Verdict
    ) as stream:
        stream.until_done()
        assert stream.get_final_response().output_parsed == answer.output_parsed


def test_stored_continued_and_deleted(client, ask):
    first = client.responses.create(**ask)
    kept = client.responses.retrieve(first.id)
    assert kept.output_text == first.output_text
    assert kept.usage.output_tokens == first.usage.output_tokens
    second = client.responses.create(
        **ask | {"input": "And of Italy?"}, previous_response_id=first.id
    )
    assert second.previous_response_id == first.id
    said = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "And of Italy?"},
    ]
    by_hand = client.responses.create(**ask | {"input": said})
    assert second.output_text == by_hand.output_text
    assert second.usage.input_tokens == by_hand.usage.input_tokens
    items = [item for item in client.responses.input_items.list(second.id, order="asc")]
    assert items[-1].content[0].text == "And of Italy?"
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.APIStatusError) as caught:
        client.responses.create(**ask, previous_response_id=first.id)
    assert caught.value.status_code in (400, 404)
    assert caught.value.param == "previous_response_id"


def test_not_stored_if_not_wanted(client, ask):
    answer = client.responses.create(**ask, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)


def test_another_account_sees_nothing(client, ask, poor):
    answer = client.responses.create(**ask)
    stranger, _ = poor(credits=100)
    with pytest.raises(openai.NotFoundError):
        stranger.responses.retrieve(answer.id)
    with pytest.raises(openai.NotFoundError):
        stranger.responses.delete(answer.id)
    assert client.responses.retrieve(answer.id).id == answer.id


def test_tools(client, ask, able_model):
    ask = ask | {"model": able_model.id, "max_output_tokens": 80, "tools": [TOOL]}
    answer = client.responses.create(**ask, tool_choice="required")
    calls = [item for item in answer.output if item.type == "function_call"]
    assert calls and all(call.name == "get_weather" and call.call_id for call in calls)
    assert '"city"' in calls[0].arguments
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"}
        for call in calls
    ]
    second = client.responses.create(
        **ask | {"input": results}, previous_response_id=answer.id, tool_choice="none"
    )
    assert second.output_text


def test_streamed_tools(client, ask, able_model):
    ask = ask | {"model": able_model.id, "max_output_tokens": 80, "tools": [TOOL]}
    named = {"type": "function", "name": "get_weather"}
    plain = client.responses.create(**ask, tool_choice=named)
    with client.responses.stream(**ask, tool_choice=named) as stream:
        events = list(stream)
        final = stream.get_final_response()
    (call,) = final.output
    assert call.type == "function_call" and call.name == "get_weather"
    assert call.arguments == plain.output[0].arguments
    kinds = [event.type for event in events]
    assert "response.function_call_arguments.delta" in kinds
    (done,) = [e for e in events if e.type == "response.function_call_arguments.done"]
    assert done.arguments == call.arguments
    assert [event.sequence_number for event in events] == sorted(
        event.sequence_number for event in events
    )


def test_asynchronous(async_client, client, ask):
    async def run():
        async with async_client() as client:
            plain = await client.responses.create(**ask)
            stream = await client.responses.create(**ask, stream=True)
            events = [event async for event in stream]
            return plain, events

    plain, events = asyncio.run(run())
    assert plain.output_text == events[-1].response.output_text


@pytest.mark.parametrize(
    ("own", "param"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"temperature": 9}, "temperature"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
    ],
)
def test_bad_fields(client, ask, books, own, param):
    before = books.balance()
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**ask | own)
    assert caught.value.param.startswith(param)
    assert books.balance() == before


def test_errors(client, ask):
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(**ask | {"model": "no-such-model"})
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_none")
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="mz-wrong").responses.create(**ask)


def test_balance_that_ends(poor, ask, model):
    client, books = poor(credits=5)
    ask = ask | {"input": "Write a long story.", "max_output_tokens": 50}
    answer = client.responses.create(**ask)
    assert answer.status == "incomplete"
    assert answer.usage.output_tokens == 5 // model.credit_multiplier
    assert answer.usage.model_extra["credits_exhausted"] is True
    with pytest.raises(openai.APIStatusError) as caught:
        client.with_options(max_retries=2).responses.create(**ask)
    assert caught.value.status_code == 402
