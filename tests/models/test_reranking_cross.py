from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.app import KnowledgeBase
from ragagent.errors import ConfigError, ModelError, ModelLoadError
from ragagent.models.bert_graph import PairGraph, engine, read_weights
from ragagent.models.encoder import UnknownEncoder, read_pair_spec
from ragagent.models.reranking_cross import CrossEncoder
from ragagent.models.tokenizer import read_tokenizer
from ragagent.settings import RetrievalSettings, Settings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Chunk, Document, Hit, Span

WORDS = ["the", "cat", "sat", "on", "mat", "dog", "barks", "who", "what", "lease", "ends", "in", "march", *"?.,abcd"]
TEXTS = ["The cat sat on the mat.", "A dog barks", "", "unknown words", "a b c " * 60, "the lease ends in March"]


def make(folder: Path, family: str) -> Path:
    """A cross-encoder with random weights, large enough for its scores to differ."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, processors

    special = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
    vocabulary = {word: at for at, word in enumerate([*special, *WORDS])}
    engine_ = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    engine_.normalizer = normalizers.Lowercase()
    engine_.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pair = "<s> $A </s> $B:1 </s>:1" if family != "roberta" else "<s> $A </s> </s> $B </s>"
    engine_.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair=pair, special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if family == "bert" else [])]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=engine_, model_max_length=48, model_input_names=inputs, **names
    )
    sizes = {"vocab_size": len(vocabulary), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"intermediate_size": 64, "max_position_embeddings": 64, "num_labels": 1, "pad_token_id": 0}
    torch.manual_seed(7)
    if family != "roberta":
        model: Any = transformers.BertForSequenceClassification(transformers.BertConfig(**sizes))
    else:
        config = transformers.RobertaConfig(**sizes, type_vocab_size=1)
        model = transformers.RobertaForSequenceClassification(config)
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.4)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["bert", "bert without kinds", "roberta"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("cross") / request.param, request.param)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("cross") / "bert", "bert")


def hit(text: str) -> Hit:
    chunk = Chunk(id=text, document_id="d", span=Span(0, len(text)), text=text)
    return Hit(chunk=chunk, rank=1, score=1.0, via="hybrid", title="", uri="")


def opened(folder: Path, **options: Any) -> CrossEncoder:
    return CrossEncoder(lambda: folder, name=folder.name, **options)


HITS = [hit(text) for text in TEXTS]


def test_the_built_in_path_gives_the_scores_of_sentence_transformers(folder: Path) -> None:
    pytest.importorskip("sentence_transformers")
    ours, theirs = opened(folder, precision="f32"), opened(folder, backend="sentence-transformers")
    for query in ("who sat on the mat?", "what", "a b c " * 30):
        expected = theirs.scores(query, HITS)
        assert np.ptp(expected) > 0.1
        np.testing.assert_allclose(ours.scores(query, HITS), expected, atol=2e-4)
    ours.close()
    theirs.close()


def test_a_score_does_not_hang_on_what_else_is_judged(bert: Path) -> None:
    cross = opened(bert, precision="f32")
    together = cross.scores("who sat on the mat?", HITS)
    alone = [cross.scores("who sat on the mat?", [one])[0] for one in HITS]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert cross.scores("who", []) == []


@given(first=st.text("ab ", max_size=120), second=st.text("cd ", max_size=120), most=st.integers(4, 40))
@settings(max_examples=60, deadline=None)
def test_a_pair_is_cut_at_the_longer_end_first(bert: Path, first: str, second: str, most: int) -> None:
    tokenizer = read_tokenizer(bert / "tokenizer.json")
    ids, kinds = tokenizer.pair_ids(first, second, most)
    one, two = len(first.split()), len(second.split())
    assert len(ids) == len(kinds) == min(most, one + two + 3)
    room, end = most - 3, ids.index(3)
    kept = (end - 1, len(ids) - end - 2)
    if one + two <= room:
        assert kept == (one, two)
    else:
        assert sum(kept) == room
        assert kept[0] == one or kept[1] == two or abs(kept[0] - kept[1]) <= 1
        assert all(size == whole or size >= room // 2 for size, whole in zip(kept, (one, two), strict=True))


def test_an_export_to_openvino_is_run_in_place_of_the_weights(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    shutil.copytree(bert, folder)
    spec = read_pair_spec(bert)
    module = engine()
    weights = read_weights(spec)
    (folder / "openvino").mkdir()
    model = PairGraph(spec, weights).pair_model()
    module.save_model(model, str(folder / "openvino" / "openvino_model.xml"), compress_to_fp16=False)
    (folder / "model.safetensors").unlink()
    expected = opened(bert, precision="f32").scores("who sat?", HITS)
    np.testing.assert_allclose(opened(folder, precision="f32").scores("who sat?", HITS), expected, atol=1e-4)


def field(number: int, value: bytes | int) -> bytes:
    """One field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def onnx_model() -> bytes:
    """An ONNX file: the score of a pair is the sum of its token ids."""
    real, whole = 1, 7

    def tensor(name: bytes, kind: int, *sizes: bytes) -> bytes:
        shape = b"".join(field(1, field(2, size)) for size in sizes)
        return field(1, name) + field(2, field(1, field(1, kind) + field(2, shape)))

    to = field(1, b"to") + field(3, real) + field(20, 2)
    axes = field(1, b"axes") + field(8, 1) + field(20, 7)
    cast = field(1, b"input_ids") + field(2, b"f") + field(4, b"Cast") + field(5, to)
    total = field(1, b"f") + field(2, b"logits") + field(4, b"ReduceSum") + field(5, axes)
    graph = field(1, cast) + field(1, total) + field(2, b"g")
    graph += field(11, tensor(b"input_ids", whole, b"b", b"n")) + field(12, tensor(b"logits", real, b"b", b"one"))
    return field(1, 7) + field(7, graph) + field(8, field(1, b"") + field(2, 11))


def test_an_export_to_onnx_is_run_too(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    (folder / "onnx").mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(bert / name, folder / name)
    (folder / "onnx" / "model.onnx").write_bytes(onnx_model())
    tokenizer = read_tokenizer(bert / "tokenizer.json")
    expected = [sum(tokenizer.pair_ids("who", text, 48)[0]) for text in TEXTS]
    found = opened(folder, precision="f32").scores("who", HITS)
    assert found == pytest.approx(expected)


def test_what_is_no_cross_encoder_is_refused_by_what_it_is(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        opened(tmp_path / "nowhere").prepare()
    for change, wrong in (
        ({"id2label": {"0": "a", "1": "b"}}, "2 scores"),
        ({"architectures": ["BertModel"]}, "BertModel"),
        ({"model_type": "deberta-v2"}, "deberta-v2"),
    ):
        folder = tmp_path / wrong.split()[-1]
        shutil.copytree(bert, folder)
        config = json.loads((folder / "config.json").read_text("utf-8"))
        (folder / "config.json").write_text(json.dumps(config | change), "utf-8")
        with pytest.raises(UnknownEncoder, match=wrong):
            opened(folder, backend="openvino").prepare()
    folder = tmp_path / "torn"
    shutil.copytree(bert, folder)
    (folder / "openvino_model.xml").write_text("<net", "utf-8")
    with pytest.raises(ModelLoadError, match="fetch the model again"):
        opened(folder).prepare()


def test_after_closing_it_says_so(bert: Path) -> None:
    cross = opened(bert)
    cross.prepare()
    cross.close()
    with pytest.raises(ModelError, match="closed"):
        cross.scores("who", HITS)


def test_a_knowledge_base_reranks_with_the_one_that_its_settings_name(bert: Path, tmp_path: Path) -> None:
    chosen = RetrievalSettings(rerank="cross-encoder", rerank_model=str(bert), rerank_share=1)
    texts = [Document(text=text, uri=f"n:{at}") for at, text in enumerate(TEXTS) if text.strip()]
    with KnowledgeBase.open(tmp_path / "kb", settings=Settings(retrieval=chosen), embedder=HashEmbedder()) as kb:
        kb.ingest(texts)
        found = kb.search("who sat on the mat?")
    expected = opened(bert).scores("who sat on the mat?", found)
    assert [hit.stages[-1].score for hit in found] == pytest.approx(expected, abs=0.05)
    assert sorted(hit.stages[-1].rank or 0 for hit in found) == list(range(1, len(found) + 1))


def test_without_a_model_a_cross_encoder_says_what_to_set(tmp_path: Path) -> None:
    settings = Settings(retrieval=RetrievalSettings(rerank="cross-encoder"))
    with KnowledgeBase.open(tmp_path / "kb", settings=settings, embedder=HashEmbedder()) as kb:
        kb.ingest([Document(text="text", uri="n:1")])
        with pytest.raises(ConfigError, match=r"retrieval\.rerank_model"):
            kb.search("text")
