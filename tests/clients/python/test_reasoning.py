"""Models that reason: what they think is told apart from what they say, and counted."""

import re

import pytest
from conftest import THINKER
from langchain_openai import ChatOpenAI

QUESTION = [{"role": "user", "content": "Is the sky blue?"}]
WRITES = r"<think>\n[a-z ]{8,24}\n</think>\n\n(yes|no)"


@pytest.fixture
def ask() -> dict:
    return {
        "model": THINKER,
        "messages": QUESTION,
        "max_tokens": 60,
        "temperature": 0,
        "extra_body": {"structured_outputs": {"regex": WRITES}},
    }


def check(thought: str | None, said: str | None) -> None:
    assert re.fullmatch("[a-z ]{8,24}", thought.strip("\n")), thought
    assert said in ("yes", "no")


def test_plain(client, ask):
    answer = client.chat.completions.create(**ask)
    (choice,) = answer.choices
    told = choice.message.model_extra
    assert told["reasoning_content"] == told["reasoning"]
    check(told["reasoning"], choice.message.content)
    assert choice.finish_reason == "stop"
    usage = answer.usage
    assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens
    assert usage.model_extra["credits"] == 2 * usage.completion_tokens  # A premium model.


def test_streamed(client, ask):
    """Reasoning first, under both names, then content; the role once."""
    plain = client.chat.completions.create(**ask)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = client.chat.completions.create(**ask, **options)
    deltas = [chunk.choices[0].delta for chunk in chunks]
    thought = "".join(delta.model_extra.get("reasoning_content") or "" for delta in deltas)
    assert thought == "".join(delta.model_extra.get("reasoning") or "" for delta in deltas)
    assert thought == plain.choices[0].message.model_extra["reasoning"]
    said = [delta.content for delta in deltas if delta.content]
    assert "".join(said) == plain.choices[0].message.content
    first = next(index for index, delta in enumerate(deltas) if delta.content)
    assert not any(delta.model_extra.get("reasoning") for delta in deltas[first:])
    assert [delta.role for delta in deltas if delta.role] == ["assistant"]
    assert last.usage.completion_tokens_details == plain.usage.completion_tokens_details


def test_collected(client, ask):
    """By the client's own collector."""
    with client.chat.completions.stream(**ask) as stream:
        stream.until_done()
        (choice,) = stream.get_final_completion().choices
    check(choice.message.model_extra["reasoning"], choice.message.content)


def test_cut_while_it_thinks(client, ask):
    answer = client.chat.completions.create(**ask | {"max_tokens": 9})
    (choice,) = answer.choices
    assert choice.finish_reason == "length"
    assert choice.message.model_extra["reasoning"]
    assert not choice.message.content
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0
    assert answer.usage.completion_tokens == 9


def test_without_thinking(client, ask):
    """The template is told not to, by either of the usual ways."""
    for extra in (
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"reasoning_effort": "none"},
    ):
        wanted = {"structured_outputs": {"regex": "yes|no"}}
        answer = client.chat.completions.create(**ask | {"extra_body": wanted | extra})
        message = answer.choices[0].message
        assert message.content in ("yes", "no")
        assert not message.model_extra.get("reasoning")
        assert answer.usage.completion_tokens_details.reasoning_tokens == 0


def test_reasoning_is_taken_back(client, ask):
    """Clients send the whole message back, under whichever name they have it."""
    first = client.chat.completions.create(**ask).choices[0].message
    thought = first.model_extra["reasoning"]
    counts = set()
    for name in ("reasoning_content", "reasoning"):
        said = {"role": "assistant", "content": first.content, name: thought}
        messages = [*QUESTION, said, {"role": "user", "content": "Sure?"}]
        answer = client.chat.completions.create(**ask | {"messages": messages})
        counts.add(answer.usage.prompt_tokens)
    assert len(counts) == 1


def test_langchain_passes_the_answer_on(connection, wire, ask):
    chat = ChatOpenAI(
        base_url=f"{connection['origin']}/v1",
        api_key=connection["key"],
        http_client=wire.client(),
        model=THINKER,
        temperature=0,
        max_tokens=60,
        max_retries=0,
        extra_body=ask["extra_body"],
    )
    answer = chat.invoke("Is the sky blue?")
    assert answer.content in ("yes", "no")
    assert answer.usage_metadata["output_token_details"]["reasoning"] > 0
