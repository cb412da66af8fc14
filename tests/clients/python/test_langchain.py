"""LangChain's ChatOpenAI: plain, streamed with and without usage, batches, errors."""

import asyncio

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

QUESTION = [SystemMessage("Answer shortly."), HumanMessage("What is the capital of France?")]


@pytest.fixture
def chat(connection, wire, model):
    """Makes one, with options of its own."""

    def make(**own) -> ChatOpenAI:
        defaults = {
            "base_url": f"{connection['origin']}/v1",
            "api_key": connection["key"],
            "http_client": wire.client(),
            "http_async_client": wire.async_client(),
            "model": model.id,
            "temperature": 0,
            "max_tokens": 16,
            "max_retries": 0,
        }
        return ChatOpenAI(**defaults | own)

    return make


def test_invoke(chat, books):
    answer = chat().invoke(QUESTION)
    assert isinstance(answer, AIMessage) and answer.content
    usage = answer.usage_metadata
    assert 0 < usage["output_tokens"] <= 16
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert answer.response_metadata["finish_reason"] in ("stop", "length")
    record = books.generation(answer.response_metadata["id"])
    assert record["tokens_completion"] == usage["output_tokens"]


def test_stream_usage_on(chat):
    """Usage comes once: LangChain adds the chunks' numbers up."""
    plain = chat().invoke(QUESTION)
    whole = None
    for chunk in chat(stream_usage=True).stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    assert whole.content == plain.content
    told, expected = whole.usage_metadata, plain.usage_metadata
    for name in ("input_tokens", "output_tokens", "total_tokens"):
        assert told[name] == expected[name]
    assert whole.response_metadata["finish_reason"] == plain.response_metadata["finish_reason"]


def test_stream_usage_off(chat, books):
    """The default for servers other than OpenAI's; the books count all the same."""
    newest = books.newest()
    chunks = list(chat(stream_usage=False).stream(QUESTION))
    assert "".join(chunk.content for chunk in chunks) == chat().invoke(QUESTION).content
    assert all(chunk.usage_metadata is None for chunk in chunks)
    plain, streamed = books.since(newest)
    assert streamed["tokens_completion"] == plain["tokens_completion"] > 0


def test_asynchronous_batch(chat):
    questions = [[HumanMessage(f"Count to {number}.")] for number in range(1, 5)]
    answers = asyncio.run(chat().abatch(questions))
    assert [answer.content for answer in answers] == [
        chat().invoke(question).content for question in questions
    ]


def test_stop_and_logprobs(chat):
    bound = chat(logprobs=True, top_logprobs=2)
    whole = bound.invoke(QUESTION)
    entries = whole.response_metadata["logprobs"]["content"]
    assert len(entries) == whole.usage_metadata["output_tokens"]
    assert all(len(entry["top_logprobs"]) == 2 for entry in entries)
    stop = whole.content[5:9]
    cut = chat().invoke(QUESTION, stop=[stop])
    assert cut.content == whole.content[: whole.content.index(stop)]


def test_errors_are_the_clients_own(chat):
    with pytest.raises(openai.NotFoundError):
        chat(model="no-such-model").invoke(QUESTION)
    with pytest.raises(openai.AuthenticationError):
        chat(api_key="mz-wrong").invoke(QUESTION)
    with pytest.raises(openai.BadRequestError):
        chat(temperature=7).invoke(QUESTION)
