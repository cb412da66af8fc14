"""The other routes: models, completions, credits, and every error as its typed exception."""

import openai
import pytest

HELLO = [{"role": "user", "content": "Hello"}]


def test_models(client, native, model):
    listed = {m.id: m for m in client.models.list()}
    assert listed[model.id].object == "model"
    assert client.models.retrieve(model.id).id == model.id
    for entry in native.get("/models", cast_to=object)["data"]:
        assert entry["id"] in listed
        assert entry["tier"] in ("standard", "premium")
        assert entry["credit_multiplier"] == {"standard": 1, "premium": 2}[entry["tier"]]
        assert entry["context_length"] is None or entry["context_length"] > 0


def test_credits_and_key(native, books):
    data = native.get("/credits", cast_to=object)["data"]
    assert data["balance"] == data["total_credits"] - data["total_usage"] > 0
    assert native.get("/key", cast_to=object)["data"]["limit"] is None


def test_completions(client, books, model):
    before = books.balance()
    ask = {"model": model.id, "prompt": "The capital of France is", "temperature": 0}
    answer = client.completions.create(**ask, max_tokens=8)
    assert answer.object == "text_completion"
    assert answer.choices[0].text
    assert answer.usage.completion_tokens <= 8
    chunks = list(client.completions.create(**ask, max_tokens=8, stream=True))
    assert "".join(c.choices[0].text for c in chunks) == answer.choices[0].text
    assert chunks[-1].choices[0].finish_reason == answer.choices[0].finish_reason
    spent = 2 * answer.usage.completion_tokens * model.credit_multiplier
    assert books.balance() == before - spent


def test_completions_default_length_and_logprobs(client, model):
    answer = client.completions.create(
        model=model.id, prompt=["One, two,", "A, b,"], temperature=0, logprobs=2
    )
    assert [c.index for c in answer.choices] == [0, 1]
    assert answer.usage.completion_tokens <= 32
    for choice in answer.choices:
        logprobs = choice.logprobs
        assert "".join(logprobs.tokens) == choice.text
        count = len(logprobs.tokens)
        assert len(logprobs.token_logprobs) == len(logprobs.top_logprobs) == count
        assert len(logprobs.text_offset) == count


def test_exactly_the_tokens_asked_for(client, model):
    """What load tools do: end tokens are never sampled."""
    answer = client.completions.create(
        model=model.id, prompt="Hi", max_tokens=40, extra_body={"ignore_eos": True}
    )
    assert answer.usage.completion_tokens == 40
    assert answer.choices[0].finish_reason == "length"


def error_of(caught) -> dict:
    body = caught.value.body
    assert set(body) >= {"message", "type", "param", "code"}
    assert isinstance(body["message"], str) and body["message"]
    assert body["code"] is None or isinstance(body["code"], str)
    return body


def test_wrong_key(client, model):
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="mz-wrong").models.list()
    assert error_of(caught)["code"] == "invalid_api_key"


def test_unknown_model(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=HELLO)
    body = error_of(caught)
    assert (body["param"], body["code"]) == ("model", "model_not_found")


def test_unknown_route(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.get("/no/such/route", cast_to=object)
    error_of(caught)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -1),
        ("temperature", "warm"),
        ("top_p", 2),
        ("n", 0),
        ("max_tokens", -5),
        ("messages", []),
        ("stop", ["1", "2", "3", "4", "5"]),
        ("top_logprobs", 3),
        ("stream_options", {"include_usage": True}),
    ],
)
def test_bad_fields(client, model, books, field, value):
    before = books.balance()
    with pytest.raises(openai.BadRequestError) as caught:
        body = {"max_tokens": 1, "messages": HELLO, field: value}
        client.post("/chat/completions", cast_to=object, body={"model": model.id} | body)
    body = error_of(caught)
    assert body["type"] == "invalid_request_error"
    assert body["param"] and body["param"].startswith(field)
    assert books.balance() == before


def test_prompt_over_context(client, model):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=model.id, prompt=[5] * 40_000, max_tokens=1)
    assert error_of(caught)["code"] == "context_length_exceeded"
