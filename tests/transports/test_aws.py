"""Signatures equal to botocore's, and credentials from every place they can come from, none of them ever shown."""

from __future__ import annotations

import asyncio
import copy
import datetime
import json
import pickle
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from brainwires_provider.auth.aws import (
    AWSAuth,
    BotocoreChain,
    Credentials,
    find_region,
    region_of,
    sign,
)
from brainwires_provider.errors import ConfigError, ConnectError

ACCESS, SECRET, TOKEN = "AKIAEXAMPLEEXAMPLE01", "s3cret/PLANTED+key", "sess/PLANTED+token=="
KEYS = Credentials(ACCESS, SECRET)
HOST = "https://bedrock-runtime.us-west-2.amazonaws.com"

# -- signatures ----------------------------------------------------------------------------------------------

SEGMENTS = (
    "model",
    "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-v1%3A0",
    "arn:aws:bedrock:eu-west-1:123456789012:prompt/AB12:3",
    "us.amazon.nova-lite-v1:0",
    "",
    ".",
    "..",
    "a b",
    "ü☃",
    "~tilde_-.",
    "%2F%2f%",
    "+*'()!$&,;=@",
    "converse-stream",
)
QUERIES = ("", "a=1", "b=2&a=1&a=0", "empty=&flag", "x=%20%2F&x=y%3D", "ü=☃", "=", "a==b&&c")
VALUES = ("application/json", "  two   spaces\tand tab ", "", "ü☃", "a,b", '"quoted  twice"')
NAMES = ("Content-Type", "X-Amzn-Bedrock-Trace", "x-amz-meta-z", "Accept", "USER-AGENT", "Expect", "host")
HOSTS = (
    HOST,
    "https://Bedrock-Runtime.EU-west-1.amazonaws.com:443",
    "http://localhost:8080",
    "http://127.0.0.1:80",
    "https://[::1]:9000",
    "https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com",
)


def generated(seed: int) -> dict[str, Any]:
    pick = random.Random(seed)
    path = "".join("/" + pick.choice(SEGMENTS) for _ in range(pick.randrange(6))) + pick.choice(("", "/"))
    query = pick.choice(QUERIES)
    names = pick.sample(NAMES, pick.randrange(len(NAMES)))
    when = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(
        seconds=pick.randrange(10**8)
    )
    return {
        "method": pick.choice(("POST", "GET", "put")),
        "url": pick.choice(HOSTS) + path + ("?" + query if query else ""),
        "headers": {name: pick.choice(VALUES) if name != "host" else "example.com" for name in names},
        "body": pick.choice((b"", b"{}", "☃".encode() * 50, bytes(range(256)))),
        "credentials": Credentials(ACCESS, SECRET, pick.choice((None, TOKEN))),
        "region": pick.choice(("us-east-1", "ap-southeast-2")),
        "service": pick.choice(("bedrock", "execute-api")),
        "when": when,
    }


def by_botocore(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    auth = pytest.importorskip("botocore.auth")
    request = pytest.importorskip("botocore.awsrequest").AWSRequest(
        method=case["method"], url=case["url"], headers=case["headers"], data=case["body"]
    )
    held = case["credentials"]
    keys = pytest.importorskip("botocore.credentials").Credentials(
        held.access_key, held.secret_key, held.session_token
    )
    monkeypatch.setattr(auth, "get_current_datetime", lambda: case["when"])
    auth.SigV4Auth(keys, case["service"], case["region"]).add_auth(request)
    return {
        name: request.headers[name]
        for name in ("X-Amz-Date", "X-Amz-Security-Token", "Authorization")
        if name in request.headers
    }


def test_the_signature_is_botocores(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    for seed in range(600):
        case = generated(seed)
        ours = sign(
            **{k: v for k, v in case.items() if k != "when"},
            now=case["when"].timestamp(),
        )
        assert ours == by_botocore(case, monkeypatch), case
        seen.add(ours["Authorization"])
    assert len(seen) == 600


@pytest.mark.parametrize(
    "model",
    [
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/mi1dadi0g15f",
    ],
)
def test_what_a_botocore_client_sends_has_our_signature(model: str) -> None:
    """The whole way: the client's own URL and headers, taken from it before they would go out."""
    session = pytest.importorskip("botocore.session").Session()
    client = session.create_client(
        "bedrock-runtime",
        region_name="us-west-2",
        aws_access_key_id=ACCESS,
        aws_secret_access_key=SECRET,
        aws_session_token=TOKEN,
    )
    sent: list[Any] = []

    def answer(request: Any, **_: Any) -> Any:
        sent.append(request)
        return pytest.importorskip("botocore.awsrequest").AWSResponse(request.url, 200, {}, Nothing())

    client.meta.events.register("before-send.bedrock-runtime.Converse", answer)
    client.converse(modelId=model, messages=[{"role": "user", "content": [{"text": "Hi ☃"}]}])
    (request,) = sent
    headers = {
        k: v.decode() if isinstance(v, bytes) else v
        for k, v in request.headers.items()
        if k.lower()
        in request.headers["Authorization"].decode().split("SignedHeaders=")[1].split(",")[0].split(";")
    }
    stamp = datetime.datetime.strptime(headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    ours = sign(
        request.method,
        request.url,
        headers,
        request.body,
        credentials=Credentials(ACCESS, SECRET, TOKEN),
        region="us-west-2",
        service="bedrock",
        now=stamp.timestamp(),
    )
    assert ours["Authorization"] == request.headers["Authorization"].decode()
    assert "%3A" in request.url


class Nothing:
    """The body of an answer that says nothing."""

    def stream(self, *_: Any, **__: Any) -> Any:
        yield b"{}"

    def read(self, *_: Any) -> bytes:
        return b"{}"


def test_a_given_hash_of_the_body_is_signed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    case = {**generated(1), "headers": {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}}
    ours = sign(**{k: v for k, v in case.items() if k != "when"}, now=case["when"].timestamp())
    assert ours == by_botocore(case, monkeypatch)


def test_an_old_signature_is_replaced() -> None:
    """A retry is signed anew."""
    plain = {"Content-Type": "application/json"}
    once = signed(plain)
    again = signed(plain | once)
    assert again == once


def signed(headers: dict[str, str], **changes: Any) -> dict[str, str]:
    fixed: dict[str, Any] = {
        "credentials": KEYS,
        "region": "us-west-2",
        "service": "bedrock",
        "now": 1_790_000_000.0,
    } | changes
    return sign("POST", f"{HOST}/model/m/converse", headers, b"{}", **fixed)


UNSIGNED = [
    "Authorization",
    "Baggage",
    "Connection",
    "Expect",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "TE",
    "Traceparent",
    "Tracestate",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "User-Agent",
    "X-Amz-Date",
    "X-Amz-Security-Token",
    "X-Amzn-Trace-Id",
]


@pytest.mark.parametrize(
    "name", [*UNSIGNED, "Accept", "Content-Type", "X-Amz-Target", "X-Amzn-Bedrock-Trace"]
)
def test_what_a_proxy_may_change_is_not_signed(name: str) -> None:
    """Nor what signing itself adds: a value of the caller's is replaced."""
    plain = signed({})["Authorization"]
    with_it = signed({name: "value"})["Authorization"]
    assert (with_it == plain) == (name in UNSIGNED)


def test_every_part_of_a_request_changes_the_signature() -> None:
    plain = signed({})["Authorization"]
    assert signed({"Content-Type": "a"})["Authorization"] != plain
    for change in (
        {"credentials": Credentials(ACCESS, "other")},
        {"credentials": Credentials(ACCESS, SECRET, TOKEN)},
        {"region": "us-east-1"},
        {"service": "other"},
        {"now": 1_790_000_001.0},
    ):
        assert signed({}, **change)["Authorization"] != plain


# -- secrets -------------------------------------------------------------------------------------------------


def test_credentials_never_show_their_secrets() -> None:
    held = Credentials(ACCESS, SECRET, TOKEN, 5.0)
    assert repr(held) == "Credentials(AKIA…, expires=5.0)"
    assert SECRET not in repr(AWSAuth(credentials=held, region="r"))
    for shows in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled") as caught:
            shows(held)
        assert SECRET not in str(caught.value)
    with pytest.raises(TypeError):
        msgspec.json.encode(held)
    with pytest.raises(TypeError):
        json.dumps(held)


# -- where they come from ------------------------------------------------------------------------------------


def asked(auth: AWSAuth, url: str = f"{HOST}/model/m/converse", **headers: str) -> dict[str, str]:
    return asyncio.run(auth.headers("POST", url, headers, b"{}"))


def key_of(headers: dict[str, str]) -> str:
    return headers["Authorization"].split("Credential=")[1].split("/")[0]


def test_a_bearer_key_needs_nothing_else() -> None:
    given = AWSAuth(bearer="bk-PLANTED", environ={})
    assert asked(given) == {"Authorization": "Bearer bk-PLANTED"}
    assert given.secrets == ("bk-PLANTED",)
    environ = {"AWS_BEARER_TOKEN_BEDROCK": " bk-env \n", "AWS_ACCESS_KEY_ID": ACCESS}
    assert asked(AWSAuth(environ=environ)) == {"Authorization": "Bearer bk-env"}
    assert asked(AWSAuth(bearer=lambda: "bk-called", environ={})) == {"Authorization": "Bearer bk-called"}


def test_keys_in_code_win_over_the_environment() -> None:
    environ = {
        "AWS_BEARER_TOKEN_BEDROCK": "bk",
        "AWS_ACCESS_KEY_ID": "AKIAOTHER",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    auth = AWSAuth(credentials=Credentials(ACCESS, SECRET, TOKEN), environ=environ, clock=lambda: 1.79e9)
    headers = asked(
        auth, **{"content-type": "application/json", "accept": "x", "x-amzn-y": "no", "X-Amz-Z": "z"}
    )
    assert key_of(headers) == ACCESS
    assert headers["X-Amz-Security-Token"] == TOKEN
    assert (
        "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-z," in headers["Authorization"]
    )
    assert auth.secrets == (SECRET, TOKEN)


@pytest.mark.parametrize("token", ["AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"])
def test_the_environments_keys_need_no_botocore(token: str) -> None:
    """In a process where it cannot be imported, nor boto3."""
    script = (
        "import sys, asyncio; sys.modules['botocore'] = None\n"
        "from brainwires_provider.auth.aws import AWSAuth\n"
        f"environ = {{'AWS_ACCESS_KEY_ID': 'AKIA1 ', 'AWS_SECRET_ACCESS_KEY': 's', '{token}': 't'}}\n"
        f"made = asyncio.run(AWSAuth(environ=environ).headers('POST', '{HOST}/m', {{}}, b''))\n"
        "print(sorted(made), 'Credential=AKIA1/' in made['Authorization'])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "['Authorization', 'X-Amz-Date', 'X-Amz-Security-Token'] True", done.stderr


def test_half_a_pair_of_keys() -> None:
    with pytest.raises(ConfigError, match="AWS_SECRET_ACCESS_KEY is not"):
        asked(AWSAuth(environ={"AWS_ACCESS_KEY_ID": ACCESS}))


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("botocore", "botocore.session", "botocore.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"pip install 'brainwires-provider\[bedrock\]'"):
        asked(AWSAuth(environ={}))
    with pytest.raises(ConfigError, match=r"no AWS region: .*AWS_REGION .*brainwires-provider\[bedrock\]"):
        asked(AWSAuth(credentials=KEYS, environ={}), "https://gateway.example.com/m")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no AWS set-up but that of the test."""
    pytest.importorskip("botocore")
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


def test_profiles_keys_and_regions(home: Path) -> None:
    (home / "credentials").write_text(
        f"[default]\naws_access_key_id=AKIADEFAULT\naws_secret_access_key={SECRET}\n"
        f"[work]\naws_access_key_id=AKIAWORK\naws_secret_access_key=w\naws_session_token={TOKEN}\n"
    )
    (home / "config").write_text("[default]\nregion=eu-north-1\n[profile work]\nregion=sa-east-1\n")
    odd = "https://gateway.example.com/m"
    auth = AWSAuth(environ={})
    default, work = asked(auth, odd), asked(AWSAuth(profile="work", environ={}), odd)
    assert key_of(default) == "AKIADEFAULT"
    assert "/eu-north-1/bedrock/" in default["Authorization"]
    assert key_of(work) == "AKIAWORK"
    assert work["X-Amz-Security-Token"] == TOKEN
    assert "/sa-east-1/bedrock/" in work["Authorization"]
    environ = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
    assert key_of(asked(AWSAuth(environ=environ), odd)) == ACCESS
    assert key_of(asked(AWSAuth(profile="work", environ=environ), odd)) == "AKIAWORK"
    (home / "config").unlink()
    assert "/eu-north-1/bedrock/" in asked(auth, odd)["Authorization"]  # what was read is kept


def test_a_process_that_gives_credentials_is_asked_again_before_they_end(home: Path) -> None:
    """botocore's chain end to end: a program of the test's own that counts how often it runs."""
    program = home / "give.py"
    program.write_text(
        "import datetime, json, pathlib\n"
        f"runs = pathlib.Path({str(home / 'runs')!r})\n"
        "count = int(runs.read_text() or 0) + 1 if runs.exists() else 1\n"
        "runs.write_text(str(count))\n"
        "end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=1 if count < 3 else 90)\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'AKIA{count}', 'SecretAccessKey': 's', "
        "'SessionToken': 't', 'Expiration': end.isoformat()}))\n"
    )
    (home / "config").write_text(f"[default]\ncredential_process={sys.executable} {program}\n")
    auth = AWSAuth(environ={})
    assert key_of(asked(auth)) == "AKIA2"  # botocore itself does not hand out what is about to end
    assert [key_of(asked(auth)) for _ in range(4)] == ["AKIA3"] * 4
    assert (home / "runs").read_text() == "3"


def test_no_credentials_anywhere(home: Path) -> None:
    with pytest.raises(ConfigError, match="no AWS credentials: set AWS_BEARER_TOKEN_BEDROCK"):
        asked(AWSAuth(environ={}))
    with pytest.raises(ConfigError, match=r"no AWS region: pass one, or set AWS_REGION$"):
        asked(AWSAuth(credentials=KEYS, environ={}), "https://gateway.example.com/m")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("[profile other]\n", "could not be loaded: .*work"),
        ("[profile work]\ncredential_process=/nowhere/at/all\n", "could not be loaded"),
        (
            "[profile work]\nrole_arn=arn:aws:iam::1:role/x\nsource_profile=gone\n",
            "could not be loaded.*gone",
        ),
        ("this is no configuration", "could not be loaded"),
    ],
)
def test_a_set_up_that_cannot_work(home: Path, config: str, says: str) -> None:
    (home / "config").write_text(config)
    with pytest.raises(ConfigError, match=says):
        asked(AWSAuth(profile="work", environ={}))


def test_a_container_that_does_not_answer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata address answers nothing: botocore says so, as a ConfigError or ConnectError of ours."""
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/nothing")
    fetcher = pytest.importorskip("botocore.utils").ContainerMetadataFetcher
    monkeypatch.setattr(fetcher, "SLEEP_TIME", 0.01)  # between its attempts, otherwise a second
    with pytest.raises((ConfigError, ConnectError), match="AWS credentials could not be"):
        asked(AWSAuth(environ={}))


def test_a_token_service_that_cannot_be_reached(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "credentials").write_text("[base]\naws_access_key_id=AKIA0\naws_secret_access_key=s\n")
    (home / "config").write_text(
        "[profile work]\nrole_arn=arn:aws:iam::123456789012:role/x\nsource_profile=base\nregion=us-east-1\n"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ConnectError, match="could not be fetched"):
        asked(AWSAuth(profile="work", environ={}))


# -- renewal -------------------------------------------------------------------------------------------------


class Station:
    """A source of credentials on a clock of the test's, each good for an hour."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0
        self.fetched = 0
        self.at_once = 0
        self.most_at_once = 0
        self.fault: Exception | None = None
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self) -> Credentials:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.threads.add(threading.get_ident())
        try:
            assert self.gate.wait(10)
            if self.fault is not None:
                raise self.fault
            self.fetched += 1
            return Credentials(f"AKIA{self.fetched}", SECRET, TOKEN, self.now + 3600)
        finally:
            self.at_once -= 1

    def auth(self) -> AWSAuth:
        return AWSAuth(credentials=self, environ={}, clock=lambda: self.now)


def test_a_hundred_requests_fetch_once_and_off_the_loop() -> None:
    station = Station()
    auth = station.auth()
    station.gate.clear()

    async def ask() -> list[dict[str, str]]:
        asking = [asyncio.create_task(auth.headers("POST", f"{HOST}/m", {}, b"")) for _ in range(100)]
        await asyncio.sleep(0)  # all are under way
        asking[0].cancel()  # who gives up takes nobody with him
        station.gate.set()
        done = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(done[0], asyncio.CancelledError)
        return done[1:]  # type: ignore[return-value]

    assert {key_of(h) for h in asyncio.run(ask())} == {"AKIA1"}
    assert station.fetched == 1
    station.now += 3600 - 300
    assert {key_of(h) for h in asyncio.run(ask_many(auth))} == {"AKIA1"}
    station.now += 1
    assert {key_of(h) for h in asyncio.run(ask_many(auth))} == {"AKIA2"}
    assert (station.fetched, station.most_at_once) == (2, 1)
    assert threading.get_ident() not in station.threads


async def ask_many(auth: AWSAuth, count: int = 100) -> list[dict[str, str]]:
    return await asyncio.gather(*(auth.headers("POST", f"{HOST}/m", {}, b"") for _ in range(count)))


def test_several_loops_fetch_once() -> None:
    station = Station()
    auth = station.auth()
    station.gate.clear()
    told: list[dict[str, str]] = []
    threads = [threading.Thread(target=lambda: told.extend(asyncio.run(ask_many(auth, 5)))) for _ in range(6)]
    for thread in threads:
        thread.start()
    station.gate.set()
    for thread in threads:
        thread.join(10)
    assert len(told) == 30
    assert (station.fetched, station.most_at_once) == (1, 1)


def test_a_renewal_that_fails_early_leaves_the_old_ones() -> None:
    station = Station()
    auth = station.auth()
    assert key_of(asked(auth)) == "AKIA1"
    station.now += 3400
    station.fault = ConnectError("the station is down")
    assert key_of(asked(auth)) == "AKIA1"
    station.fault = AssertionError("asked again too soon")
    station.now += 29
    assert key_of(asked(auth)) == "AKIA1"
    station.fault = None
    station.now += 1
    assert key_of(asked(auth)) == "AKIA2"
    station.now += 3600
    station.fault = ConnectError("the station is down")
    with pytest.raises(ConnectError, match="the station is down"):
        asked(auth)
    station.fault = None
    assert key_of(asked(auth)) == "AKIA3"


def test_a_first_fetch_that_fails_fails_for_all() -> None:
    station = Station()
    station.fault = ConfigError("no credentials here")

    async def ask() -> list[Any]:
        auth = station.auth()
        return await asyncio.gather(
            *(auth.headers("POST", f"{HOST}/m", {}, b"") for _ in range(5)), return_exceptions=True
        )

    assert [type(e) for e in asyncio.run(ask())] == [ConfigError] * 5


def test_credentials_without_an_end_are_fetched_once() -> None:
    given = iter([Credentials(ACCESS, SECRET)])
    auth = AWSAuth(credentials=lambda: next(given), environ={})
    assert [key_of(asked(auth)) for _ in range(3)] == [ACCESS] * 3


# -- regions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://bedrock-runtime.us-east-1.amazonaws.com/m", "us-east-1"),
        ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("https://bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("https://bedrock-mantle.ap-southeast-2.api.aws/v1", "ap-southeast-2"),
        ("https://vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com", "eu-west-1"),
        ("https://bedrock.eu-central-1.amazonaws.com", "eu-central-1"),
        ("https://example.com/bedrock-runtime.us-east-1.amazonaws.com", None),
        ("http://localhost:8080", None),
        ("", None),
    ],
)
def test_hosts_name_their_region(url: str, region: str | None) -> None:
    assert region_of(url) == region


def test_which_region_is_signed_for() -> None:
    both = {"AWS_REGION": " eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}
    assert find_region("eu-west-3", both) == "eu-west-3"
    assert find_region(None, both) == "eu-west-1"
    assert find_region(None, {"AWS_REGION": " ", "AWS_DEFAULT_REGION": "eu-west-2"}) == "eu-west-2"
    assert find_region(None, {}) is None

    def region(auth: AWSAuth, url: str | None) -> str:
        return asyncio.run(auth.region(url))

    assert region(AWSAuth(region="eu-west-3", environ=both), HOST) == "eu-west-3"
    assert region(AWSAuth(environ=both), HOST) == "us-west-2"
    assert region(AWSAuth(environ=both), "https://gateway.example.com") == "eu-west-1"
    assert region(AWSAuth(environ=both), None) == "eu-west-1"


@pytest.mark.parametrize("region", ["evil.example/", "us-east-1\r\nX-A: b", "us-east", ""])
def test_what_is_no_region_is_not_signed_for(region: str) -> None:
    auths = [AWSAuth(environ={"AWS_REGION": region})] if region else []
    for auth in (*auths, AWSAuth(region=region or "x")):
        with pytest.raises(ConfigError, match="is not a valid region"):
            asyncio.run(auth.region())


def test_the_chain_has_no_secret_in_its_repr() -> None:
    assert "secret" not in repr(BotocoreChain("work")).lower()
