#!/usr/bin/env python3
"""Records llama.cpp's embeddings, for tests/it/vectors.rs to compare with.

Usage, from the repository root, with the package that `record_greedy.py` names:

    python tests/data/record_embeddings.py MODEL.gguf... --commit LLAMA_CPP_COMMIT

For each model, named by its file, two fixtures are written beside this script:

embeddings/NAME.json
    The texts, as text and as token ids (BOS comes first where the vocabulary asks for it).

embeddings/NAME.bin
    For each text llama.cpp's vector pooled as the mean of all tokens, then that of the last token:
    little-endian f32, not scaled.

Settings are those of record_greedy.py.
"""

import argparse
import ctypes
import hashlib
from pathlib import Path

import llama_cpp
import numpy as np
from record_greedy import BATCH, CONTEXT, F16, SILENT, THREADS, dump

MEAN = 1  # llama_pooling_type
LAST = 3

TEXTS = [
    "Kuwait",
    "The capital of Kuwait is Kuwait City.",
    "def fibonacci(n):\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n",
    "الكويت دولة تقع في الشمال الشرقي لشبه الجزيرة العربية.",
    "Photosynthesis is the process by which green plants turn light into food. " * 12,
]


class Embedder:
    """One model in llama.cpp, with a context that pools."""

    def __init__(self, path: Path, pooling: int):
        model_params = llama_cpp.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_params)
        if not self.model:
            raise SystemExit(f"llama.cpp can not load {path}")
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = CONTEXT
        params.n_batch = BATCH
        params.n_ubatch = BATCH
        params.n_threads = THREADS
        params.n_threads_batch = THREADS
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.type_k = F16
        params.type_v = F16
        params.offload_kqv = False
        params.embeddings = True
        params.pooling_type = pooling
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        self.batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
        self.size = llama_cpp.llama_model_n_embd(self.model)

    def tokenize(self, text: str) -> list[int]:
        raw = text.encode()
        ids = (llama_cpp.llama_token * (len(raw) + 8))()
        count = llama_cpp.llama_tokenize(self.vocab, raw, len(raw), ids, len(ids), True, False)
        assert count > 0
        return list(ids[:count])

    def vector(self, ids: list[int]) -> np.ndarray:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        batch = self.batch
        batch.n_tokens = len(ids)
        for row, token in enumerate(ids):
            batch.token[row] = token
            batch.pos[row] = row
            batch.n_seq_id[row] = 1
            batch.seq_id[row][0] = 0
            batch.logits[row] = True
        if llama_cpp.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama_decode failed")
        pointer = llama_cpp.llama_get_embeddings_seq(self.context, 0)
        return np.ctypeslib.as_array(pointer, shape=(self.size,)).astype("<f4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--commit", required=True, help="of the llama.cpp that was built")
    arguments = parser.parse_args()
    here = Path(__file__).parent / "embeddings"
    llama_cpp.llama_log_set(SILENT, ctypes.c_void_p(0))
    for path in arguments.models:
        embedders = [Embedder(path, MEAN), Embedder(path, LAST)]
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        texts = [{"text": text, "ids": embedders[0].tokenize(text)} for text in TEXTS]
        head = {
            "model": path.stem,
            "sha256": digest,
            "oracle": {
                "llama_cpp": arguments.commit,
                "llama_cpp_python": llama_cpp.__version__,
                "system": llama_cpp.llama_print_system_info().decode().strip(" |"),
                "n_threads": THREADS,
            },
            "size": embedders[0].size,
        }
        vectors = [embedder.vector(text["ids"]) for text in texts for embedder in embedders]
        dump(head | {"texts": texts}, here / f"{path.stem}.json")
        (here / f"{path.stem}.bin").write_bytes(b"".join(v.tobytes() for v in vectors))
        print(path.stem, "recorded")


if __name__ == "__main__":
    main()
