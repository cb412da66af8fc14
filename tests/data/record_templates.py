"""Records what Python's Jinja renders from each template of templates/, for
tests/it/text/templates.rs.

    pip install jinja2
    python tests/data/record_templates.py

The environment is that of Hugging Face's `apply_chat_template`. Writes templates/expected.json.
`smollm2.jinja` and `qwen2.5.jinja` are the `tokenizer.chat_template` of the shipped models' files.
"""

import copy
import datetime
import json
import pathlib

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

FOLDER = pathlib.Path(__file__).parent / "templates"
NOW = 1_709_211_909  # 2024-02-29 13:05:09 UTC

CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA = ["<|begin_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>"]
GEMMA = ["<bos>", "<eos>", "<pad>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>"]
MISTRAL = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"]
DEEPSEEK = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>", "<｜tool▁outputs▁begin｜>", "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>", "<｜tool▁outputs▁end｜>"]

# Control tokens, BOS, EOS.
FAMILIES = {
    "chatml": (CHATML, "", "<|im_end|>"),
    "smollm2": (CHATML, "<|im_start|>", "<|im_end|>"),
    "qwen2.5": (CHATML, "", "<|im_end|>"),
    "qwen3": (CHATML, "", "<|im_end|>"),
    "llama-3.1": (LLAMA, "<|begin_of_text|>", "<|eot_id|>"),
    "llama-3.2": (LLAMA, "<|begin_of_text|>", "<|eot_id|>"),
    "gemma-2": (GEMMA, "<bos>", "<eos>"),
    "gemma-3": (GEMMA, "<bos>", "<eos>"),
    "mistral-v0.3": (MISTRAL, "<s>", "</s>"),
    "deepseek-r1-distill": (DEEPSEEK, "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
}
# Those whose templates print `arguments` as text.
TEXT_ARGUMENTS = {"deepseek-r1-distill"}
# Those whose templates refuse the system role: what it says goes in front of the user's next turn.
NO_SYSTEM = {"gemma-2"}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_price",
            "description": "السعر <now> & \"later\" in KWD",
            "parameters": {
                "type": "object",
                "properties": {
                    "item": {"type": "string", "enum": ["dates", "coffee ☕"]},
                    "count": {"type": "integer", "default": 1, "maximum": 1e16},
                    "weight": {"type": "number", "minimum": 0.5, "default": 2.0},
                },
                "required": ["item"],
            },
        },
    },
    {"type": "function", "function": {"name": "today", "description": "", "parameters": {"type": "object", "properties": {}}}},
]


def turn(role, content, **extra):
    return {"role": role, "content": content, **extra}


def call(name, arguments, call_id):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}}


USER = turn("user", "Hello!")
CALL = turn("assistant", None, tool_calls=[call("get_price", {"item": "coffee ☕", "count": 2}, "abcdefghi")])
TWO_CALLS = turn("assistant", None, tool_calls=[call("get_price", {"item": "dates"}, "abcdefghi"), call("today", {}, "123456789")])
RESULT = turn("tool", "{\"price\": 2.5}", tool_call_id="abcdefghi", name="get_price")
RESULT_2 = turn("tool", "Thursday", tool_call_id="123456789", name="today")

CASES = {
    "one turn": {"messages": [USER]},
    "no generation prompt": {"messages": [USER, turn("assistant", "Hi.")], "add_generation_prompt": False},
    "system": {"messages": [turn("system", "Be brief."), USER]},
    "system with space around": {"messages": [turn("system", "  Be brief.\n\n"), turn("user", "\n hello  ")]},
    "many turns": {"messages": [turn("system", "S"), USER, turn("assistant", "Hi, how are you?"), turn("user", "Fine."), turn("assistant", " Good. "), turn("user", "Bye")]},
    "empty": {"messages": [turn("user", "")]},
    "empty system": {"messages": [turn("system", ""), USER]},
    "other scripts": {"messages": [turn("system", "أجب بالعربية"), turn("user", "كم سعر القهوة؟ 你好 😀 e\u0301 <b>&amp;</b> 'q' \"d\"")]},
    "code": {"messages": [turn("user", "```py\ndef f():\n    return {{ x }} {% if %} {# c #}\n```\n")]},
    "thinking": {"messages": [USER, turn("assistant", "<think>\nHm.\n</think>\n\nHi."), turn("user", "And?")]},
    "thinking at the end": {"messages": [USER, turn("assistant", "<think>\nHm.\n</think>\n\nHi.")], "add_generation_prompt": False},
    "reasoning field": {"messages": [USER, turn("assistant", "Hi.", reasoning_content="\nHm.\n")], "add_generation_prompt": False},
    "thinking off": {"messages": [USER], "enable_thinking": False},
    "thinking on": {"messages": [USER], "enable_thinking": True},
    "tools": {"messages": [USER], "tools": TOOLS},
    "tools and system": {"messages": [turn("system", "S"), USER], "tools": TOOLS},
    "tool call": {"messages": [USER, CALL, RESULT], "tools": TOOLS},
    "tool call answered": {"messages": [USER, CALL, RESULT, turn("assistant", "2.5 KWD"), turn("user", "Thanks")], "tools": TOOLS},
    "two tool calls": {"messages": [USER, TWO_CALLS, RESULT, RESULT_2], "tools": TOOLS},
    "tool call without tools": {"messages": [USER, CALL, RESULT]},
    "two users": {"messages": [USER, turn("user", "Again")]},
    "assistant first": {"messages": [turn("assistant", "Hi"), USER]},
    "system in the middle": {"messages": [USER, turn("assistant", "Hi"), turn("system", "New rule"), turn("user", "ok")]},
    "many messages": {"messages": [turn("user" if i % 2 == 0 else "assistant", f"message {i}") for i in range(31)]},
}


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(format):
        return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(format)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


def fold_system(messages):
    folded, system = [], []
    for message in messages:
        if message["role"] == "system":
            system += [message["content"]] if message["content"] else []
            continue
        if message["role"] == "user":
            message["content"] = "\n".join(system + [message["content"]])
            system = []
        folded.append(message)
    return folded


def render(template, family, case, empty_content=False):
    _, bos, eos = FAMILIES[family]
    messages = copy.deepcopy(case["messages"])
    for message in messages:
        for tool_call in message.get("tool_calls", []):
            if family not in TEXT_ARGUMENTS:
                function = tool_call["function"]
                function["arguments"] = json.loads(function["arguments"])
    if family in NO_SYSTEM:
        messages = fold_system(messages)
    if empty_content:
        for message in messages:
            message["content"] = message["content"] or ""
    variables = {"enable_thinking": case["enable_thinking"]} if "enable_thinking" in case else {}
    return template.render(
        messages=messages,
        tools=case.get("tools"),
        documents=None,
        add_generation_prompt=case.get("add_generation_prompt", True),
        bos_token=bos,
        eos_token=eos,
        date_string="29 Feb 2024",
        **variables,
    )


def main():
    env = environment()
    families = {}
    for family, (controls, bos, eos) in FAMILIES.items():
        template = env.from_string((FOLDER / f"{family}.jinja").read_text())
        results = {}
        for name, case in CASES.items():
            try:
                results[name] = {"text": render(template, family, case)}
            except jinja2.exceptions.TemplateError as error:
                results[name] = {"raised": str(error)}
            except TypeError:
                # A turn without text, where the template adds it to other text.
                results[name] = {"text": render(template, family, case, empty_content=True)}
        families[family] = {"controls": controls, "bos": bos, "eos": eos, "results": results}
    record = {"recorded_with": f"jinja2 {jinja2.__version__}", "now": NOW, "cases": CASES, "families": families}
    (FOLDER / "expected.json").write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    for family, data in families.items():
        bad = {name: r for name, r in data["results"].items() if "text" not in r}
        print(family, bad)


if __name__ == "__main__":
    main()
