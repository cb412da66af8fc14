"""Chat completions with the official client: the five-step flow, plain and streamed."""

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

QUESTION = [{"role": "user", "content": "Name three primary colours and say why they matter."}]


def collect(stream) -> tuple[str, list[ChatCompletionChunk]]:
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    return text, chunks


def test_five_steps(client, books, model):
    """Request, answer, tokens counted, credits deducted, balance updated."""
    before = books.balance()
    answer = client.chat.completions.create(
        model=model.id, messages=QUESTION, max_tokens=24, temperature=0
    )
    assert isinstance(answer, ChatCompletion)
    assert answer.object == "chat.completion"
    assert answer.model == model.id
    choice = answer.choices[0]
    assert choice.index == 0
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.message.tool_calls is None
    assert choice.finish_reason in ("stop", "length")
    usage = answer.usage
    assert 0 < usage.completion_tokens <= 24
    assert usage.prompt_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    cost = usage.completion_tokens * model.credit_multiplier
    assert usage.model_extra["credits"] == cost
    assert usage.model_extra["credit_multiplier"] == model.credit_multiplier
    assert usage.model_extra["balance"] == before - cost
    assert usage.model_extra["credits_exhausted"] is False
    assert books.balance() == before - cost
    record = books.generation(answer.id)
    assert record["tokens_completion"] == usage.completion_tokens


def test_headers_repeat_the_charge(client, books, model):
    raw = client.chat.completions.with_raw_response.create(
        model=model.id, messages=QUESTION, max_tokens=5, temperature=0
    )
    usage = raw.parse().usage
    assert raw.status_code == 200
    assert int(raw.headers["x-credits-charged"]) == usage.model_extra["credits"]
    assert int(raw.headers["x-credits-balance"]) == usage.model_extra["balance"]
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.headers["x-request-id"]
    named = client.chat.completions.with_raw_response.create(
        model=model.id, messages=QUESTION, max_tokens=1, extra_headers={"x-request-id": "mine-42"}
    )
    assert named.headers["x-request-id"] == "mine-42"


def test_streamed(client, books, model):
    before = books.balance()
    ask = {"model": model.id, "messages": QUESTION, "max_tokens": 24, "temperature": 0}
    plain = client.chat.completions.create(**ask)
    text, chunks = collect(
        client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
    )
    assert text == plain.choices[0].message.content
    assert len({(c.id, c.created, c.model, c.object) for c in chunks}) == 1
    assert chunks[0].object == "chat.completion.chunk"
    *body, last = chunks
    assert all(c.usage is None and len(c.choices) == 1 for c in body)
    assert [c.choices[0].delta.role for c in body if c.choices[0].delta.role] == ["assistant"]
    assert body[0].choices[0].delta.role == "assistant" and body[0].choices[0].delta.content
    reasons = [c.choices[0].finish_reason for c in body]
    assert reasons[:-1] == [None] * (len(body) - 1)
    assert reasons[-1] == plain.choices[0].finish_reason
    assert body[-1].choices[0].delta.content is None
    assert all(c.choices[0].delta.content for c in body[:-1])
    assert last.choices == []
    assert last.usage.completion_tokens == plain.usage.completion_tokens
    assert last.usage.prompt_tokens == plain.usage.prompt_tokens
    spent = 2 * plain.usage.completion_tokens * model.credit_multiplier
    assert last.usage.model_extra["credits"] * 2 == spent
    assert last.usage.model_extra["balance"] == before - spent == books.balance()
    assert books.generation(last.id)["tokens_completion"] == last.usage.completion_tokens


def test_no_usage_unless_asked(client, model):
    _, chunks = collect(
        client.chat.completions.create(
            model=model.id, messages=QUESTION, max_tokens=6, stream=True, temperature=0
        )
    )
    assert all(len(c.choices) == 1 and "usage" not in c.model_fields_set for c in chunks)


def test_streaming_helper_collects(client, model):
    """The client's own collector, which throws on repeated or missing fields."""
    with client.chat.completions.stream(
        model=model.id,
        messages=QUESTION,
        max_tokens=12,
        temperature=0,
        stream_options={"include_usage": True},
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        # What it makes of an answer that was cut; it still holds the whole of it.
        with pytest.raises(openai.LengthFinishReasonError) as caught:
            stream.get_final_completion()
    final = caught.value.completion
    assert "".join(deltas) == final.choices[0].message.content
    assert final.choices[0].message.role == "assistant"
    assert final.usage.completion_tokens == 12


def test_several_choices(client, books, model):
    before = books.balance()
    ask = {"model": model.id, "messages": QUESTION, "max_tokens": 10, "n": 2, "seed": 7}
    answer = client.chat.completions.create(**ask, temperature=1.2)
    assert [c.index for c in answer.choices] == [0, 1]
    assert answer.choices[0].message.content != answer.choices[1].message.content
    assert 2 <= answer.usage.completion_tokens <= 20
    chunks = list(
        client.chat.completions.create(
            **ask, temperature=1.2, stream=True, stream_options={"include_usage": True}
        )
    )
    texts, roles, ends = {0: "", 1: ""}, {0: 0, 1: 0}, {}
    for chunk in chunks[:-1]:
        (choice,) = chunk.choices
        assert choice.index not in ends
        texts[choice.index] += choice.delta.content or ""
        roles[choice.index] += choice.delta.role is not None
        if choice.finish_reason:
            ends[choice.index] = choice.finish_reason
    assert roles == {0: 1, 1: 1}
    assert texts == {c.index: c.message.content for c in answer.choices}
    assert ends == {c.index: c.finish_reason for c in answer.choices}
    assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens
    spent = 2 * answer.usage.completion_tokens * model.credit_multiplier
    assert books.balance() == before - spent


def test_seed_decides(client, model):
    def ask(seed: int) -> str:
        answer = client.chat.completions.create(
            model=model.id, messages=QUESTION, max_tokens=16, temperature=1.5, seed=seed
        )
        return answer.choices[0].message.content

    first = ask(1)
    assert ask(1) == first
    assert any(ask(seed) != first for seed in (2, 3, 4))


def test_stop_string(client, books, model):
    ask = {"model": model.id, "messages": QUESTION, "temperature": 0}
    whole = client.chat.completions.create(**ask, max_tokens=24).choices[0].message.content
    stop = whole[12:17]  # Cuts through tokens.
    before = books.balance()
    answer = client.chat.completions.create(**ask, max_tokens=24, stop=[stop, "never said"])
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content == whole[: whole.index(stop)]
    cost = answer.usage.completion_tokens * model.credit_multiplier
    assert books.balance() == before - cost
    text, chunks = collect(
        client.chat.completions.create(**ask, max_tokens=24, stop=stop, stream=True)
    )
    assert text == answer.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert books.generation(chunks[0].id)["tokens_completion"] == answer.usage.completion_tokens


def test_logprobs(client, model):
    """One entry a token; the joined bytes are the text, even where emoji span tokens."""
    ask = {
        "model": model.id,
        "messages": [{"role": "user", "content": "Repeat exactly: 🎉 é 北京 🎉"}],
        "max_tokens": 24,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 3,
    }
    answer = client.chat.completions.create(**ask)
    content = answer.choices[0].message.content
    entries = answer.choices[0].logprobs.content
    assert len(entries) == answer.usage.completion_tokens
    joined = b"".join(bytes(entry.bytes) for entry in entries)
    assert joined.decode(errors="replace") == content
    for entry in entries:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 3
        best = [top.logprob for top in entry.top_logprobs]
        assert best == sorted(best, reverse=True)
        assert abs(entry.logprob - best[0]) < 1e-4  # Greedy takes the best.
    text, chunks = collect(client.chat.completions.create(**ask, stream=True))
    assert text == content
    streamed = [
        entry
        for chunk in chunks
        for entry in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else [])
    ]
    assert [entry.token for entry in streamed] == [entry.token for entry in entries]


def test_system_and_history(client, model):
    answer = client.chat.completions.create(
        model=model.id,
        messages=[
            {"role": "system", "content": "Answer in one word."},
            {"role": "user", "content": [{"type": "text", "text": "Which planet do we live on?"}]},
            {"role": "assistant", "content": "Earth"},
            {"role": "user", "content": "And its moon?"},
        ],
        max_completion_tokens=8,
        temperature=0,
    )
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens <= 8


def test_every_optional_field_null(client, model):
    names = (
        "frequency_penalty logit_bias logprobs max_completion_tokens metadata n presence_penalty "
        "response_format seed stop stream stream_options temperature tool_choice tools "
        "top_logprobs top_p user"
    ).split()
    answer = client.chat.completions.create(
        model=model.id,
        messages=QUESTION,
        max_tokens=3,
        extra_body={name: None for name in names} | {"an_unknown_field": {"is": "ignored"}},
    )
    assert answer.usage.completion_tokens <= 3
