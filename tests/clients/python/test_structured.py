"""Structured output: whatever the model would rather say, the answer has the form asked for."""

import asyncio
import json
import re
from typing import Literal

import openai
import pytest
from pydantic import BaseModel, Field

QUESTION = [{"role": "user", "content": "Describe a small dog named Rex."}]


class Owner(BaseModel):
    name: Literal["Ann", "Bob"]
    is_home: bool


class Dog(BaseModel):
    """Bounded all over, so that it always ends."""

    size: Literal["small", "large"]
    age: int = Field(ge=0, le=20)
    tricks: list[Literal["sit", "roll", "beg"]] = Field(min_length=1, max_length=2)
    owner: Owner | None


@pytest.fixture
def ask(model) -> dict:
    return {"model": model.id, "messages": QUESTION, "max_tokens": 100, "temperature": 0}


def schema_format(schema: dict, strict: bool = True) -> dict:
    json_schema = {"name": "answer", "schema": schema, "strict": strict}
    return {"type": "json_schema", "json_schema": json_schema}


def test_parse(client, ask):
    answer = client.chat.completions.parse(**ask, response_format=Dog)
    dog = answer.choices[0].message.parsed
    assert isinstance(dog, Dog)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.refusal is None
    assert json.loads(answer.choices[0].message.content).keys() == Dog.model_fields.keys()


@pytest.mark.parametrize("seed", range(4))
def test_parse_whatever_is_sampled(client, ask, seed):
    answer = client.chat.completions.parse(
        **ask | {"temperature": 1.5}, seed=seed, response_format=Dog
    )
    assert isinstance(answer.choices[0].message.parsed, Dog)


def test_parse_asynchronously_and_together(async_client, ask):
    async def run():
        async with async_client() as client:
            parse = client.chat.completions.parse
            warm = ask | {"temperature": 1, "response_format": Dog}
            return await asyncio.gather(*(parse(**warm, seed=seed) for seed in range(6)))

    assert all(isinstance(a.choices[0].message.parsed, Dog) for a in asyncio.run(run()))


def test_streamed(client, ask):
    plain = client.chat.completions.parse(**ask, response_format=Dog)
    with client.chat.completions.stream(
        **ask, response_format=Dog, stream_options={"include_usage": True}
    ) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    (done,) = [event for event in events if event.type == "content.done"]
    assert done.content == plain.choices[0].message.content
    assert done.parsed == final.choices[0].message.parsed == plain.choices[0].message.parsed
    assert len([event for event in events if event.type == "content.delta"]) > 3
    assert final.usage.completion_tokens == plain.usage.completion_tokens


def test_several_choices(client, ask):
    answer = client.chat.completions.parse(
        **ask | {"temperature": 1}, n=3, seed=5, response_format=Dog
    )
    assert [isinstance(choice.message.parsed, Dog) for choice in answer.choices] == [True] * 3


def test_cut_by_length_is_an_error_of_the_client(client, ask):
    with pytest.raises(openai.LengthFinishReasonError) as caught:
        client.chat.completions.parse(**ask | {"max_tokens": 5}, response_format=Dog)
    completion = caught.value.completion
    assert completion.usage.completion_tokens == 5
    assert completion.choices[0].message.content.startswith("{")


def test_json_object(client, ask):
    """The model says what is in it; that it is an object is certain unless it is cut."""
    answer = client.chat.completions.create(
        **ask | {"max_tokens": 300}, response_format={"type": "json_object"}
    )
    content = answer.choices[0].message.content
    assert content.startswith("{")
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(content), dict)


def test_schema_that_is_not_strict(client, ask):
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    schema["additionalProperties"] = False
    answer = client.chat.completions.create(**ask, response_format=schema_format(schema, False))
    assert json.loads(answer.choices[0].message.content)["ok"] in (True, False)


def test_text_is_no_constraint(client, ask):
    plain = client.chat.completions.create(**ask)
    text = client.chat.completions.create(**ask, response_format={"type": "text"})
    assert text.choices[0].message.content == plain.choices[0].message.content


@pytest.mark.parametrize(
    ("name", "value", "pattern"),
    [
        ("regex", r"\d{3}-[a-f]{2}", r"\d{3}-[a-f]{2}"),
        ("choice", ["positive", "negative"], "positive|negative"),
        ("json", {"enum": [17, "x"]}, r'17|"x"'),
        ("grammar", 'start: "yes" | "no, " /[a-z]{3}/', "yes|no, [a-z]{3}"),
    ],
)
def test_extensions(client, ask, name, value, pattern):
    """By vLLM's names, of now and of before."""
    for extra in ({"structured_outputs": {name: value}}, {f"guided_{name}": value}):
        answer = client.chat.completions.create(**ask, extra_body=extra)
        choice = answer.choices[0]
        assert re.fullmatch(pattern, choice.message.content), choice.message.content
        assert choice.finish_reason == "stop"


def test_completions_too(client, ask, model):
    answer = client.completions.create(
        model=model.id,
        prompt="The answer is",
        max_tokens=20,
        temperature=0,
        extra_body={"guided_choice": ["forty-two", "seven"]},
    )
    assert answer.choices[0].text in ("forty-two", "seven")


@pytest.mark.parametrize(
    ("format", "param"),
    [
        ({"type": "yaml"}, "response_format.type"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        (schema_format({"type": "elephant"}), "response_format.json_schema.schema"),
        (schema_format({"$ref": "#/$defs/none"}), "response_format.json_schema.schema"),
        (schema_format({"type": "string", "pattern": "("}), "response_format.json_schema.schema"),
    ],
)
def test_bad_formats(client, ask, books, format, param):
    before = books.balance()
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**ask, response_format=format)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param.startswith(param)
    assert books.balance() == before
