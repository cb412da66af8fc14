"""Records how llama.cpp tokenizes the corpus, for tests/it/text_tokenize.rs.

    pip install llama-cpp-python
    python tests/data/record_tokenize.py MODEL.gguf...

Writes tokenize/corpus.json (the texts) and tokenize/NAME.json (the ids of each, by model file
name): `plain` with control tokens as text, `parse` with control tokens read (left out where it is
the same), `bos` whether llama.cpp begins a prompt with BOS. Prints the version it used.
"""

import json
import pathlib
import random
import sys

import llama_cpp

FOLDER = pathlib.Path(__file__).parent / "tokenize"

PROSE = [
    "", " ", "  ", "a", " a", "a ", "Hello", "Hello world", " Hello world", "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "THE QUICK BROWN FOX", "tHe qUiCk bRoWn", "supercalifragilisticexpialidocious",
    "antidisestablishmentarianism and floccinaucinihilipilification",
    "I'm you're he's we've they'll I'd don't can't",
    "I'M YOU'RE HE'S WE'VE THEY'LL I'D DON'T CAN'T",
    "'s 't 're 've 'm 'll 'd 'S 'T 'RE 'Ve 'lL 'x", "rock 'n' roll, '90s, O'Neill's",
    "it\u2019s \u2018quoted\u2019 \u201cdouble\u201d \u2026 \u2014 dash",
    "e-mail: someone@example.com, https://example.com/a/b?c=d&e=f#g",
    "Dr. Smith et al. (2024), pp. 12\u201334; cf. \u00a7 7.1 \u00b6 3",
]
DIGITS = [
    "0", "1", "12", "123", "1234", "12345", "123456", "1234567890", "a 1", "a1b2c3", "3.14159",
    "1,234,567.89", "-42", "+7", "1e-10", "0x1F", "2024-02-29T12:34:56Z", "50%", "$5.00", "KD 2.500",
    "\u0661\u0662\u0663\u0664\u0665", "\u096a\u096b\u096c", "\u00bd\u00b2\u00b3 \u2460 \u2167 \u3007",
    "\uff11\uff12\uff13", "x\u2082 = y\u00b2",
]
SPACE = [
    "\n", "\n\n", "\n\n\n", "\n" * 7, "\n" * 40, "\t", "\t\t", "\t\n", "\r", "\r\n", "\r\n\r\n",
    "a\r\nb", "a\rb", "a\n\nb", "a \n b", "a  b", "a   b", "a    b", "  a", "   a", "a  ", "a   ",
    " " * 3, " " * 4, " " * 8, " " * 15, " " * 16, " " * 17, " " * 33, " " * 100, "a" + " " * 31 + "b",
    "\ta", "a\tb", "\t\ta", " \ta", "\t a", "\n a", " \n", " \n ", "\n \n", " \n\n  x", "x \n\n",
    "\u00a0a", "a\u00a0b", "\u3000a", "\u2003x", "\u200bzero\u200bwidth", "\u2028line\u2029para",
    "\u0085next", "\ufeffbom", "\x0b\x0c", "\x00", "\x01\x02\x7f",
]
CODE = [
    "def f(x):\n    return x + 1\n", "if (a && b || !c) { return; }", "for(int i=0;i<10;++i){}",
    "fn main() -> Result<(), Box<dyn Error>> {\n\tprintln!(\"{:?}\", x);\n}",
    "SELECT * FROM t WHERE a = 'b' -- c", "<div class=\"x\">&nbsp;</div>", "{\"a\": [1, 2, null]}",
    "#include <stdio.h>\r\nint main(void)\r\n{\r\n        return 0;\r\n}\r\n",
    "a_b_c camelCase PascalCase SCREAMING_CASE kebab-case", "$x = @y['z'] ?? `w`;", "\\n \\t \\\\ \\u0041",
    "..... ,,,,, ;;;;; ::::: !!!!! ?????", "=====", "-----", "*****", "# Title\n\n- item\n  - sub\n",
    "a+b=c; a-b; a*b/c%d^e|f&g~h", "((((()))))", "[[[]]]", "{{{}}}", "<<<>>>", "a<b>c</b>", "\"\"\"doc\"\"\"",
    "x" * 50, "=" * 100, "ab" * 40, "/* comment */ // another",
]
LANGUAGES = [
    "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645", "\u0645\u064a\u0632\u0627\u0646",
    "\u0645\u064f\u062d\u064e\u0645\u064e\u0651\u062f", "\u0643\u0645 \u0627\u0644\u0633\u0639\u0631\u061f \u0661\u0665 \u062f\u064a\u0646\u0627\u0631",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u0641\u0627\u0631\u0633\u06cc \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01", "\u6211\u5728\u5317\u4eac\u5929\u5b89\u95e8\u5e7f\u573a\u3002",
    "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c", "\u30ab\u30bf\u30ab\u30ca \uff76\uff80\uff76\uff85", "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4",
    "\u1112\u1161\u11ab\u1100\u1173\u11af", "\u0417\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439, \u043c\u0438\u0440!", "\u041f\u0420\u0418\u0412\u0415\u0422 \u043f\u0440\u0438\u0432\u0435\u0442",
    "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u039a\u03cc\u03c3\u03bc\u03b5", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e", "\u09ac\u09be\u0982\u09b2\u09be", "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01", "\u1019\u103c\u1014\u103a\u1019\u102c", "\u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0", "\u0540\u0561\u0575\u0565\u0580\u0565\u0576",
    "Gr\u00fc\u00dfe aus M\u00fcnchen", "\u00c7a va bien, \u00eatre o\u00f9?", "\u00a1Hola! \u00bfQu\u00e9 tal, ni\u00f1o?", "Ti\u1ebfng Vi\u1ec7t \u0111\u1eb9p",
    "Zażółć gęślą jaźń", "İstanbul'da ığdır", "\u1200\u1208\u1210", "\U00010348\U00010330 \U0001d54f\U0001d550",
]
EMOJI_AND_MARKS = [
    "\U0001f600", "\U0001f600\U0001f601\U0001f602", "I \u2764\ufe0f you", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f44d\U0001f3fd", "\U0001f1f0\U0001f1fc\U0001f1f6\U0001f1e6", "1\ufe0f\u20e3", "e\u0301", "\u00e9", "a\u0300\u0301\u0302\u0303",
    "Z\u0351\u036b\u0343a\u0334l\u0335g\u0336o\u0337", "\u0301", " \u0301x", "n\u0303o n\u0303", "\u1e9b\u0323", "\ufb01 \ufb02", "\u212b \u00c5 A\u030a",
    "\u2211\u222b\u221a\u2260\u2264", "\u2190\u2191\u2192\u2193", "\u2588\u2593\u2592\u2591", "\u00ac\u00a6\u00b1\u00d7\u00f7", "\u20ac\u00a3\u00a5\u20b9", "\u2122\u00ae\u00a9",
    "\ufffd", "\ufffd\ufffd x", "\ue000\uf8ff", "\U0010fffd", "\u0378 unassigned",
]
# Without "</s>": llama.cpp makes that a control token in every vocabulary that spells it, though in
# Gemma it is a tag of HTML and in Qwen a piece of text.
SPECIAL = [
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|endoftext|>", "x<|endoftext|>y",
    "<|im_start|><|im_start|>", "<|im_start|", "|im_start|>", "<|im_start |>", " <|im_end|> ",
    "<bos>", "<eos>", "<pad>", "<unk>", "<mask>", "<start_of_turn>user\nHi<end_of_turn>\n", "<unused7>",
    "<unused99><unused100>", "[multimodal]", "<tool_call>\n{}\n</tool_call>", "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>",
    "<repo_name>x<file_sep>y", "<filename>", "<s>[INST] Hi [/INST]", "<0x0A>", "<0xE2><0x96><0x81>", "[PAD151665]",
    "\u2581", "\u2581\u2581a", "a\u2581b", "<think>hm</think>", "<h1>Title</h1><br/>", "<table><tr><td>1</td></tr></table>",
]

# Ranges that random texts draw from, by turns.
RANGES = [
    (0x20, 0x7E), (0x20, 0x7E), (0x09, 0x0D), (0x20, 0x20), (0x30, 0x39), (0xA0, 0xFF), (0x100, 0x24F),
    (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F),
    (0xE00, 0xE7F), (0x1100, 0x11FF), (0x2000, 0x206F), (0x2100, 0x214F), (0x2200, 0x22FF),
    (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xFE00, 0xFFFD),
    (0x10000, 0x1007F), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF),
]


def random_texts(count, seed):
    draw = random.Random(seed)
    texts = []
    for _ in range(count):
        few = draw.sample(RANGES, draw.randint(1, 4))
        text = "".join(chr(draw.randint(*draw.choice(few))) for _ in range(draw.randint(1, 40)))
        texts.append(text)
    return texts


def compact(items):
    return "[\n" + ",\n".join(json.dumps(item, separators=(",", ":")) for item in items) + "\n]"


def main():
    corpus = PROSE + DIGITS + SPACE + CODE + LANGUAGES + EMOJI_AND_MARKS + SPECIAL
    corpus += random_texts(200, seed=2024)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "corpus.json").write_text(compact(corpus) + "\n")
    version = f"llama-cpp-python {llama_cpp.__version__}"
    for path in sys.argv[1:]:
        model = llama_cpp.Llama(model_path=path, vocab_only=True, verbose=False)
        rows = []
        for text in corpus:
            row = {"plain": model.tokenize(text.encode(), add_bos=False, special=False)}
            parse = model.tokenize(text.encode(), add_bos=False, special=True)
            if parse != row["plain"]:
                row["parse"] = parse
            rows.append(row)
        bos = model.tokenize(b"x", add_bos=True, special=False)
        bos = len(bos) > len(model.tokenize(b"x", add_bos=False, special=False))
        name = pathlib.Path(path).stem
        head = f'{{"recorded_with":{json.dumps(version)},"bos":{json.dumps(bos)},"rows":'
        (FOLDER / f"{name}.json").write_text(head + compact(rows) + "}\n")
        print(f"{name}: {len(corpus)} texts, {version}")


if __name__ == "__main__":
    main()
