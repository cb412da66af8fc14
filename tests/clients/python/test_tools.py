"""Tool calls with the official client: chosen, forced and named; plain and streamed."""

import asyncio
import json
from typing import Literal

import openai
import pytest
from pydantic import BaseModel, Field

QUESTION = [{"role": "user", "content": "What is the weather in Paris? Use the tool."}]


class get_weather(BaseModel):  # noqa: N801: the tool's name
    """Tells the weather of a city."""

    city: Literal["Paris", "London", "Kuwait"]
    unit: Literal["celsius", "fahrenheit"]


class add(BaseModel):  # noqa: N801
    """Adds two numbers."""

    a: int = Field(ge=0, le=99)
    b: int = Field(ge=0, le=99)


TOOLS = [openai.pydantic_function_tool(get_weather), openai.pydantic_function_tool(add)]
KINDS = {"get_weather": get_weather, "add": add}


@pytest.fixture
def ask(able_model) -> dict:
    return {
        "model": able_model.id,
        "messages": QUESTION,
        "tools": TOOLS,
        "max_tokens": 120,
        "temperature": 0,
    }


def check_call(call) -> BaseModel:
    """A whole call of one of the tools; its arguments."""
    assert call.id and call.type == "function"
    return KINDS[call.function.name].model_validate_json(call.function.arguments)


def test_required(client, ask):
    answer = client.chat.completions.create(**ask, tool_choice="required")
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    calls = choice.message.tool_calls
    assert len({call.id for call in calls}) == len(calls) >= 1
    for call in calls:
        check_call(call)


def test_required_of_the_default_model(client, ask, model):
    """Which was not trained to call tools: the form is right all the same."""
    # One call: it would go on calling until it is cut off.
    forced = {"model": model.id, "tool_choice": "required", "parallel_tool_calls": False}
    answer = client.chat.completions.create(**ask | forced)
    for call in answer.choices[0].message.tool_calls:
        check_call(call)


@pytest.mark.parametrize("name", KINDS)
def test_named(client, ask, name):
    choice = {"type": "function", "function": {"name": name}}
    answer = client.chat.completions.create(**ask, tool_choice=choice)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == name
    check_call(call)
    assert answer.choices[0].finish_reason in ("tool_calls", "stop")


def test_none(client, ask):
    answer = client.chat.completions.create(**ask, tool_choice="none")
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_auto_calls_or_talks(client, ask):
    """Either a call or an answer, and `finish_reason` says which; asked for weather, it calls."""
    for content in ("What is the weather in Paris? Use the tool.", "Say only: hello"):
        messages = [{"role": "user", "content": content}]
        answer = client.chat.completions.create(**ask | {"messages": messages})
        (choice,) = answer.choices
        if choice.message.tool_calls:
            assert choice.finish_reason == "tool_calls"
            for call in choice.message.tool_calls:
                assert call.id and call.function.name in KINDS
        else:
            assert choice.finish_reason in ("stop", "length")
            assert choice.message.content


def test_one_call_at_most(client, ask):
    messages = [{"role": "user", "content": "Weather in Paris and in London? Call for both."}]
    answer = client.chat.completions.create(
        **ask | {"messages": messages}, tool_choice="required", parallel_tool_calls=False
    )
    (call,) = answer.choices[0].message.tool_calls
    check_call(call)


def test_streamed(client, ask):
    """The client's own collector: it throws on a repeated id or name, or a missing index."""
    plain = client.chat.completions.create(**ask, tool_choice="required")
    with client.chat.completions.stream(
        **ask, tool_choice="required", stream_options={"include_usage": True}
    ) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    (choice,) = final.choices
    assert choice.finish_reason == "tool_calls"
    assert not choice.message.content
    expected = [call.function for call in plain.choices[0].message.tool_calls]
    found = [call.function for call in choice.message.tool_calls]
    assert [(f.name, f.arguments) for f in found] == [(f.name, f.arguments) for f in expected]
    assert all(isinstance(f.parsed_arguments, KINDS[f.name]) for f in found)
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [event.name for event in done] == [f.name for f in expected]
    deltas = [event for event in events if event.type == "tool_calls.function.arguments.delta"]
    joined = "".join(event.arguments_delta for event in deltas if event.index == 0)
    assert joined == expected[0].arguments
    assert final.usage.completion_tokens == plain.usage.completion_tokens


def test_deltas_on_the_wire(client, ask):
    """First id, type and name, whole and once; then pieces of arguments only."""
    chunks = list(client.chat.completions.create(**ask, tool_choice="required", stream=True))
    seen, roles = {}, 0
    for chunk in chunks:
        (choice,) = chunk.choices
        roles += choice.delta.role is not None
        for call in choice.delta.tool_calls or []:
            if call.index not in seen:
                assert call.index == len(seen)
                assert call.id and call.type == "function" and call.function.name in KINDS
                seen[call.index] = call.function.arguments or ""
            else:
                assert call.id is None and call.type is None and call.function.name is None
                seen[call.index] += call.function.arguments
    assert roles == 1 and seen
    assert all(isinstance(json.loads(arguments), dict) for arguments in seen.values())
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_parse_gives_typed_arguments(client, ask):
    answer = client.chat.completions.parse(**ask, tool_choice="required")
    for call in answer.choices[0].message.tool_calls:
        assert isinstance(call.function.parsed_arguments, KINDS[call.function.name])


def test_round_trip(client, ask):
    """The call goes back with its result, as clients send them, and is talked about."""
    first = client.chat.completions.create(**ask, tool_choice="required")
    message = first.choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": '{"degrees": 21}'}
        for call in message.tool_calls
    ]
    messages = [*QUESTION, message.model_dump(exclude_none=True), *results]
    second = client.chat.completions.create(
        **ask | {"messages": messages, "max_tokens": 40}, tool_choice="none"
    )
    assert second.choices[0].message.content


def test_several_choices_at_once(async_client, ask):
    async def run():
        async with async_client() as client:
            return await client.chat.completions.create(
                **ask | {"temperature": 1.5}, n=3, seed=11, tool_choice="required"
            )

    answer = asyncio.run(run())
    ids = [call.id for choice in answer.choices for call in choice.message.tool_calls]
    assert len(set(ids)) == len(ids) >= 3
    for choice in answer.choices:
        for call in choice.message.tool_calls:
            check_call(call)


@pytest.mark.parametrize(
    ("own", "param"),
    [
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "fly"}}}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "rocket"}]}, "tools[0].type"),
    ],
)
def test_bad_tools(client, ask, own, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**ask | own)
    assert caught.value.param.startswith(param)
