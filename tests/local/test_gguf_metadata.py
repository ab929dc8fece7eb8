"""What a good model file tells: against a writer of our own, the `gguf` package, and the engine's own figures."""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from brainwires_provider.errors import ConfigError
from brainwires_provider.local.engine.engine import Engine
from brainwires_provider.local.memory import (
    DEFAULT_CONTEXT,
    engine_batch,
    engine_context,
    estimate_memory,
)
from brainwires_provider.local.settings import CacheType, LocalModel
from brainwires_provider.local.weights.find import installed_weights
from brainwires_provider.local.weights.gguf import GGUFMetadata, parse_metadata, read_metadata
from brainwires_provider.local.weights.gguf_reader import TENSOR_TYPES
from engines import NEEDS_ENGINE
from gguf_files import (
    BOOL,
    F32,
    I32,
    SIZES,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Tensor,
    Watched,
    gguf,
    list_pair,
    model,
    pair,
    tensor_info,
)

MIB = 1 << 20


def told(data: bytes) -> GGUFMetadata:
    return parse_metadata(Watched(data), len(data))


def of(*pairs: bytes, tensors: Sequence[Tensor] = ()) -> GGUFMetadata:
    return told(model([pair("general.architecture", STRING, "m"), *pairs], tensors))


# -- against our own writer ----------------------------------------------------------------------------------

COUNTS = st.integers(0, 2**31 - 1)
TEXT = st.text(max_size=40)
PER_LAYER = COUNTS | st.lists(COUNTS, min_size=1, max_size=8)
NUMBERS: dict[str, str] = {
    "block_count": "block_count",
    "embedding_length": "embedding_length",
    "attention.key_length": "key_length",
    "attention.value_length": "value_length",
    "feed_forward_length": "feed_forward_length",
    "attention.head_count": "heads",
    "attention.head_count_kv": "kv_heads",
}
SINGLE = ("block_count", "embedding_length", "attention.key_length", "attention.value_length")
OTHERS = st.lists(
    st.one_of(
        st.builds(lambda n: pair(f"other.{n}", U64, n), st.integers(0, 2**64 - 1)),
        st.builds(lambda t: pair(f"other.{t}", STRING, t), TEXT),
        st.builds(lambda items: list_pair("other.words", STRING, items), st.lists(TEXT, max_size=9)),
        st.builds(lambda items: list_pair("other.scores", F32, items), st.lists(st.just(0.5), max_size=9)),
        st.builds(lambda flag: pair("other.flag", BOOL, flag), st.booleans()),
    ),
    max_size=5,
)
TENSORS = st.lists(
    st.builds(
        lambda kind, blocks, rows: Tensor("t", [blocks * SIZES[kind][1], *rows], kind),
        st.sampled_from(sorted(SIZES)),
        st.integers(1, 3),
        st.lists(st.integers(1, 4), max_size=3),
    ),
    max_size=5,
)


def entry(key: str, value: Any) -> bytes:
    if isinstance(value, str):
        return pair(key, STRING, value)
    return pair(key, U32, value) if isinstance(value, int) else list_pair(key, U32, value)


@given(
    st.fixed_dictionaries(
        {}, optional={key: st.integers(0, 4096) if key in SINGLE else PER_LAYER for key in NUMBERS}
    ),
    st.dictionaries(st.sampled_from(["general.name", "general.license", "tokenizer.chat_template"]), TEXT),
    st.dictionaries(TEXT.filter(lambda name: len(name.encode()) < 100), TEXT, max_size=3),
    OTHERS,
    TENSORS,
    st.randoms(use_true_random=False),
    st.integers(0, 1 << 20),
)
def test_what_was_written_is_read_and_any_cut_is_an_error(
    numbers: Mapping[str, Any],
    texts: Mapping[str, str],
    templates: Mapping[str, str],
    others: list[bytes],
    tensors: list[Tensor],
    random: Any,
    cut: int,
) -> None:
    pairs = [entry(f"an-arch.{key}", value) for key, value in numbers.items()]
    pairs += [entry(key, value) for key, value in texts.items()]
    pairs += [entry(f"tokenizer.chat_template.{name}", text) for name, text in templates.items()]
    pairs += [pair("general.architecture", STRING, "an-arch"), *others]
    random.shuffle(pairs)
    data = model(pairs, tensors)
    metadata = told(data)
    assert metadata.architecture == "an-arch"
    assert metadata.named_templates == templates
    assert (metadata.name, metadata.license) == (texts.get("general.name"), texts.get("general.license"))
    assert metadata.chat_template == (texts.get("tokenizer.chat_template") or None)
    for key, value in numbers.items():
        assert getattr(metadata, NUMBERS[key]) == (value if isinstance(value, int) else tuple(value))
    assert metadata.tensors == len(tensors)
    assert metadata.parameters == sum(tensor.parameters for tensor in tensors)
    assert metadata.tensor_bytes == sum(tensor.size for tensor in tensors)
    with pytest.raises(ConfigError):
        told(data[: cut % len(data)])


def test_what_a_file_leaves_out_is_what_llama_cpp_takes_it_for() -> None:
    bare = told(gguf())
    assert bare == GGUFMetadata(3, 24, 0, 0, 0)
    assert (bare.has_chat_template, bare.template_takes_tools, bare.is_embedding_model) == (
        False,
        None,
        False,
    )
    heads = pair("m.attention.head_count", U32, 8)
    plain = of(heads, pair("m.embedding_length", U32, 512))
    assert (plain.kv_heads, plain.key_length, plain.value_length) == (8, 64, 64)
    several = of(list_pair("m.attention.head_count", I32, [0, 8]), pair("m.embedding_length", U32, 512))
    assert (several.kv_heads, several.key_length) == ((0, 8), 64)
    assert of(pair("m.attention.head_count", U32, 0), pair("m.embedding_length", U32, 512)).key_length is None


VALUES: dict[str, tuple[list[bytes], dict[str, Any]]] = {
    "another type": ([pair("m.block_count", STRING, "6"), pair("general.name", U32, 1)], {"name": None}),
    "a flag is no number": ([pair("m.block_count", BOOL, True)], {"block_count": None}),
    "a short integer": ([pair("m.block_count", U8, 6)], {"block_count": 6}),
    "another architecture": ([pair("clip.block_count", U32, 6)], {"block_count": None}),
    "no context": ([pair("m.context_length", U32, 0)], {"context_length": None}),
    "tokens": (
        [list_pair("tokenizer.ggml.tokens", STRING, ["a"] * 5), pair("m.vocab_size", U32, 9)],
        {"vocabulary": 5},
    ),
    "vocabulary": ([pair("m.vocab_size", U32, 9)], {"vocabulary": 9}),
    "many layers": ([list_pair("m.attention.head_count_kv", U8, [1] * 5000)], {"kv_heads": None}),
    "words for numbers": ([list_pair("m.attention.head_count_kv", STRING, ["a"])], {"kv_heads": None}),
    "window": (
        [
            pair("m.attention.sliding_window", U32, 512),
            list_pair("m.attention.sliding_window_pattern", BOOL, [True, False]),
        ],
        {"sliding_window": 512, "sliding_window_pattern": (1, 0)},
    ),
    "bases": (
        [
            pair("general.base_model.10.name", STRING, "last"),
            pair("general.base_model.0.repo_url", STRING, "address"),
            pair("general.base_model.2.name", STRING, "middle"),
            pair("general.base_model.2.repo_url", STRING, "unused"),
            pair("general.base_model.count", U32, 11),
        ],
        {"base_models": ("address", "middle", "last")},
    ),
    "kind": ([pair("general.type", STRING, "adapter")], {"kind": "adapter"}),
    "mean": ([pair("m.pooling_type", U32, 1)], {"pooling": "mean", "is_embedding_model": True}),
    "rank": ([pair("m.pooling_type", U32, 4)], {"pooling": "rank", "is_embedding_model": False}),
    "pooling to come": ([pair("m.pooling_type", U32, 99)], {"pooling": None}),
    "causal": ([pair("m.attention.causal", BOOL, False)], {"causal": False}),
    "file type": ([pair("general.file_type", U32, 15)], {"quantization": "Q4_K_M"}),
    "empty template": ([pair("tokenizer.chat_template", STRING, "")], {"has_chat_template": False}),
    "part": ([pair("split.count", U16, 3), pair("split.no", U16, 2)], {"shards": 3, "shard": 2}),
}  # fmt: skip


@pytest.mark.parametrize("case", VALUES)
def test_a_value_is_read_as_it_is_meant(case: str) -> None:
    pairs, expected = VALUES[case]
    metadata = of(*pairs)
    assert {name: getattr(metadata, name) for name in expected} == expected


TEMPLATES = {
    "{% if tools %}{{ tools | tojson }}{% endif %}": True,
    "{%- for tool in tools -%}": True,
    "{{ {'a': 1 % 2} ~ tools }}": True,
    "the tools are {{ 'tools' }} {{ message.tools }} {{ my_tools }} tools": False,
    "{{ '{%' }} {# tools #}": False,
    "{{ tools": False,
    "}} tools {{ tool }}": False,
    "": None,
}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_takes_tools_when_its_code_names_them(template: str) -> None:
    assert of(pair("tokenizer.chat_template", STRING, template)).template_takes_tools is TEMPLATES[template]
    named = of(
        pair("tokenizer.chat_template.tool_use", STRING, "{{ tools }}"),
        pair("tokenizer.chat_template", STRING, template),
    )
    assert named.template_takes_tools is True


def test_quantization_without_a_file_type_is_that_of_most_parameters() -> None:
    small, large = [Tensor("s", [4])] * 3, Tensor("l", [256], "Q4_K")
    assert of(tensors=[*small, large]).quantization == "Q4_K"
    guessed = pair("general.file_type", U32, 1024 + 15)
    assert of(guessed, tensors=[*small, large]).quantization == "Q4_K"
    assert of().quantization is None


def test_a_tensor_type_to_come_is_no_error() -> None:
    head = gguf(pair("general.architecture", STRING, "m"), tensors=2)
    infos = tensor_info("a", [32], 0, 0) + tensor_info("b", [1000, 7], 999, 128)
    data = head + infos
    data += bytes(-len(data) % 32 + 500)
    metadata = told(data)
    assert (metadata.parameters, metadata.tensor_bytes, metadata.quantization) == (7032, 500, None)


# -- a model in several files --------------------------------------------------------------------------------


def write_parts(folder: Path, stem: str = "m", parts: int = 3) -> Path:
    for number in range(parts):
        pairs = [pair("split.no", U16, number), pair("split.count", U16, parts)]
        if number == 0:
            pairs.append(pair("general.architecture", STRING, "m"))
        path = folder / f"{stem}-{number + 1:05}-of-{parts:05}.gguf"
        path.write_bytes(model(pairs, [Tensor("t", [32, number], "Q8_0")]))
    return folder / f"{stem}-00001-of-{parts:05}.gguf"


def test_the_first_part_counts_them_all(tmp_path: Path) -> None:
    first = write_parts(tmp_path)
    metadata = read_metadata(str(first))
    assert (metadata.tensors, metadata.parameters, metadata.tensor_bytes) == (3, 96, 102)
    assert metadata.size == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert (metadata.shards, metadata.shard, metadata.quantization) == (3, 0, "Q8_0")
    other = read_metadata(str(first).replace("00001-of", "00003-of"))
    assert (other.shard, other.parameters, other.architecture) == (2, 64, None)


def test_parts_that_do_not_fit_are_named(tmp_path: Path) -> None:
    first = write_parts(tmp_path)
    alone = tmp_path / "alone.gguf"
    alone.write_bytes(first.read_bytes())
    with pytest.raises(ConfigError, match=r"rename it to NAME-00001-of-00003.gguf"):
        read_metadata(str(alone))
    second = tmp_path / "m-00002-of-00003.gguf"
    second.write_bytes((tmp_path / "m-00003-of-00003.gguf").read_bytes())
    with pytest.raises(ConfigError, match="is part 3 of 3, but named as part 2 of 3"):
        read_metadata(str(first))
    second.unlink()
    with pytest.raises(ConfigError, match="missing: m-00002-of-00003"):
        read_metadata(str(first))


# -- against the `gguf` package ------------------------------------------------------------------------------


def opened_by_the_package(path: str) -> Any:
    package = pytest.importorskip("gguf", exc_type=ImportError)
    numpy = pytest.importorskip("numpy")
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # a view of mapped memory for each token takes it three times as long
        patch.setattr(numpy, "memmap", lambda path, mode: numpy.fromfile(path, dtype=numpy.uint8))
        return package.GGUFReader(path)


def as_the_package_reads_it(path: str) -> dict[str, Any]:
    package = pytest.importorskip("gguf", exc_type=ImportError)
    reader = opened_by_the_package(path)

    def value(key: str) -> Any:
        field = reader.fields.get(key)
        return None if field is None else field.contents()

    architecture = value("general.architecture")
    kinds = Counter[str]()
    for tensor in reader.tensors:
        kinds[tensor.tensor_type.name] += int(tensor.n_elements)
    file_type = value("general.file_type")
    name = None if file_type is None else package.LlamaFileType(file_type).name
    return {
        "architecture": architecture,
        "name": value("general.name"),
        "license": value("general.license"),
        "context_length": value(f"{architecture}.context_length"),
        "block_count": value(f"{architecture}.block_count"),
        "embedding_length": value(f"{architecture}.embedding_length"),
        "feed_forward_length": value(f"{architecture}.feed_forward_length"),
        "heads": value(f"{architecture}.attention.head_count"),
        "kv_heads": value(f"{architecture}.attention.head_count_kv"),
        "chat_template": value("tokenizer.chat_template"),
        "vocabulary": len(reader.fields["tokenizer.ggml.tokens"].data),
        "tensors": len(reader.tensors),
        "parameters": sum(int(tensor.n_elements) for tensor in reader.tensors),
        "tensor_bytes": sum(int(tensor.n_bytes) for tensor in reader.tensors),
        "quantization": kinds.most_common(1)[0][0] if name is None else re.sub("^(ALL|MOSTLY)_", "", name),
    }


def test_the_real_weights_are_read_as_the_gguf_package_reads_them() -> None:
    path = installed_weights()
    metadata = read_metadata(path)
    expected = as_the_package_reads_it(path)
    assert {name: getattr(metadata, name) for name in expected} == expected
    assert (metadata.key_length, metadata.value_length) == (64, 64)
    assert metadata.size == Path(path).stat().st_size
    assert (metadata.template_takes_tools, metadata.is_embedding_model) == (False, False)


FAMILIES: dict[str, dict[str, Any]] = {
    "qwen3": {"file_type": 15, "kind": "Q8_0", "template": "{% for t in tools %}{{ t }}{% endfor %}"},
    "gemma3": {"file_type": 32, "kind": "BF16", "template": "{{ messages }}"},
    "nomic-bert": {"file_type": None, "kind": "F16", "template": None},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_of_the_gguf_package_is_read_as_it_reads_it(family: str, tmp_path: Path) -> None:
    package = pytest.importorskip("gguf", exc_type=ImportError)
    numpy = pytest.importorskip("numpy")
    wanted = FAMILIES[family]
    path = str(tmp_path / "m.gguf")
    writer = package.GGUFWriter(path, family)
    writer.add_name("A model")
    writer.add_license("mit")
    writer.add_context_length(4096)
    writer.add_block_count(2)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length([128, 256])
    writer.add_head_count(4)
    writer.add_head_count_kv([2, 0])
    writer.add_token_list(["a", "ü", "🙂"])
    writer.add_pooling_type(package.PoolingType.CLS)
    writer.add_custom_alignment(64)
    if wanted["file_type"] is not None:
        writer.add_file_type(wanted["file_type"])
    if wanted["template"] is not None:
        writer.add_chat_template(
            [{"name": "default", "template": wanted["template"]}, {"name": "rag", "template": "é"}]
        )
    kind = package.GGMLQuantizationType[wanted["kind"]]
    rows = numpy.zeros((3, 64), dtype=numpy.float32)
    writer.add_tensor("one", package.quants.quantize(rows, kind), raw_dtype=kind)
    writer.add_tensor("two", numpy.zeros(5, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    metadata = read_metadata(path)
    expected = as_the_package_reads_it(path)
    lists = {name: tuple(value) for name, value in expected.items() if isinstance(value, list)}
    assert {name: getattr(metadata, name) for name in expected} == expected | lists
    assert metadata.named_templates == ({} if wanted["template"] is None else {"rag": "é"})
    assert (metadata.pooling, metadata.is_embedding_model) == ("cls", True)
    with pytest.raises(ConfigError, match=r"incomplete: .* and 1 are missing"):
        parse_metadata(Watched(Path(path).read_bytes()), _end_of_weights(path) - 1)


def _end_of_weights(path: str) -> int:
    return max(int(tensor.data_offset + tensor.n_bytes) for tensor in opened_by_the_package(path).tensors)


def test_every_type_of_the_gguf_package_is_known() -> None:
    package = pytest.importorskip("gguf", exc_type=ImportError)
    while_computing = {"Q8_1", "Q8_K"}  # no file holds them
    for kind in package.GGMLQuantizationType:
        if kind.name not in while_computing:
            assert TENSOR_TYPES[int(kind)] == (kind.name, *package.GGML_QUANT_SIZES[kind])
    for file_type in package.LlamaFileType:
        name = re.sub("^(ALL|MOSTLY)_", "", file_type.name)
        expected = None if name == "GUESSED" else name
        assert of(pair("general.file_type", U32, int(file_type))).quantization == expected


# -- memory --------------------------------------------------------------------------------------------------

SMOLLM2 = GGUFMetadata(
    3, 98362432, 272, 134515008, 96576768, "llama", context_length=8192, block_count=30, embedding_length=576,
    feed_forward_length=1536, heads=9, kv_heads=3, key_length=64, value_length=64, vocabulary=49152,
)  # fmt: skip
GEMMA3 = GGUFMetadata(
    3, 0, 0, 0, 0, "gemma3", context_length=8192, block_count=12, embedding_length=256, feed_forward_length=1024,
    heads=4, kv_heads=2, key_length=64, value_length=64, vocabulary=1000, sliding_window=512,
)  # fmt: skip
LARGE_VOCABULARY = GGUFMetadata(
    3, 0, 0, 0, 0, "llama", context_length=4096, block_count=4, embedding_length=256, feed_forward_length=1024,
    heads=8, kv_heads=2, key_length=32, value_length=32, vocabulary=200_000,
)  # fmt: skip
MANY_HEADS = replace(LARGE_VOCABULARY, heads=16, key_length=128, value_length=128, vocabulary=1000)

# What llama.cpp's log gave for these shapes (xllamacpp, no GPU), in MiB: the cache, and compute and output buffers.
Row = tuple[GGUFMetadata, int, int, int, CacheType | None, CacheType | None, float, float]
LOGGED: list[Row] = [
    (SMOLLM2, 2048, 128, 4, None, None, 45.0, 4.16 + 0.75),
    (SMOLLM2, 8192, 128, 4, "f16", "f16", 180.0, 5.66 + 0.75),
    (SMOLLM2, 8192, 512, 4, None, None, 180.0, 22.64 + 0.75),
    (SMOLLM2, 8192, 128, 1, None, None, 180.0, 5.66 + 0.19),
    (SMOLLM2, 8192, 128, 4, "q8_0", "q8_0", 95.62, 5.69 + 0.75),
    (SMOLLM2, 8192, 128, 4, "q8_0", None, 137.81, 5.68 + 0.75),
    (SMOLLM2, 4096, 64, 8, "q4_0", "q4_0", 25.31, 2.74 + 1.5),
    (GEMMA3, 8192, 128, 4, None, None, 8 + 11.25, 4.69 + 0.02),
    (GEMMA3, 8192, 128, 1, None, None, 8 + 3.75, 4.32),
    (GEMMA3, 3000, 128, 2, None, None, 3 + 6.25, 3.19 + 0.01),
    (GEMMA3, 1024, 128, 4, None, None, 1 + 5, 2.63 + 0.02),
    (LARGE_VOCABULARY, 4096, 128, 4, None, None, 4.0, 4.68 + 3.05),
    (MANY_HEADS, 4096, 128, 4, None, None, 16.0, 3.63 + 0.02),
]


@pytest.mark.parametrize("row", LOGGED, ids=str)
def test_an_estimate_is_what_the_engine_allocates(row: Row) -> None:
    metadata, context, batch, slots, keys, values, cache, compute = row
    settings = LocalModel("", context, batch=batch, slots=slots, cache_type_k=keys, cache_type_v=values)
    estimate = estimate_memory(metadata, settings)
    assert estimate.cache / MIB == pytest.approx(cache, abs=0.01)
    assert estimate.compute / MIB == pytest.approx(compute, rel=0.01)
    assert estimate.weights == metadata.tensor_bytes
    assert estimate.total == estimate.weights + estimate.cache + estimate.compute + estimate.process


def test_layers_without_a_cache_count_none() -> None:
    whole = estimate_memory(SMOLLM2).cache
    assert estimate_memory(replace(SMOLLM2, causal=False)).cache == 0
    assert estimate_memory(replace(SMOLLM2, full_attention_interval=3)).cache * 3 == whole
    assert estimate_memory(replace(SMOLLM2, kv_heads=(3, 0) * 15)).cache * 2 == whole
    assert estimate_memory(replace(SMOLLM2, kv_heads=(3,) * 10)).cache * 3 == whole
    assert estimate_memory(replace(SMOLLM2, sliding_window=512)).cache == whole
    told_by_file = replace(SMOLLM2, sliding_window=512, sliding_window_pattern=(1,) * 30)
    assert estimate_memory(told_by_file).cache == whole * 2304 // 8192
    assert estimate_memory(GGUFMetadata(3, 9, 1, 1, 4)).weights == 4


def test_the_context_is_the_one_that_the_engine_gives() -> None:
    assert engine_context(LocalModel(), 2048) == 8192
    assert engine_context(LocalModel(slots=1), 2048) == 2048
    assert engine_context(LocalModel(slots=1), None) == DEFAULT_CONTEXT
    assert engine_context(LocalModel(), 131_072) == DEFAULT_CONTEXT
    assert engine_context(LocalModel(context=32_768), 2048) == 32_768


def test_a_model_for_vectors_computes_a_whole_text_at_once() -> None:
    assert engine_batch(LocalModel(), 2048) == 128
    assert engine_batch(LocalModel(pooling="mean"), 2048) == 2048
    assert engine_batch(LocalModel(pooling="mean", context=512), 2048) == 512
    assert engine_batch(LocalModel(pooling="mean", batch=4096), 2048) == 4096
    vectors = LocalModel(context=4096, batch=4096, pooling="mean")
    assert estimate_memory(SMOLLM2, replace(vectors, batch=128)) == estimate_memory(SMOLLM2, vectors)


def on_the_engine(test: Callable[[], None]) -> Callable[[], None]:
    for mark in (*NEEDS_ENGINE, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")):
        test = mark(test)
    return test


@on_the_engine
def test_an_estimate_is_near_what_the_process_takes() -> None:
    settings = LocalModel(installed_weights(), context=4096)
    engine = Engine(settings)

    async def resident() -> int:
        await engine.endpoint()
        status = Path(f"/proc/{engine.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) * 1024

    try:
        measured = asyncio.run(resident())
    finally:
        engine.close()
    assert estimate_memory(read_metadata(settings.path), settings).total == pytest.approx(measured, rel=0.15)
