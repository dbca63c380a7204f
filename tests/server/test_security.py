"""Who is let in, by which token, and what a browser cannot be made to do."""

from __future__ import annotations

import asyncio
import base64
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends
from sqlalchemy import update
from starlette.testclient import TestClient

from misheard.access.roles import Role
from misheard.access.tokens import Tokens
from misheard.database import schema
from misheard.database.engine import migrate, now, open_engine, writing
from misheard.errors import BadInputError, UnsafeAddressError
from misheard.server.security import READING, Caller, caller_may, require_safe_address
from tests.server.guarded import guarded, served
from tests.serving.letters import PATIENCE_S

_SHARED_THREADS = 40
"""That Starlette gives to all endpoints that are no coroutines."""
HERE = "http://127.0.0.1:8000"
ROUTES = {
    Role.TRANSCRIBE: ("GET", "/heard"),
    Role.REVIEW: ("GET", "/page"),
    Role.OPERATE: ("POST", "/deploy"),
    Role.ADMINISTER: ("DELETE", "/person"),
}


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("migrated") / "misheard.db"
    engine = open_engine(f"sqlite:///{made}")
    migrate(engine)
    engine.dispose()
    return made


@pytest.fixture
def database_file(migrated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(migrated, tmp_path))


@pytest.fixture
def tokens(database_file: Path) -> Iterator[Tokens]:
    engine = open_engine(f"sqlite:///{database_file}", patience_s=PATIENCE_S)
    yield Tokens(engine)
    engine.dispose()


@pytest.fixture
def client(tokens: Tokens) -> TestClient:
    return at(tokens)


@pytest.fixture
def secret(tokens: Tokens) -> str:
    return make(tokens)


def at(
    tokens: Tokens, *, url: str = HERE, peer: str = "127.0.0.1", requests_per_minute: int = 0
) -> TestClient:
    app = guarded(tokens, requests_per_minute=requests_per_minute)
    return TestClient(app, base_url=url, client=(peer, 50_000))


def make(tokens: Tokens, name: str = "ivr", role: Role = Role.OPERATE, **more: Any) -> str:
    return tokens.create(name, role, actor="ann", **more)[1]


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def basic(secret: str, user: str = "ann") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}


# Without any token: whoever is on this machine.


@pytest.mark.parametrize(
    ("url", "peer"),
    [
        (HERE, "127.0.0.1"),
        ("http://127.0.0.2", "127.0.0.2"),
        ("http://[::1]:8000", "::1"),
        ("http://127.0.0.1", "::ffff:127.0.0.1"),
    ],
)
def test_where_no_token_was_ever_made_all_is_open_to_this_machine(
    tokens: Tokens, url: str, peer: str
) -> None:
    client = at(tokens, url=url, peer=peer)
    for method, path in ROUTES.values():
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()) == (200, "local")


@pytest.mark.parametrize(
    ("url", "peer"),
    [
        (HERE, "192.0.2.7"),
        (HERE, "testclient"),
        (HERE, ""),
        ("http://192.0.2.1:8000", "127.0.0.1"),
        ("http://192.0.2.1:8000", "192.0.2.1"),
        ("http://[2001:db8::1]", "::1"),
    ],
)
def test_and_to_no_other(tokens: Tokens, url: str, peer: str) -> None:
    client = at(tokens, url=url, peer=peer)
    for method, path in ROUTES.values():
        answer = client.request(method, path)
        assert answer.status_code == 403
        assert "misheard token create" in answer.json()["detail"]
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example"])
def test_a_name_that_was_made_to_point_here_is_refused(client: TestClient, host: str) -> None:
    for method, path in ROUTES.values():
        assert client.request(method, path, headers={"Host": host}).status_code == 403


@pytest.mark.parametrize(
    "host", ["", "evil", "localhost.evil", "0", "[::", "[::1", "@127.0.0.1@evil", "1.2.3.4"]
)
def test_so_is_any_other_name(client: TestClient, host: str) -> None:
    assert client.get("/heard", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "localhost:1", "127.0.0.1", "127.8.8.8:9", "[::1]:8000"]
)
def test_names_of_this_machine_are_not(client: TestClient, host: str) -> None:
    assert client.get("/heard", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"])
def test_what_a_proxy_brings_is_not_of_this_machine(client: TestClient, header: str) -> None:
    assert client.get("/heard", headers={header: "127.0.0.1"}).status_code == 403


@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.example", "http://localhost:8000", "http://127.0.0.1", "null"),
        *("http://127.0.0.1:8001", "", "http://[", "http://127.0.0.1:8000.evil.example"),
    ],
)
def test_another_sites_page_changes_nothing(
    client: TestClient, tokens: Tokens, origin: str
) -> None:
    headers = {"Origin": origin}
    for method, path in (("POST", "/deploy"), ("DELETE", "/person"), ("POST", "/page")):
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 403
        assert "another site" in answer.json()["detail"]
    assert client.post("/correct", json={}, headers=headers).status_code == 403
    assert client.get("/heard", headers=headers).status_code == 200
    secret = make(tokens)
    assert at(tokens).post("/deploy", headers=headers | bearer(secret)).status_code == 403


def test_a_page_of_this_server_changes_what_it_may(client: TestClient, tokens: Tokens) -> None:
    assert client.post("/deploy", headers={"Origin": HERE}).json() == "local"
    # TLS may end at a proxy, which passes the name on.
    headers = {"Origin": "https://Calls.example", "Host": "calls.example"}
    headers |= bearer(make(tokens))
    assert at(tokens).post("/deploy", headers=headers).json() == "ivr"


def test_a_token_that_nobody_needs_is_not_looked_at(client: TestClient) -> None:
    assert client.get("/heard", headers=bearer("sk-anything")).json() == "local"


# With tokens.


def test_as_soon_as_there_is_a_token_it_is_needed(client: TestClient, tokens: Tokens) -> None:
    assert client.get("/heard").status_code == 200
    secret = make(tokens)
    time.sleep(1.05)
    answer = client.get("/heard")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == 'Bearer realm="misheard"'
    assert "misheard token create NAME" in answer.json()["detail"]
    assert client.get("/heard", headers=bearer(secret)).json() == "ivr"
    tokens.revoke("ivr", actor="ann")
    assert at(tokens).get("/heard").status_code == 401


def test_with_a_token_it_is_open_from_anywhere(tokens: Tokens, secret: str) -> None:
    client = at(tokens, url="http://calls.example", peer="192.0.2.7")
    assert client.get("/heard", headers=bearer(secret)).json() == "ivr"
    assert client.get("/heard").status_code == 401


@pytest.mark.parametrize("role", Role)
def test_a_token_opens_what_its_role_may_and_no_more(tokens: Tokens, role: Role) -> None:
    secret = make(tokens, role, role)
    client = at(tokens)
    for needed, (method, path) in ROUTES.items():
        answer = client.request(method, path, headers=bearer(secret))
        if role.may(needed):
            assert (answer.status_code, answer.json()) == (200, role)
            continue
        assert answer.status_code == 403
        assert answer.json()["detail"].startswith(f"The token '{role}' may {role}, and")
        assert f"--role {needed}" in answer.json()["detail"]
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


def wrong_secrets(secret: str) -> list[str]:
    return ["", "sk-anything", secret[:-1], secret[:16] + "A" * 43, "x" * 20_000]


def test_wrong_tokens_open_nothing_and_are_logged_without_the_secret(
    client: TestClient, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    for wrong in wrong_secrets(secret):
        answer = client.get("/heard", headers=bearer(wrong))
        assert answer.status_code == 401
        assert ('error="invalid_token"' in answer.headers["www-authenticate"]) == bool(wrong)
        assert secret[16:40] not in answer.text + caplog.text
    assert "127.0.0.1" in caplog.text
    for header in ("Bearer", "bearer", "Token x", "Bearer\t", secret):
        answer = client.get("/heard", headers={"Authorization": header})
        assert answer.status_code == 401
    assert client.get("/heard", headers={"Authorization": f"bearer {secret}"}).status_code == 200


def test_a_revoked_token_is_refused_within_two_seconds_by_every_server(tokens: Tokens) -> None:
    secret = make(tokens)
    clients = [at(tokens), at(tokens)]
    with clients[0], clients[1]:
        for client in clients:
            assert client.get("/heard", headers=bearer(secret)).status_code == 200
        tokens.revoke("ivr", actor="ann")
        revoked_at = time.monotonic()
        for client in clients:
            while True:
                asked_at = time.monotonic()
                answer = client.get("/heard", headers=bearer(secret))
                if answer.status_code != 200:
                    break
                assert asked_at - revoked_at < 2.0
                time.sleep(0.05)
            assert (answer.status_code, answer.json()["detail"][:23]) == (
                401,
                "This token was revoked.",
            )


def test_an_expired_token_is_refused(tokens: Tokens) -> None:
    secret = make(tokens, expires_at=now() + timedelta(hours=1))
    with writing(tokens._engine) as connection:  # an hour and a second later
        connection.execute(update(schema.tokens).values(expires_at=now() - timedelta(seconds=1)))
    answer = at(tokens).get("/heard", headers=bearer(secret))
    assert answer.status_code == 401
    assert answer.json()["detail"].startswith("This token has expired. 'ivr', 20")


def test_a_token_that_was_just_made_is_good_at_once(tokens: Tokens) -> None:
    client = at(tokens)
    make(tokens, "first")
    for number in range(5):
        secret = make(tokens, f"t{number}")
        assert client.get("/heard", headers=bearer(secret)).json() == f"t{number}"


# HTTP Basic is for looking at pages.


def test_a_browser_may_look_at_pages_with_a_token_as_the_password(
    client: TestClient, secret: str
) -> None:
    asked = client.get("/page")
    assert (asked.status_code, asked.headers["www-authenticate"][:5]) == (401, "Basic")
    assert client.get("/page", headers=basic(secret)).json() == "ivr"
    assert client.get("/page", headers=basic(secret, user="")).json() == "ivr"
    assert client.get("/page", headers=bearer(secret)).json() == "ivr"
    for wrong in (*wrong_secrets(secret), f"x:{secret}"):
        assert client.get("/page", headers=basic(wrong)).status_code == 401
    for wrong in ("", "=", "é", "not base64", base64.b64encode(b"\xff:\xff").decode()):
        header = f"Basic {wrong}".encode()
        assert client.get("/page", headers={b"Authorization": header}).status_code == 401


def test_nothing_is_changed_and_no_data_is_read_with_basic(client: TestClient, secret: str) -> None:
    """Browsers send it by themselves, whichever site they are on."""
    for method, path in (("POST", "/page"), ("POST", "/deploy"), ("GET", "/heard")):
        answer = client.request(method, path, headers=basic(secret))
        assert answer.status_code == 401
        assert "looking at pages only" in answer.json()["detail"]
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert client.post("/correct", json={}, headers=basic(secret)).status_code == 401


# Rates.


def test_too_many_requests_are_told_when_to_come_back(tokens: Tokens) -> None:
    secret, other = make(tokens, rate_per_minute=120), make(tokens, "other")
    with at(tokens) as client:
        began, passed = time.monotonic(), 0
        while (answer := client.get("/heard", headers=bearer(secret))).status_code == 200:
            passed += 1
            assert passed <= 21 + 2 * (time.monotonic() - began)
        assert passed >= 20
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert "120 requests a minute" in answer.json()["detail"]
        assert client.get("/heard", headers=bearer(other)).status_code == 200
        time.sleep(1.0)
        assert client.get("/heard", headers=bearer(secret)).status_code == 200


def test_the_settings_have_a_rate_for_tokens_that_have_none(tokens: Tokens) -> None:
    secret, unlimited = make(tokens), make(tokens, "bulk", rate_per_minute=0)
    with at(tokens, requests_per_minute=1) as client:
        told = [client.get("/heard", headers=bearer(secret)).status_code for _ in range(3)]
        assert told == [200, 429, 429]
        for _ in range(30):
            assert client.get("/heard", headers=bearer(unlimited)).status_code == 200


def test_a_request_with_a_body_counts_once(tokens: Tokens) -> None:
    secret = make(tokens, rate_per_minute=1)
    with at(tokens) as client:
        for status in (200, 429):
            answer = client.post("/correct", json={"a": "b"}, headers=bearer(secret))
            assert answer.status_code == status


# What the document and the log say; when the database cannot be asked.


def test_the_document_says_how_to_be_let_in(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    scheme = document["components"]["securitySchemes"]["token"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path in ("/upload", "/deploy"):
        operation = document["paths"][path]["post"]
        assert operation["security"] == [{"token": []}]
        for status in ("401", "403", "413", "429"):
            assert "application/problem+json" in operation["responses"][status]["content"]
    assert "security" not in document["paths"]["/healthz"]["get"]


def test_a_database_that_cannot_be_asked_lets_nobody_in(
    tokens: Tokens, database_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret, client = make(tokens), at(tokens)
    tokens._engine.dispose()
    database_file.unlink()
    database_file.mkdir()
    for answer in (
        client.get("/heard", headers=bearer(secret)),
        client.post("/correct", json={}, headers=bearer(secret)),
    ):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert str(database_file.parent) not in answer.text
    assert "could not be looked up" in caplog.text


def test_who_asks_is_known_while_others_wait_for_the_database(
    tokens: Tokens, database_file: Path
) -> None:
    secret, app = make(tokens), guarded(tokens)
    turn, waiting = threading.Event(), threading.Semaphore(0)

    @app.get("/waits")
    def waits(caller: Annotated[Caller, Depends(caller_may(Role.TRANSCRIBE))]) -> str:
        waiting.release()
        turn.wait(PATIENCE_S)
        return caller.name

    @app.get("/quick")
    async def quick(caller: Annotated[Caller, Depends(caller_may(Role.TRANSCRIBE))]) -> str:
        return caller.name

    locking = open_engine(f"sqlite:///{database_file}")
    with served(app) as port, ThreadPoolExecutor(_SHARED_THREADS) as pool:
        ask = asking(port)
        head = f"HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}"
        try:
            # The first use of the hour waits to be noted, and all threads of endpoints are taken.
            with writing(locking):
                asked = [pool.submit(ask, f"GET /waits {head}") for _ in range(_SHARED_THREADS)]
                assert all(waiting.acquire(timeout=PATIENCE_S) for _ in asked)
                time.sleep(1.05)  # it is looked up anew
                assert ask(f"GET /quick {head}") == 200
                assert tokens.listed()[0].last_used_at is None
        finally:
            turn.set()
        assert [one.result() for one in asked] == [200] * _SHARED_THREADS
    asyncio.run(app.state.guard.stop())
    assert tokens.listed()[0].last_used_at is not None
    locking.dispose()


# Where a server may listen.


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1", "localhost"])
def test_a_server_may_always_listen_on_its_own_machine(tokens: Tokens, host: str) -> None:
    require_safe_address(host, tokens)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1", "0"])
def test_and_beyond_it_with_a_token_only(tokens: Tokens, host: str) -> None:
    with pytest.raises(UnsafeAddressError, match="misheard token create NAME --role"):
        require_safe_address(host, tokens)
    make(tokens)
    require_safe_address(host, tokens)


def test_a_name_is_what_it_resolves_to(tokens: Tokens) -> None:
    name = socket.gethostname()
    found = {one[4][0] for one in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    if all(str(one).startswith("127.") or one == "::1" for one in found):
        require_safe_address(name, tokens)
    else:
        with pytest.raises(UnsafeAddressError):
            require_safe_address(name, tokens)


def test_an_address_that_is_none_is_told(tokens: Tokens) -> None:
    for wrong in ("", "nowhere.invalid", "1.2.3.4.5", "a b", "x" * 300):
        with pytest.raises(BadInputError, match="is no address"):
            require_safe_address(wrong, tokens)


# On a real server.


@pytest.mark.parametrize("protocol", ["h11", "httptools"])
def test_a_real_server_knows_its_own_machine(tokens: Tokens, protocol: str) -> None:
    app = guarded(tokens)
    with served(app, host="127.0.0.1", http=protocol) as port:
        ask = asking(port)
        assert ask(f"GET /heard HTTP/1.1\r\nHost: localhost:{port}") == 200
        assert ask(f"GET /heard HTTP/1.1\r\nHost: evil.example:{port}") == 403
        assert ask("GET /heard HTTP/1.0") == 403
        own = f"POST /deploy HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://"
        assert ask(f"{own}localhost:{port}") == 200
        assert ask(f"{own}evil.example") == 403
        forwarded = "X-Forwarded-For: 192.0.2.1"
        assert ask(f"GET /heard HTTP/1.1\r\nHost: localhost\r\n{forwarded}") == 403
        secret = make(tokens)
        time.sleep(1.05)
        assert ask(f"GET /heard HTTP/1.1\r\nHost: evil.example:{port}") == 401
        known = f"Host: evil.example\r\nAuthorization: Bearer {secret}"
        assert ask(f"GET /heard HTTP/1.1\r\n{known}") == 200


def asking(port: int) -> Callable[[str], int]:
    def ask(head: str) -> int:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as one:
            one.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode())
            return int(one.makefile("rb").readline().split()[1])

    return ask


def test_only_reading_changes_nothing() -> None:
    assert {"GET", "HEAD", "OPTIONS"} == READING
