"""Embeddings with the official client, which asks for base64 unless told otherwise."""

import asyncio
import math

import openai
import pytest

TEXTS = ["A dog runs in the park.", "A puppy plays outside.", "Interest rates rose in May."]


def cosine(a: list[float], b: list[float]) -> float:
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_base64_is_float(client, model):
    default = client.embeddings.create(model=model.id, input=TEXTS[0])
    plain = client.embeddings.create(model=model.id, input=TEXTS[0], encoding_format="float")
    assert default.object == "list" and default.data[0].object == "embedding"
    assert default.model == model.id
    (first,), (second,) = default.data, plain.data
    assert len(first.embedding) == len(second.embedding) >= 64
    assert first.embedding == pytest.approx(second.embedding, rel=1e-6)
    assert any(value != 0 for value in first.embedding)


def test_many_are_in_order_and_free(client, books, model):
    before = books.balance()
    together = client.embeddings.create(model=model.id, input=TEXTS)
    assert [entry.index for entry in together.data] == [0, 1, 2]
    for text, entry in zip(TEXTS, together.data, strict=True):
        alone = client.embeddings.create(model=model.id, input=text).data[0]
        assert cosine(entry.embedding, alone.embedding) > 0.999
    assert together.usage.prompt_tokens == together.usage.total_tokens > 3
    assert books.balance() == before


def test_like_is_nearer(client, model):
    dog, puppy, rates = (
        entry.embedding for entry in client.embeddings.create(model=model.id, input=TEXTS).data
    )
    assert cosine(dog, puppy) > cosine(dog, rates)


def test_token_ids(client, token_ids, model):
    ids = token_ids(TEXTS[0])
    by_ids = client.embeddings.create(model=model.id, input=ids)
    several = client.embeddings.create(model=model.id, input=[ids, ids[:3]])
    assert by_ids.usage.prompt_tokens == len(ids)
    assert len(several.data) == 2
    assert cosine(by_ids.data[0].embedding, several.data[0].embedding) > 0.999


def test_asynchronous(async_client, client, model):
    async def run():
        async with async_client() as client:
            asked = (client.embeddings.create(model=model.id, input=text) for text in TEXTS)
            return await asyncio.gather(*asked)

    answers = asyncio.run(run())
    expected = client.embeddings.create(model=model.id, input=TEXTS)
    for answer, entry in zip(answers, expected.data, strict=True):
        assert cosine(answer.data[0].embedding, entry.embedding) > 0.999


@pytest.mark.parametrize(
    ("own", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
    ],
)
def test_bad_fields(client, model, own, param):
    with pytest.raises(openai.BadRequestError) as caught:
        body = {"model": model.id, "input": "x"} | own
        client.post("/embeddings", cast_to=object, body=body)
    assert caught.value.param.startswith(param)


def test_errors(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model="no-such-model", input="x")
    assert caught.value.code == "model_not_found"
