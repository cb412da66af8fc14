"""Records small tokenizer.json files and how Hugging Face tokenizes with them, for
tests/it/text/tokenizer_json.rs.

    pip install tokenizers
    python tests/data/record_tokenizer_json.py

Each file has the steps of a family's real tokenizer.json (normalizer, pre-tokenizer, model options,
decoder) and a vocabulary of a few hundred tokens, trained on tokenize/corpus.json. Writes
tokenizer_json/NAME.json: the file, its tokenizer_config, and the ids of each text of the corpus.
"""

import json
import pathlib
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pre
from tokenizers import processors, trainers

FOLDER = pathlib.Path(__file__).parent
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
BYTE_LEVEL = pre.ByteLevel(add_prefix_space=False, use_regex=False)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SENTENCEPIECE_DECODER = decoders.Sequence(
    [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
)


def split(pattern):
    return pre.Split(Regex(pattern), behavior="isolated", invert=False)


def build(family, corpus):
    """A trained tokenizer, its tokenizer_config and its BOS."""
    byte_level = family in ("llama3", "qwen2", "smollm")
    model = models.BPE(
        ignore_merges=family == "llama3",
        byte_fallback=not byte_level,
        fuse_unk=not byte_level,
        unk_token=None if byte_level else "<unk>",
    )
    tokenizer = Tokenizer(model)
    config = {}
    if family == "llama3":
        tokenizer.pre_tokenizer = pre.Sequence([split(LLAMA3), BYTE_LEVEL])
        config = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
        special = ["<|begin_of_text|>", "<|eot_id|>", "<|im_start|>"]
    elif family == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre.Sequence([split(QWEN2), BYTE_LEVEL])
        config = {"bos_token": None, "eos_token": "<|im_end|>", "add_bos_token": False}
        special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    elif family == "smollm":
        digits = pre.Digits(individual_digits=True)
        by_words = pre.ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.pre_tokenizer = pre.Sequence([digits, by_words])
        config = {"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}}
        special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    elif family == "gemma":
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
        tokenizer.pre_tokenizer = pre.Split(" ", behavior="merged_with_previous")
        config = {"bos_token": "<bos>", "eos_token": "<eos>", "add_bos_token": True}
        special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    elif family == "llama2":
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
        config = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}
        special = ["<unk>", "<s>", "</s>"]
    else:
        assert family == "mistral", family
        tokenizer.pre_tokenizer = pre.Metaspace(prepend_scheme="first", split=False)
        config = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}
        special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    initial = pre.ByteLevel.alphabet() if byte_level else []
    # A trainer cannot be told of byte tokens otherwise; they are not special in the file.
    trainer = trainers.BpeTrainer(
        vocab_size=700 if byte_level else 900,
        special_tokens=special + ([] if byte_level else BYTES),
        initial_alphabet=initial,
        limit_alphabet=256 if byte_level else 150,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus * 2, trainer)
    file = json.loads(tokenizer.to_str())
    file["added_tokens"] = [t for t in file["added_tokens"] if not t["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(file))
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False, normalized=False)])
    tokenizer.add_tokens([AddedToken("<|strip|>", special=False, normalized=False, lstrip=True, rstrip=True)])
    if byte_level:
        tokenizer.decoder = decoders.ByteLevel()
    else:
        tokenizer.decoder = SENTENCEPIECE_DECODER
    bos = config["bos_token"] if family not in ("qwen2", "smollm") else None
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"], special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return tokenizer, config, bos


def has_unassigned(text):
    return any(unicodedata.category(character) == "Cn" for character in text)


def main():
    (FOLDER / "tokenizer_json").mkdir(exist_ok=True)
    corpus = json.loads((FOLDER / "tokenize" / "corpus.json").read_text())
    texts = corpus + ["a <|strip|> b", "<s> a", "<s>a <s>", "x<tool_call> y", "<bos><bos> x", "<unk> \ufffd"]
    for family in ["llama3", "qwen2", "smollm", "gemma", "llama2", "mistral"]:
        tokenizer, config, bos = build(family, corpus)
        rows = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        if family == "qwen2":
            # How NFC treats a character that is not assigned depends on the version of Unicode.
            rows = [None if has_unassigned(text) else row for text, row in zip(texts, rows)]
        record = {
            "recorded_with": f"tokenizers {tokenizers.__version__}",
            "tokenizer": json.loads(tokenizer.to_str()),
            "config": config,
            "bos": tokenizer.token_to_id(bos) if bos else None,
            "extra_texts": texts[len(corpus):],
            "ids": rows,
        }
        path = FOLDER / "tokenizer_json" / f"{family}.json"
        path.write_text(json.dumps(record, separators=(",", ":")) + "\n")
        print(family, tokenizer.get_vocab_size(), path.stat().st_size)


if __name__ == "__main__":
    main()
