"""The Messages API with Anthropic's own client: plain, streamed, tools, counting, errors."""

import asyncio

import anthropic
import pytest
from anthropic.types import Message

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
TOOL = {
    "name": "get_weather",
    "description": "Tells the weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "London"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module")
def theirs(connection, wire):
    """Makes clients: `x-api-key` and `anthropic-version` are what they send."""

    def make(**own) -> anthropic.Anthropic:
        settings = {"base_url": connection["origin"], "api_key": connection["key"]}
        settings |= {"max_retries": 0, "timeout": 120}
        return anthropic.Anthropic(**settings | own, http_client=wire.client())

    return make


@pytest.fixture(scope="module")
def claude(theirs) -> anthropic.Anthropic:
    return theirs()


@pytest.fixture
def ask(model) -> dict:
    # This client's newer versions have no argument for the temperature; the API takes it.
    greedy = {"temperature": 0}
    return {"model": model.id, "messages": QUESTION, "max_tokens": 16, "extra_body": greedy}


def test_create(claude, books, ask, model):
    before = books.balance()
    message = claude.messages.create(**ask)
    assert isinstance(message, Message)
    assert (message.type, message.role) == ("message", "assistant")
    assert message.id.startswith("msg_") and message.model == model.id
    (block,) = message.content
    assert block.type == "text" and block.text
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert message.stop_sequence is None
    assert message.usage.input_tokens > 0
    assert 0 < message.usage.output_tokens <= 16
    assert books.balance() == before - message.usage.output_tokens * model.credit_multiplier
    assert message._request_id


def test_same_words_as_openais_client(claude, client, ask, model):
    system = "Answer in one word."
    message = claude.messages.create(**ask, system=system)
    chat = client.chat.completions.create(
        model=model.id,
        messages=[{"role": "system", "content": system}, *QUESTION],
        max_tokens=16,
        temperature=0,
    )
    assert message.content[0].text == chat.choices[0].message.content
    blocks = [{"type": "text", "text": system}]
    parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]}]
    in_parts = claude.messages.create(**ask | {"messages": parts}, system=blocks)
    assert in_parts.content[0].text == message.content[0].text


def test_streamed(claude, ask):
    plain = claude.messages.create(**ask)
    with claude.messages.stream(**ask) as stream:
        texts = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(texts) == final.content[0].text == plain.content[0].text
    assert len(texts) > 1
    assert final.stop_reason == plain.stop_reason
    assert final.usage.output_tokens == plain.usage.output_tokens
    told = [message.usage for message in (plain, final)]
    assert len({usage.input_tokens + usage.cache_read_input_tokens for usage in told}) == 1


def test_streamed_events(claude, ask):
    events = list(claude.messages.create(**ask, stream=True))
    kinds = [event.type for event in events if event.type != "ping"]
    deltas = kinds[2:-3]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(deltas) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    start = events[0].message
    assert start.content == [] and start.stop_reason is None and start.usage.input_tokens > 0


def test_stop_sequence(claude, ask):
    whole = claude.messages.create(**ask).content[0].text
    stop = whole[6:10]
    message = claude.messages.create(**ask, stop_sequences=[stop])
    assert message.stop_reason == "stop_sequence"
    assert message.stop_sequence == stop
    assert message.content[0].text == whole[: whole.index(stop)]


def test_prefill(claude, ask):
    """A last message of the assistant's is gone on with."""
    messages = [*QUESTION, {"role": "assistant", "content": "The capital of France is"}]
    message = claude.messages.create(**ask | {"messages": messages, "max_tokens": 4})
    assert "Paris" in message.content[0].text


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_tools(claude, ask, able_model, choice):
    ask = ask | {"model": able_model.id, "max_tokens": 80, "tools": [TOOL]}
    message = claude.messages.create(**ask, tool_choice=choice)
    assert message.stop_reason == "tool_use"
    calls = [block for block in message.content if block.type == "tool_use"]
    assert calls
    for call in calls:
        assert call.id and call.name == "get_weather"
        assert call.input["city"] in ("Paris", "London")
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": "21 degrees"} for call in calls
    ]
    said = [{"role": "assistant", "content": [block.model_dump() for block in message.content]}]
    messages = [*QUESTION, *said, {"role": "user", "content": results}]
    second = claude.messages.create(
        **ask | {"messages": messages, "max_tokens": 24}, tool_choice={"type": "none"}
    )
    assert second.content[0].type == "text"


def test_streamed_tools(claude, ask, able_model):
    ask = ask | {"model": able_model.id, "max_tokens": 80, "tools": [TOOL]}
    plain = claude.messages.create(**ask, tool_choice={"type": "any"})
    with claude.messages.stream(**ask, tool_choice={"type": "any"}) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use"
    expected = [block.input for block in plain.content if block.type == "tool_use"]
    assert [block.input for block in final.content if block.type == "tool_use"] == expected
    assert "".join(pieces).count('"city"') == len(expected)


def test_count_tokens(claude, ask):
    body = {"model": ask["model"], "messages": QUESTION}
    counted = claude.messages.count_tokens(**body)
    message = claude.messages.create(**ask)
    usage = message.usage  # Which counts apart what was cached.
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens
    longer = claude.messages.count_tokens(**body, system="Be brief.", tools=[TOOL])
    assert longer.input_tokens > counted.input_tokens


def test_asynchronous(connection, wire, ask):
    async def run():
        settings = {"base_url": connection["origin"], "api_key": connection["key"]}
        async with anthropic.AsyncAnthropic(
            **settings, max_retries=0, http_client=wire.async_client()
        ) as claude:
            plain = await claude.messages.create(**ask)
            async with claude.messages.stream(**ask) as stream:
                return plain, await stream.get_final_message()

    plain, streamed = asyncio.run(run())
    assert plain.content[0].text == streamed.content[0].text


def test_models(claude, model):
    assert model.id in [entry.id for entry in claude.models.list()]
    assert claude.models.retrieve(model.id).type == "model"


def test_errors(claude, theirs, ask):
    """Each as the client's own class, with Anthropic's word for it."""
    hot = {"extra_body": {"temperature": 7}}
    cases = [
        (claude, {"model": "no-such-model"}, anthropic.NotFoundError, "not_found_error"),
        (claude, {"messages": []}, anthropic.BadRequestError, "invalid_request_error"),
        (claude, hot, anthropic.BadRequestError, "invalid_request_error"),
        (claude, {"max_tokens": 0}, anthropic.BadRequestError, "invalid_request_error"),
        (theirs(api_key="mz-wrong"), {}, anthropic.AuthenticationError, "authentication_error"),
    ]
    for client, own, kind, word in cases:
        with pytest.raises(kind) as caught:
            client.messages.create(**ask | own)
        body = caught.value.body
        assert body["type"] == "error" and body["error"]["type"] == word
        assert body["error"]["message"]
        assert caught.value.request_id


def test_empty_balance(server, theirs, ask):
    theirs = theirs(api_key=server.new_account("poor-anthropic", 3), max_retries=2)
    message = theirs.messages.create(**ask | {"messages": [{"role": "user", "content": "Story"}]})
    assert message.usage.output_tokens == 3
    with pytest.raises(anthropic.APIStatusError) as caught:
        theirs.messages.create(**ask)
    assert caught.value.status_code == 402
    assert caught.value.body["error"]["type"] == "billing_error"
