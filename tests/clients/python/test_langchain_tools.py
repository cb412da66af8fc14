"""LangChain's tools and structured output."""

from typing import Literal

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

QUESTION = [HumanMessage("What is the weather in Paris?")]


@tool
def get_weather(city: Literal["Paris", "London"]) -> str:
    """Tells the weather of a city."""
    return f"21 degrees in {city}"


class Verdict(BaseModel):
    """A verdict."""

    colour: Literal["red", "green"]
    is_sure: bool


@pytest.fixture
def chat(connection, wire, able_model) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=f"{connection['origin']}/v1",
        api_key=connection["key"],
        http_client=wire.client(),
        http_async_client=wire.async_client(),
        model=able_model.id,
        temperature=0,
        max_tokens=80,
        max_retries=0,
    )


@pytest.mark.parametrize("choice", ["any", "get_weather"])
def test_bound_tools(chat, choice):
    bound = chat.bind_tools([get_weather], tool_choice=choice)
    answer = bound.invoke(QUESTION)
    assert answer.tool_calls and not answer.invalid_tool_calls
    for call in answer.tool_calls:
        assert call["name"] == "get_weather" and call["id"]
    results = [
        ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
        for call in answer.tool_calls
    ]
    second = chat.invoke([*QUESTION, answer, *results])
    assert second.content


def test_streamed_tools(chat):
    """LangChain drops calls without an index, and doubles repeated names."""
    bound = chat.bind_tools([get_weather], tool_choice="any")
    plain, whole = bound.invoke(QUESTION), None
    for chunk in bound.stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    assert [(c["name"], c["args"]) for c in whole.tool_calls] == [
        (c["name"], c["args"]) for c in plain.tool_calls
    ]
    assert whole.response_metadata["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(chat, method):
    verdict = chat.with_structured_output(Verdict, method=method).invoke("Red or green?")
    assert isinstance(verdict, Verdict)


def test_json_mode(chat):
    asked = 'Answer with {"ok": true} as JSON and nothing else.'
    told = chat.with_structured_output(None, method="json_mode", include_raw=True).invoke(asked)
    assert told["raw"].content.startswith("{")
    if told["raw"].response_metadata["finish_reason"] == "stop":
        assert isinstance(told["parsed"], dict)


def test_streamed_structured_output(chat):
    stream = chat.with_structured_output(Verdict, method="json_schema").stream("Red or green?")
    assert isinstance(list(stream)[-1], Verdict)
