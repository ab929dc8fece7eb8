"""Routing: one of the labels, whatever the model; the model's own probabilities; and right, where that is easy."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any
from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainwires_provider import (
    AsyncClient,
    Client,
    ConfigError,
    ProtocolError,
    ProviderConfig,
    UnsupportedError,
)
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.protocols.llamacpp import Route, operations
from brainwires_provider.protocols.llamacpp.operations import Choosing, Question, question_of
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer
from engines import NEEDS_ENGINE

BOTH = pytest.mark.parametrize("colour", ("async", "sync"))


class Toy:
    """An engine in a few lines: `cut` makes tokens of a text; how likely one is, a hash of all before it says."""

    def __init__(
        self, cut: Callable[[str], list[int]] = lambda text: list(text.encode()), *, tells: bool = True
    ) -> None:
        self.cut = cut
        self.tells = tells
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def likelihood(self, before: Sequence[int], token: int) -> float:
        return 0.01 + crc32(repr((tuple(before), token)).encode()) % 1000

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((path, body))
        if path == "/tokenize":
            return {"tokens": self.cut(body["content"])}
        counts = {"tokens_evaluated": len(body["prompt"]), "tokens_predicted": 1, "timings": {"cache_n": 1}}
        if "grammar" in body:
            return {"content": " " + body["grammar"].rpartition('" ')[2].strip('"'), **counts}
        if not self.tells:
            return {"content": "x", **counts}
        lifts = dict(body["logit_bias"])
        assert body["n_probs"] == len(lifts) > 1
        logits = {token: math.log(self.likelihood(body["prompt"], token)) + lifts[token] for token in lifts}
        if self.partial(max(logits, key=lambda token: logits[token])):
            return {"content": "", "completion_probabilities": [], **counts}
        total = sum(math.exp(logit) for logit in logits.values())
        told = [{"id": token, "prob": math.exp(logit) / total} for token, logit in logits.items()]
        return {"content": "x", "completion_probabilities": [{"id": 0, "top_probs": told}], **counts}

    def partial(self, token: int) -> bool:
        """Whether it is drawn, and is but a part of a character: the probabilities are then kept back."""
        return 0x80 <= token <= 0xFF

    def route(self, choosing: Choosing, text: str) -> Any:
        """Drive the steps, as a client does."""
        steps, told = choosing.route(text), None
        while True:
            try:
                step = steps.send(told)
            except StopIteration as done:
                return done.value
            told = step.read(msgspec.json.encode(self.answer(step.call.path, step.call.body)))

    def exact(self, question: Question, text: str) -> dict[str, float]:
        """The same probabilities by brute force, label by label and token by token."""
        means = dict.fromkeys(question.labels, 0.0)
        for said, sign in ((text, 1), ("", -1)):
            for prompt in question.prompts(said):
                tokens = {label: self.cut(f"{prompt} {label}\n") for label in question.labels}
                for label, own in tokens.items():
                    for place, token in enumerate(own):
                        ways = {
                            t[place] for t in tokens.values() if t[:place] == own[:place] and len(t) > place
                        }
                        all_ways = sum(self.likelihood(own[:place], way) for way in ways)
                        means[label] += sign * math.log(self.likelihood(own[:place], token) / all_ways) / 3
        total = sum(math.exp(mean) for mean in means.values())
        return {label: math.exp(mean) / total for label, mean in means.items()}


def in_threes(text: str) -> list[int]:
    """Tokens that take no heed of where a label begins."""
    data = text.encode()
    return [int.from_bytes(data[at : at + 3]) for at in range(0, len(data), 3)]


def in_words(text: str) -> list[int]:
    """A space belongs to the word that follows it."""
    data = text.encode()
    starts = [0, *(at for at, byte in enumerate(data) if byte in b" \n" and at), len(data)]
    return [crc32(data[a:b]) for a, b in pairwise(starts)]


LABEL = st.text("abc éè日'\"\\", min_size=1, max_size=6).map(str.strip).filter(bool)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(LABEL, min_size=2, max_size=6, unique=True),
    st.text(min_size=1, max_size=20).filter(lambda t: not any("\ud800" <= c <= "\udfff" for c in t)),
    st.sampled_from((in_threes, in_words, lambda text: list(text.encode()))),
)
@pytest.mark.many
def test_it_is_the_likeliest_label_by_the_models_own_word(
    labels: list[str], text: str, cut: Callable[[str], list[int]]
) -> None:
    toy, question = Toy(cut), question_of(labels)
    label, shares = toy.route(Choosing(question), text)
    assert shares == pytest.approx(toy.exact(question, text))
    assert label in labels and shares[label] == max(shares.values())
    assert list(shares) == labels and sum(shares.values()) == pytest.approx(1)


def test_labels_that_begin_alike() -> None:
    toy = Toy()
    question = question_of(["spam", "spam folder", "no spam"])
    choosing = Choosing(question)
    _, shares = toy.route(choosing, "Buy now")
    assert shares == pytest.approx(toy.exact(question, "Buy now"))
    choices = [body for path, body in toy.asked if path == "/completion"]
    assert len(choices) == 2 * 3 * 2  # twice three prompts, with two partings each
    assert {bytes(body["prompt"][-5:]) for body in choices} == {b"wer: ", b"r is ", b" spam"}
    assert choosing.usage.input_tokens == sum(len(body["prompt"]) for body in choices)
    assert (choosing.usage.cache_read, choosing.usage.output_tokens) == (len(choices), len(choices))


class Forgetful(Toy):
    """Its `place`-th completion, if there is one, tells no counts."""

    def __init__(self, place: int | None, *, tells: bool) -> None:
        super().__init__(tells=tells)
        self.place = place

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        told = super().answer(path, body)
        if path == "/completion" and sum(path == asked for asked, _ in self.asked) - 1 == self.place:
            del told["tokens_evaluated"]
        return told


@pytest.mark.parametrize("tells", [True, False])
def test_counts_are_complete_if_those_of_every_request_are(tells: bool) -> None:
    for place in (None, 0, 1, 2):
        choosing = Choosing(question_of(["a", "b"]))
        toy = Forgetful(place, tells=tells)
        toy.route(choosing, "x")
        count = sum(path == "/completion" for path, _ in toy.asked)
        assert choosing.usage.output_tokens == count - (place is not None)
        assert choosing.usage.complete is (place is None)


def test_what_is_asked_of_the_engine() -> None:
    toy = Toy()
    question = question_of(["a", "b"], "Which letter?", [("say a", "a")], "m")
    toy.route(Choosing(question), "<|im_end|>")
    path, body = toy.asked[0]
    shown = "Text: a\nAnswer: a\n\nText: b\nAnswer: b\n\nText: say a\nAnswer: a\n\n"
    assert (path, body) == (
        "/tokenize",
        {
            "content": f"Which letter?\n\n{shown}Text: <|im_end|>\nAnswer: a\n",
            "add_special": True,
            "parse_special": False,  # what a user wrote must not end a turn
            "model": "m",
        },
    )
    path, body = toy.asked[2]
    assert path == "/completion"
    assert body.pop("prompt") == list(f"Which letter?\n\n{shown}Text: <|im_end|>\nAnswer: ".encode())
    assert body == {
        "model": "m",
        "n_predict": 1,
        "n_probs": 2,
        "post_sampling_probs": True,
        "samplers": ["temperature"],
        "temperature": 1.0,
        "seed": 1,
        "logit_bias": [[97, 100.0], [98, 100.0]],
        "cache_prompt": True,
        "stream": False,
    }
    asked = [body["content"] for path, body in toy.asked if path == "/tokenize"]
    assert asked[4].startswith(
        "Text: say a\n\nQuestion: Which letter?\n\nAnswer: The answer is a\n\nText: <|im"
    )
    assert len(asked) == 12
    backwards = "Text: b\nAnswer: b\n\nText: a\nAnswer: a\n\nText: say a\nAnswer: a\n\n"
    question_first = "Question: Which letter?\n\nAnswer: The answer is"
    prompts = [
        prompt
        for text in ("<|im_end|>", "")
        for prompt in (
            f"Which letter?\n\n{shown}Text: {text}\nAnswer:",
            f"Which letter?\n\n{backwards}Text: {text}\nAnswer:",
            f"Text: say a\n\n{question_first} a\n\nText: {text}\n\n{question_first}",
        )
    ]
    assert asked == [f"{prompt} {label}\n" for prompt in prompts for label in ("a", "b")]


def test_a_prior_is_asked_for_once() -> None:
    toy, question = Toy(), question_of(["a", "b"])
    first = Choosing(question)
    told = toy.route(first, "x")
    asked = len(toy.asked)
    assert toy.route(Choosing(question, first.prior), "x") == told
    assert len(toy.asked) == asked + asked // 2
    assert all("model" not in body for _, body in toy.asked)


def test_one_label_is_not_asked_about() -> None:
    toy = Toy()
    assert toy.route(Choosing(question_of(["a"])), "x") == ("a", {"a": 1.0})
    assert toy.asked == []


def test_an_engine_without_probabilities_is_held_to_a_grammar() -> None:
    toy = Toy(tells=False)
    choosing = Choosing(question_of(["no", 'say "é"\\', "yes"], model="m"))
    assert toy.route(choosing, "x") == ("yes", {})
    path, body = toy.asked[-1]
    assert path == "/completion"
    assert body["grammar"] == 'root ::= " no" | " say \\"é\\"\\\\" | " yes"'
    assert body["n_predict"] == len(' say "é"\\'.encode()) + 1
    prompt = "Text: x\n\nQuestion: What kind of text is this?\n\nAnswer: The answer is"
    assert bytes(body["prompt"]).decode() == prompt
    assert toy.asked[-2] == (
        "/tokenize",
        {"content": prompt, "add_special": True, "parse_special": False, "model": "m"},
    )
    assert {body["model"] for _, body in toy.asked} == {"m"}
    assert [body["logit_bias"][-1] for path, body in toy.asked[:-1] if path == "/completion"] == [
        *([121, 100.0], [10, 120.0], [10, 140.0], [10, 160.0])
    ]
    assert choosing.usage.output_tokens == 5


def test_tokens_that_are_a_part_of_a_character() -> None:
    """Of which the engine tells no probabilities when it draws one."""
    toy, question = Toy(), question_of(["é", "è", "éa", "日", "本", "e"])
    label, shares = toy.route(Choosing(question), "x")
    assert shares == pytest.approx(toy.exact(question, "x"))
    assert label == max(shares, key=lambda label: shares[label])
    pushed = [
        body["logit_bias"][-1]
        for path, body in toy.asked
        if path == "/completion" and len(body["logit_bias"]) > 2
    ]
    assert [10, 120.0] in pushed


class Leaning(Toy):
    """An engine that always goes on with a part of a character."""

    def likelihood(self, before: Sequence[int], token: int) -> float:
        return 1000.0 if self.partial(token) else 1.0


def test_a_line_that_may_end_where_a_character_begins() -> None:
    """What is drawn in place of a part of a character is itself among what may come."""
    toy, question = Leaning(), question_of(["é", "éé"], "?")
    choosing = Choosing(question, ({"é": 0.0, "éé": 0.0},) * 3)
    label, shares = toy.route(choosing, "x")
    assert (label, shares) == ("éé", pytest.approx({"é": 1 / 1001, "éé": 1000 / 1001}))


def test_labels_whose_tokens_are_the_same() -> None:
    with pytest.raises(UnsupportedError, match="do not distinguish these labels: 'é', 'è'"):
        Toy(lambda text: list(text.encode("ascii", "replace"))).route(Choosing(question_of(["é", "è"])), "x")


WRONG: dict[str, tuple[Any, Any, str]] = {
    "none": ([], None, "takes a list of labels"),
    "a text": ("positive", None, "takes a list of labels"),
    "an empty one": (["a", ""], None, "the label '' cannot be used"),
    "a blank one": (["a", " "], None, "the label ' ' cannot be used"),
    "space around it": (["a", "b "], None, "the label 'b ' cannot be used"),
    "two lines": (["a", "b\nc"], None, r"the label 'b\\nc' cannot be used"),
    "no text": (["a", 3], None, "the label 3 cannot be used"),
    "twice": (["b", "a", "b", "a", "c"], None, "given twice: 'a', 'b'"),
    "an example of another": (["a", "b"], [("x", "c")], r"the label 'c', which is none of \['a', 'b'\]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_are_no_labels(name: str) -> None:
    labels, examples, says = WRONG[name]
    with pytest.raises(ConfigError, match=says):
        question_of(labels, None, examples)


# -- the client ------------------------------------------------------------------------------------------------------


def config(url: str, key: str = "k") -> ProviderConfig:
    return ProviderConfig("box", based_on="openai-chat", base_url=f"{url}/v1", api_key=key)


def serving(toy: Toy) -> Callable[[RecordedRequest], Answer]:
    return lambda request: Answer(body=msgspec.json.encode(toy.answer(request.path, request.json())))


def routed(colour: str, url: str, *asked: tuple[Any, ...], key: str = "k", **more: Any) -> list[Route]:
    """One client, and several routings one after another."""
    if colour == "sync":
        with Client("box:m", providers=[config(url, key)]) as client:
            return [client.local.route(*each, **more) for each in asked]

    async def run() -> list[Route]:
        async with AsyncClient("box:m", providers=[config(url, key)]) as client:
            return [await client.local.route(*each, **more) for each in asked]

    return asyncio.run(run())


@BOTH
def test_route(colour: str) -> None:
    toy, question = Toy(), question_of(["yes", "no"], "Is it?", [("sure", "yes")], "m")
    with ScriptedServer(serving(toy)) as server:
        first, second, other = routed(
            colour,
            server.url,
            ("good", ["yes", "no"]),
            ("bad", ["yes", "no"]),
            ("bad", ["no", "yes"]),
            instructions="Is it?",
            examples=[("sure", "yes")],
        )
        assert {request.path for request in server.requests} == {"/tokenize", "/completion"}
    for route, text in ((first, "good"), (second, "bad")):
        assert route.probabilities == pytest.approx(toy.exact(question, text))
        assert route.probabilities[route.label] == max(route.probabilities.values())
        assert (route.provider, route.model) == ("box", "m")
    assert (first.usage.output_tokens, second.usage.output_tokens, other.usage.output_tokens) == (6, 3, 6)


@BOTH
def test_what_cannot_be_routed(colour: str) -> None:
    with ScriptedServer(Answer(body=b'{"tokens": "?"}')) as server:
        with pytest.raises(ConfigError, match="there is no text"):
            routed(colour, server.url, (" \n", ["a", "b"]))
        with pytest.raises(ConfigError, match="given twice"):
            routed(colour, server.url, ("x", ["a", "a"]))
        assert server.requests == []
        with pytest.raises(ProtocolError, match="no list of tokens"):
            routed(colour, server.url, ("x", ["a", "b"]))


# -- the real engine -------------------------------------------------------------------------------------------------

SENTIMENT = "What is the sentiment of the review?", ["positive", "negative"]
LANGUAGE = "In which language is the text written?", ["English", "French", "German", "Spanish"]
TOPIC = "What is the text about?", ["sports", "politics", "cooking", "technology"]
DESK = "What does the customer need?", ["billing", "shipping", "password reset", "cancellation"]
SPAM = "Is this email spam or not?", ["spam", "not spam"]
DEPARTMENT = "Which department should answer?", ["sales", "human resources", "technical support"]
KIND = "What kind of thing is it?", ["animal", "vehicle", "fruit"]

# Two threads that wait for each other are slower where others work too.
ONE_THREAD = ProviderConfig("local", local=LocalModel(threads=1, context=2048))
ODD = ["ペン", "ペリ", "é", "è", "a", "a b"]

Cases = dict[str, tuple[tuple[str, list[str]], str]]
"""By text: the question, and the right label."""
EASY: Cases = {
    "I loved this film. It was wonderful from beginning to end.": (SENTIMENT, "positive"),
    "Terrible food and rude staff. I will never come back.": (SENTIMENT, "negative"),
    "The best phone I have ever owned, fast and beautiful.": (SENTIMENT, "positive"),
    "It broke after two days and nobody answered my emails. A waste of money.": (SENTIMENT, "negative"),
    "What a great hotel! The room was clean and everybody was friendly.": (SENTIMENT, "positive"),
    "Bonjour, je voudrais un café et un croissant, s'il vous plaît.": (LANGUAGE, "French"),
    "Guten Morgen, wie geht es Ihnen heute?": (LANGUAGE, "German"),
    "Buenos días, ¿dónde está la estación de tren?": (LANGUAGE, "Spanish"),
    "The weather is lovely today, so we are going to the beach.": (LANGUAGE, "English"),
    "Ich habe gestern ein neues Buch gekauft und lese es jeden Abend.": (LANGUAGE, "German"),
    "The striker scored two goals and the team won the football match.": (TOPIC, "sports"),
    "The president signed the new law after a long debate in parliament.": (TOPIC, "politics"),
    "Chop the onions, fry them in butter, and add salt and pepper.": (TOPIC, "cooking"),
    "The new laptop has a faster processor and twice the memory.": (TOPIC, "technology"),
    "She won the tennis tournament without losing a set.": (TOPIC, "sports"),
    "I was charged twice on my credit card this month.": (DESK, "billing"),
    "My package has not arrived yet. Where is it?": (DESK, "shipping"),
    "I forgot my password and cannot log in.": (DESK, "password reset"),
    "Please cancel my subscription, I do not want it any more.": (DESK, "cancellation"),
    "There is a mistake on my invoice: the price is wrong.": (DESK, "billing"),
}
OTHERS: Cases = {
    "Congratulations! You have won one million dollars. Click here to claim your prize now!!!": (
        SPAM,
        "spam",
    ),
    "Hi Anna, the meeting is moved to Tuesday at ten. See you there, Ben": (SPAM, "not spam"),
    "I would like a quote for fifty licences of your product.": (DEPARTMENT, "sales"),
    "The printer shows an error and my computer does not start.": (DEPARTMENT, "technical support"),
    "a yellow banana": (KIND, "fruit"),
    "a red truck": (KIND, "vehicle"),
}


@pytest.fixture(scope="module")
def answers() -> dict[str, Route]:
    """Every case, by one client, and one of labels that are hard to tell apart."""
    with Client("local:", providers=[ONE_THREAD]) as client:
        told = {
            text: client.local.route(text, labels, instructions=question)
            for text, ((question, labels), _) in (EASY | OTHERS).items()
        }
        return {**told, "odd": client.local.route("<|im_end|> \u0000 ☃", ODD)}


class TestEngine:
    pytestmark = NEEDS_ENGINE

    def test_twenty_easy_cases(self, answers: dict[str, Route]) -> None:
        assert len(EASY) == 20
        wrong = {text: answers[text] for text, (_, right) in EASY.items() if answers[text].label != right}
        assert wrong == {}

    def test_questions_that_were_never_tuned_for(self, answers: dict[str, Route]) -> None:
        right = [text for text, (_, label) in OTHERS.items() if answers[text].label == label]
        assert len(right) >= 5  # of 6: the spam is taken for none

    def test_always_one_of_the_labels(self, answers: dict[str, Route]) -> None:
        labels = {text: labels for text, ((_, labels), _) in (EASY | OTHERS).items()} | {"odd": ODD}
        assert labels.keys() == answers.keys()
        for text, route in answers.items():
            shares = route.probabilities
            assert list(shares) == labels[text] and sum(shares.values()) == pytest.approx(1)
            assert route.label == max(shares, key=lambda label: shares[label])

    def test_the_probabilities_are_the_engines_own(self) -> None:
        """Renormalised over what is allowed they are those that it tells of all tokens, and a push changes nothing."""
        prompt = "Text: I loved this film.\n\nQuestion: Was it good?\n\nAnswer: The answer is"

        async def main() -> None:
            async with AsyncClient("local:", providers=[ONE_THREAD]) as client:
                local = client.local
                target = local._native(None)

                async def tokens(text: str) -> tuple[int, ...]:
                    return await local._ask(operations.tokenize_call(text), operations.decode_tokens, target)

                begin = await tokens(prompt)
                allowed = [(await tokens(prompt + word))[-1] for word in (" yes", " no", " good")]
                newline = (await tokens(prompt + " yes\n"))[-1]
                told = await local.generate(prompt, max_tokens=1, logprobs=2000, temperature=0)
                top = told.extra["completion_probabilities"][0]["top_logprobs"]
                every = {entry["id"]: math.exp(entry["logprob"]) for entry in top}
                total = sum(every[token] for token in allowed)
                own = pytest.approx({token: every[token] / total for token in allowed}, rel=0.05)
                for pushed in (None, (newline, 20.0), (newline, 40.0)):
                    read = partial(operations.decode_choice, allowed=allowed, pushed=pushed)
                    call = operations.choice_call(begin, allowed, pushed=pushed)
                    assert (await local._ask(call, read, target)).weights == own

        asyncio.run(main())

    def test_the_grammar_of_an_engine_without_probabilities(self) -> None:
        labels = ['é "quoted"', "back\\slash", "ペンギン"]

        async def main() -> None:
            async with AsyncClient("local:", providers=[ONE_THREAD]) as client:
                steps = Choosing(question_of(labels))._constrained("Hello")
                assert await client.local._drive(steps, client.local._native(None)) in labels

        asyncio.run(main())
