"""Models that can be had by a short name: which file on the Hugging Face hub each one is, and its SHA-256.

The first six names are those of the Rust crate brainwires-provider. Its own rows cannot be pulled as they stand: they
have no digest for a GGUF file, file names in lower case where the hub's are not, repositories of Granite Nano that are
seen nowhere else, and Gemma 4 as safetensors, which llama.cpp does not load. Here each name means that model's GGUF
file with a known digest; for lfm2-2.6b-exp that is Q4_K_M, for the others Q8_0 as in the crate.

A digest stands here only if it was found in a public source: LocalAI's gallery, which takes each from the hub's own
answer, or public repositories that pin the same file of the same revision. `pull` asks the hub for its digest before
it fetches anything, and refuses a file for which the two differ. A revision is a commit wherever one was found:
files do vanish from a repository's main branch.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from brainwires_provider.local.settings import Pooling

__all__ = ["KNOWN_MODELS", "KnownModel", "find_known"]

_CHECKED: Final = "2026-11-23"
_GALLERY: Final = (
    "https://github.com/mudler/LocalAI/blob/82c191afadf5f005281e798ccfa0ffd0d5805030/gallery/index.yaml"
)


class KnownModel(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """A GGUF file on the hub. `repo` is OWNER/NAME, `revision` a commit or "main", `size` is in bytes.

    `license` is the hub's own short name for it; some of them must be accepted on the model's page before the hub
    hands out the file. With `pooling` it is a model for embeddings, and that is how it makes one of many. `source`
    is where its facts can be looked up, `checked` the day they were.
    """

    name: str
    repo: str
    file: str
    revision: str
    sha256: str | None
    size: int | None
    license: str
    about: str
    pooling: Pooling | None = None
    source: str = ""
    checked: str = _CHECKED

    @property
    def reference(self) -> str:
        """The same file as `pull` takes it from anyone: hf:OWNER/NAME@REVISION/FILE."""
        return f"hf:{self.repo}@{self.revision}/{self.file}"


def find_known(name: str) -> KnownModel | None:
    """The model of that name, or None."""
    return _BY_NAME.get(name)


def _row(  # noqa: PLR0917 - a table's row
    name: str,
    place: str,
    file: str,
    sha256: str,
    size: int | None,
    license: str,
    about: str,
    *,
    pooling: Pooling | None = None,
    gallery: bool = False,
) -> KnownModel:
    """`place` is REPO@REVISION. The hub's page of a file shows its SHA-256 too."""
    repo, _, revision = place.partition("@")
    source = _GALLERY if gallery else f"https://huggingface.co/{repo}/blob/{revision}/{file}"
    return KnownModel(name, repo, file, revision, sha256, size, license, about, pooling, source)


_OF_THE_CRATE: Final = (
    _row(
        "lfm2-350m",
        "LiquidAI/LFM2-350M-GGUF@8fdc9d526b7ed346b19257551b05816c7912ecc2",
        "LFM2-350M-Q8_0.gguf",
        "b7bfeab6495a1ae3ae78811c1297df9f301b35261ff9580d42fb30dc4dc9034b",
        None,
        "lfm1.0",
        "Liquid AI LFM2, 350 million parameters, Q8_0: routing and yes-or-no decisions",
    ),
    _row(
        "lfm2-1.2b",
        "LiquidAI/LFM2-1.2B-GGUF@5399e76c648f4eb8c053feb1ab747277dea5bf8b",
        "LFM2-1.2B-Q8_0.gguf",
        "0d9ec100a0f33048168d1d5b9fb6403f4836adcbbe9c3f2ab7794c96ffee3c3b",
        None,
        "lfm1.0",
        "Liquid AI LFM2, 1.2 billion parameters, Q8_0",
    ),
    _row(
        "lfm2-2.6b-exp",
        "LiquidAI/LFM2-2.6B-Exp-GGUF@7d9bef941a2642e1d00967564fd55e1dcecf0d6a",
        "LFM2-2.6B-Exp-Q4_K_M.gguf",
        "95b9322dc81f577be1d966f508bc2fa3ec2cda56a556347d3cdf71cfefaba591",
        1_639_166_304,
        "lfm1.0",
        "Liquid AI LFM2, 2.6 billion parameters, experimental, Q4_K_M: tool calls",
    ),
    _row(
        "granite-nano-350m",
        "ibm-granite/granite-4.0-350m-GGUF@b8208a86a58427e1739265318028eb5895b74bf2",
        "granite-4.0-350m-Q8_0.gguf",
        "9595dafb4ed15aa02512c8ea26188744192a6f09530eae0a2747bd3ada96cd36",
        378_138_016,
        "apache-2.0",
        "IBM Granite 4.0 Nano, 350 million parameters, Q8_0: labels and summaries on a CPU",
    ),
    _row(
        "granite-nano-1.5b",
        "ibm-granite/granite-4.0-h-1b-GGUF@c2cb1972f511add21f3bae244990b8ff3a3ffb23",
        "granite-4.0-h-1b-Q8_0.gguf",
        "f29248184ca766350e56e6d161c2a637ad302a6d595e15d4a62cd58327a0ac0e",
        1_558_926_560,
        "apache-2.0",
        "IBM Granite 4.0 Nano H 1B (1.5 billion parameters), Q8_0",
    ),
    _row(
        "gemma-4-e2b",
        "ggml-org/gemma-4-E2B-it-GGUF@b4243c156154b6dca9324415f8c7ccc098b4aed1",
        "gemma-4-E2B-it-Q8_0.gguf",
        "996d08777aadc6bfd3c7375ef70ba25a0f55240075860754fdb18d6d860aa63a",
        4_967_497_152,
        "apache-2.0",
        "Google Gemma 4 E2B, instruction-tuned, Q8_0",
        gallery=True,
    ),
)

_CHAT: Final = (
    _row(
        "qwen3-0.6b",
        "Qwen/Qwen3-0.6B-GGUF@23749fefcc72300e3a2ad315e1317431b06b590a",
        "Qwen3-0.6B-Q8_0.gguf",
        "9465e63a22add5354d9bb4b99e90117043c7124007664907259bd16d043bb031",
        639_446_688,
        "apache-2.0",
        "Qwen3 0.6B, Q8_0: the smallest that thinks and calls tools",
    ),
    _row(
        "qwen3-1.7b",
        "Qwen/Qwen3-1.7B-GGUF@90862c4b9d2787eaed51d12237eafdfe7c5f6077",
        "Qwen3-1.7B-Q8_0.gguf",
        "061b54daade076b5d3362dac252678d17da8c68f07560be70818cace6590cb1a",
        1_834_426_016,
        "apache-2.0",
        "Qwen3 1.7B, Q8_0",
    ),
    _row(
        "qwen3-4b",
        "unsloth/Qwen3-4B-GGUF@22c9fc8a8c7700b76a1789366280a6a5a1ad1120",
        "Qwen3-4B-Q4_K_M.gguf",
        "f6f851777709861056efcdad3af01da38b31223a3ba26e61a4f8bf3a2195813a",
        2_497_281_312,
        "apache-2.0",
        "Qwen3 4B, Q4_K_M",
        gallery=True,
    ),
    _row(
        "qwen3-4b-instruct-2507",
        "unsloth/Qwen3-4B-Instruct-2507-GGUF@a06e946bb6b655725eafa393f4a9745d460374c9",
        "Qwen3-4B-Instruct-2507-Q4_K_M.gguf",
        "3605803b982cb64aead44f6c1b2ae36e3acdb41d8e46c8a94c6533bc4c67e597",
        2_497_281_120,
        "apache-2.0",
        "Qwen3 4B Instruct 2507, which does not think, Q4_K_M",
    ),
    _row(
        "qwen3-8b",
        "unsloth/Qwen3-8B-GGUF@main",
        "Qwen3-8B-Q4_K_M.gguf",
        "120307ba529eb2439d6c430d94104dabd578497bc7bfe7e322b5d9933b449bd4",
        5_027_784_512,
        "apache-2.0",
        "Qwen3 8B, Q4_K_M",
        gallery=True,
    ),
    _row(
        "qwen3-30b-a3b-instruct-2507",
        "bartowski/Qwen_Qwen3-30B-A3B-Instruct-2507-GGUF@6c6e8692f43e4ca663f7ece8229a1361090d3a4c",
        "Qwen_Qwen3-30B-A3B-Instruct-2507-Q4_K_M.gguf",
        "382b4f5a164d200f93790ee0e339fae12852896d23485cfb203ce868fea33a95",
        18_632_183_808,
        "apache-2.0",
        "Qwen3 30B Instruct 2507 with 3 billion active parameters, Q4_K_M",
        gallery=True,
    ),
    _row(
        "qwen3-coder-30b-a3b",
        "unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF@b17cb02dd882d5b6ab62fc777ad2995f19668350",
        "Qwen3-Coder-30B-A3B-Instruct-Q4_K_M.gguf",
        "fadc3e5f8d42bf7e894a785b05082e47daee4df26680389817e2093056f088ad",
        18_556_689_568,
        "apache-2.0",
        "Qwen3 Coder 30B with 3 billion active parameters, Q4_K_M",
        gallery=True,
    ),
    _row(
        "qwen3.5-4b",
        "unsloth/Qwen3.5-4B-GGUF@e87f176479d0855a907a41277aca2f8ee7a09523",
        "Qwen3.5-4B-Q4_K_M.gguf",
        "00fe7986ff5f6b463e62455821146049db6f9313603938a70800d1fb69ef11a4",
        2_740_937_888,
        "apache-2.0",
        "Qwen3.5 4B, Q4_K_M",
        gallery=True,
    ),
    _row(
        "qwen3.5-9b",
        "unsloth/Qwen3.5-9B-GGUF@3885219b6810b007914f3a7950a8d1b469d598a5",
        "Qwen3.5-9B-Q4_K_M.gguf",
        "03b74727a860a56338e042c4420bb3f04b2fec5734175f4cb9fa853daf52b7e8",
        5_680_522_464,
        "apache-2.0",
        "Qwen3.5 9B, Q4_K_M",
        gallery=True,
    ),
    _row(
        "qwen3.6-35b-a3b",
        "unsloth/Qwen3.6-35B-A3B-GGUF@a483e9e6cbd595906af30beda3187c2663a1118c",
        "Qwen3.6-35B-A3B-UD-Q4_K_M.gguf",
        "ac0e2c1189e055faa36eff361580e79c5bd6f8e76bffb4ce547f167d53e31a61",
        22_134_528_992,
        "apache-2.0",
        "Qwen3.6 35B with 3 billion active parameters, UD-Q4_K_M",
        gallery=True,
    ),
    _row(
        "llama-3.2-1b",
        "bartowski/Llama-3.2-1B-Instruct-GGUF@067b946cf014b7c697f3654f621d577a3e3afd1c",
        "Llama-3.2-1B-Instruct-Q4_K_M.gguf",
        "6f85a640a97cf2bf5b8e764087b1e83da0fdb51d7c9fab7d0fece9385611df83",
        807_694_464,
        "llama3.2",
        "Meta Llama 3.2 1B Instruct, Q4_K_M",
    ),
    _row(
        "llama-3.2-3b",
        "bartowski/Llama-3.2-3B-Instruct-GGUF@5ab33fa94d1d04e903623ae72c95d1696f09f9e8",
        "Llama-3.2-3B-Instruct-Q4_K_M.gguf",
        "6c1a2b41161032677be168d354123594c0e6e67d2b9227c84f296ad037c728ff",
        2_019_377_696,
        "llama3.2",
        "Meta Llama 3.2 3B Instruct, Q4_K_M",
    ),
    _row(
        "llama-3.1-8b",
        "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF@bf5b95e96dac0462e2a09145ec66cae9a3f12067",
        "Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf",
        "7b064f5842bf9532c91456deda288a1b672397a54fa729aa665952863033557c",
        4_920_739_232,
        "llama3.1",
        "Meta Llama 3.1 8B Instruct, Q4_K_M",
    ),
    _row(
        "gemma-3-1b",
        "ggml-org/gemma-3-1b-it-GGUF@f9c28bcd85737ffc5aef028638d3341d49869c27",
        "gemma-3-1b-it-Q4_K_M.gguf",
        "8ccc5cd1f1b3602548715ae25a66ed73fd5dc68a210412eea643eb20eb75a135",
        806_058_240,
        "gemma",
        "Google Gemma 3 1B, instruction-tuned, Q4_K_M",
        gallery=True,
    ),
    _row(
        "gemma-3-4b",
        "ggml-org/gemma-3-4b-it-GGUF@d0976223747697cb51e056d85c532013931fe52e",
        "gemma-3-4b-it-Q4_K_M.gguf",
        "882e8d2db44dc554fb0ea5077cb7e4bc49e7342a1f0da57901c0802ea21a0863",
        2_489_757_856,
        "gemma",
        "Google Gemma 3 4B, instruction-tuned, Q4_K_M",
    ),
    _row(
        "gemma-4-e4b",
        "ggml-org/gemma-4-E4B-it-GGUF@2714b5519c6c3516b1000e7c5e1eba998dfe1fe8",
        "gemma-4-E4B-it-Q4_K_M.gguf",
        "90ce98129eb3e8cc57e62433d500c97c624b1e3af1fcc85dd3b55ad7e0313e9f",
        5_335_289_824,
        "apache-2.0",
        "Google Gemma 4 E4B, instruction-tuned, Q4_K_M",
        gallery=True,
    ),
    _row(
        "gemma-4-12b",
        "google/gemma-4-12B-it-qat-q4_0-gguf@29d097773436b69ff9feafd636ab4cf873786537",
        "gemma-4-12b-it-qat-q4_0.gguf",
        "93567e57a8fe10b23569b9d9ec38cd005deedf71e29477c421a4b83f418a538b",
        6_975_879_296,
        "apache-2.0",
        "Google Gemma 4 12B, instruction-tuned, trained for Q4_0",
        gallery=True,
    ),
    _row(
        "phi-4-mini",
        "bartowski/microsoft_Phi-4-mini-instruct-GGUF@7ff82c2aaa4dde30121698a973765f39be5288c0",
        "microsoft_Phi-4-mini-instruct-Q4_K_M.gguf",
        "01999f17c39cc3074afae5e9c539bc82d45f2dd7faa3917c66cbef76fce8c0c2",
        2_491_874_688,
        "mit",
        "Microsoft Phi-4-mini-instruct (3.8B), Q4_K_M",
    ),
    _row(
        "smollm2-360m",
        "unsloth/SmolLM2-360M-Instruct-GGUF@391ed11137586e383b1be0fab9acf01d282c2e11",
        "SmolLM2-360M-Instruct-Q5_K_M.gguf",
        "0d3040f47b83cd279fc653877059829cbd6e17f972f82a03f686f7d5f3834440",
        289_944_160,
        "apache-2.0",
        "Hugging Face SmolLM2 360M Instruct, Q5_K_M",
    ),
    _row(
        "smollm2-1.7b",
        "HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF@2d4a76a30b4af41ecd395c35725ac11688d4cfe4",
        "smollm2-1.7b-instruct-q4_k_m.gguf",
        "decd2598bc2c8ed08c19adc3c8fdd461ee19ed5708679d1c54ef54a5a30d4f33",
        1_055_609_536,
        "apache-2.0",
        "Hugging Face SmolLM2 1.7B Instruct, Q4_K_M",
        gallery=True,
    ),
    _row(
        "smollm3-3b",
        "bartowski/HuggingFaceTB_SmolLM3-3B-GGUF@86b3536ed1ca0dcb4716745642db4e6804bf3d32",
        "HuggingFaceTB_SmolLM3-3B-Q4_K_M.gguf",
        "519732558d5fa7420ab058e1b776dcfe73da78013c2fe59c7ca43c325ef89132",
        1_915_305_792,
        "apache-2.0",
        "Hugging Face SmolLM3 3B, Q4_K_M",
        gallery=True,
    ),
    _row(
        "gpt-oss-20b",
        "ggml-org/gpt-oss-20b-GGUF@e1dc459feff949ff451ce107337a2026daa80df8",
        "gpt-oss-20b-mxfp4.gguf",
        "be37a636aca0fc1aae0d32325f82f6b4d21495f06823b5fbc1898ae0303e9935",
        12_109_566_560,
        "apache-2.0",
        "OpenAI gpt-oss 20B, MXFP4",
        gallery=True,
    ),
    _row(
        "mistral-small-3.2-24b",
        "bartowski/mistralai_Mistral-Small-3.2-24B-Instruct-2506-GGUF@main",
        "mistralai_Mistral-Small-3.2-24B-Instruct-2506-Q4_K_M.gguf",
        "80f5bda68f156f12650ca03a0a2dbfae06a215ac41caa773b8631a479f82415e",
        14_333_915_264,
        "apache-2.0",
        "Mistral Small 3.2 24B Instruct, Q4_K_M",
        gallery=True,
    ),
    _row(
        "ministral-3-3b",
        "unsloth/Ministral-3-3B-Instruct-2512-GGUF@7564922f37fa5bbb62b87f09a55c12f1f91d7a6a",
        "Ministral-3-3B-Instruct-2512-Q4_K_M.gguf",
        "fd46fc371ff0509bfa8657ac956b7de8534d7d9baaa4947975c0648c3aa397f4",
        2_146_497_824,
        "apache-2.0",
        "Mistral Ministral 3 3B Instruct, Q4_K_M",
        gallery=True,
    ),
    _row(
        "ministral-3-8b",
        "unsloth/Ministral-3-8B-Instruct-2512-GGUF@3731507ec3e867db16d620f73e14d689125758f4",
        "Ministral-3-8B-Instruct-2512-Q4_K_M.gguf",
        "5dbc3647eb563b9f8d3c70ec3d906cce84b86bb35c5e0b8a36e7df3937ab7174",
        5_198_386_720,
        "apache-2.0",
        "Mistral Ministral 3 8B Instruct, Q4_K_M",
        gallery=True,
    ),
    _row(
        "granite-4.1-3b",
        "ibm-granite/granite-4.1-3b-GGUF@main",
        "granite-4.1-3b-Q4_K_M.gguf",
        "662b0626cd58f443baea23559b469df6576a81d349649c59413b36a9fb32eb29",
        2_099_501_664,
        "apache-2.0",
        "IBM Granite 4.1 3B, Q4_K_M",
    ),
    _row(
        "lfm2.5-1.2b",
        "LiquidAI/LFM2.5-1.2B-Instruct-GGUF@047e06635fbe71469926b35ea414537245218200",
        "LFM2.5-1.2B-Instruct-Q4_K_M.gguf",
        "b1b3de114215d9507409a662a501a631095a479a419584e8a2ded6304b19b4f5",
        730_895_168,
        "lfm1.0",
        "Liquid AI LFM2.5 1.2B Instruct, Q4_K_M",
        gallery=True,
    ),
)

_EMBEDDINGS: Final = (
    _row(
        "nomic-embed-text-v1.5",
        "nomic-ai/nomic-embed-text-v1.5-GGUF@0188c9bf409793f810680a5a431e7b899c46104c",
        "nomic-embed-text-v1.5.Q8_0.gguf",
        "3e24342164b3d94991ba9692fdc0dd08e3fd7362e0aacc396a9a5c54a544c3b7",
        146_146_432,
        "apache-2.0",
        "Nomic Embed Text v1.5, English, 768 dimensions, Q8_0",
        pooling="mean",
    ),
    _row(
        "embeddinggemma-300m",
        "ggml-org/embeddinggemma-300m-qat-q8_0-GGUF@66f974f8cd48cc3b9c41c516b95508e75b4bee64",
        "embeddinggemma-300m-qat-Q8_0.gguf",
        "6fa0c02a9c302be6f977521d399b4de3a46310a4f2621ee0063747881b673f67",
        328_577_056,
        "gemma",
        "Google EmbeddingGemma 300M, many languages, 768 dimensions, trained for Q8_0",
        pooling="mean",
        gallery=True,
    ),
    _row(
        "qwen3-embedding-0.6b",
        "Qwen/Qwen3-Embedding-0.6B-GGUF@370f27d7550e0def9b39c1f16d3fbaa13aa67728",
        "Qwen3-Embedding-0.6B-Q8_0.gguf",
        "06507c7b42688469c4e7298b0a1e16deff06caf291cf0a5b278c308249c3e439",
        639_150_592,
        "apache-2.0",
        "Qwen3 Embedding 0.6B, many languages, 1024 dimensions, Q8_0",
        pooling="last",
        gallery=True,
    ),
    _row(
        "bge-small-en-v1.5",
        "CompendiumLabs/bge-small-en-v1.5-gguf@d32f8c040ea3b516330eeb75b72bcc2d3a780ab7",
        "bge-small-en-v1.5-q8_0.gguf",
        "ec38e8da142596baa913124ae50550de284b6916bf59577ef2f0cb9660c2f514",
        36_806_944,
        "mit",
        "BAAI bge-small v1.5, English, 384 dimensions, Q8_0",
        pooling="cls",
    ),
)

KNOWN_MODELS: Final[tuple[KnownModel, ...]] = (*_OF_THE_CRATE, *_CHAT, *_EMBEDDINGS)

_BY_NAME: Final = {model.name: model for model in KNOWN_MODELS}
