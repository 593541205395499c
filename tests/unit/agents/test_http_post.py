"""What an answer over HTTP means, and what is said of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.alert_receivers.http_post import HttpPost
from agents.alert_receivers.receiver import NotTaken, Refused, Trouble
from agents.receiver_settings import HttpAccess, is_url
from streams.errors import PermanentFailure

SECRET = "s3cret"


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that says this to everybody; gives its address."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read(65_536)
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def posted(url: str, access: HttpAccess | None = None) -> None:
    post = HttpPost(url, access or HttpAccess())
    try:
        await post.send(b"[]")
    finally:
        await post.close()


def response(status: str, *headers: str, body: str = "") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body.encode())}", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


async def failure(answer: bytes, *, path: str = "/", access: HttpAccess | None = None) -> NotTaken:
    async with answering(answer) as address:
        with pytest.raises(NotTaken) as raised:
            await posted(f"http://{address}{path}", access)
    return raised.value


@pytest.mark.parametrize(
    ("status", "trouble", "concerns_all"),
    [
        ("500 Oops", Trouble.SERVER_ERROR, False),
        ("503 Later", Trouble.SERVER_ERROR, False),
        ("429 Slower", Trouble.BUSY, True),
        ("408 Late", Trouble.BUSY, True),
        ("401 Who", Trouble.NOT_ADMITTED, True),
        ("403 No", Trouble.NOT_ADMITTED, True),
        ("404 Where", Trouble.NOT_ADMITTED, True),
        ("301 There", Trouble.NOT_ADMITTED, True),
    ],
)
async def test_answer_that_may_change_keeps_alerts_waiting(status: str, trouble: Trouble, concerns_all: bool) -> None:
    failed = await failure(response(status, "Location: http://elsewhere/"))
    assert (trouble, concerns_all) == (failed.trouble, failed.concerns_all)


@pytest.mark.parametrize("status", ["400 Bad", "409 Conflict", "413 Large", "415 Type", "422 Unprocessable"])
async def test_answer_about_the_alert_itself_is_final(status: str) -> None:
    async with answering(response(status, body="no\nsuch\tlabel")) as address:
        with pytest.raises(Refused, match=rf"answers {status[:3]}: no such label$"):
            await posted(f"http://{address}/")


async def test_success_of_any_kind_is_success() -> None:
    for status in ("200 OK", "202 Accepted", "204 No Content"):
        async with answering(response(status)) as address:
            await posted(f"http://{address}/")


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("999999", 600.0), ("Fri, 27 Nov 2026 12:00:00 GMT", 0.0)])
async def test_retry_after_is_heeded_up_to_ten_minutes(header: str, seconds: float) -> None:
    assert seconds == (await failure(response("503 Later", f"Retry-After: {header}"))).retry_after_seconds


async def test_what_is_no_http_is_no_answer() -> None:
    for garbage in (b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 2"):
        failed = await failure(garbage, path=f"/{SECRET}")
        assert Trouble.CONNECTION is failed.trouble
        assert SECRET not in str(failed)


async def test_server_without_tls_behind_an_https_url_is_told_as_such() -> None:
    async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        with pytest.raises(NotTaken, match="does not agree on TLS") as raised:
            await posted(f"https://{address}/")
    assert Trouble.CERTIFICATE is raised.value.trouble


async def test_host_that_there_is_not_is_told_without_the_path() -> None:
    with pytest.raises(NotTaken, match=r"^http://nowhere\.invalid cannot be reached") as raised:
        await posted(f"http://nowhere.invalid/{SECRET}")
    assert SECRET not in str(raised.value)


async def test_long_answer_is_cut_and_repeated_secrets_are_masked(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{SECRET}\n")
    answer = response("500 Oops", body=f"Bearer {SECRET} " + "x" * 100_000)
    said = str(await failure(answer, access=HttpAccess(token_file=token)))
    assert "Bearer *** xxx" in said
    assert len(said) < 400


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read"), ("", "one line"), ("a\nb", "one line")])
async def test_secret_file_that_cannot_be_used_keeps_alerts_waiting(
    content: str | None, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    failed = await failure(response("200 OK"), access=HttpAccess(token_file=file))
    assert said in str(failed)
    assert Trouble.NOT_ADMITTED is failed.trouble


def test_authority_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("none")
    with pytest.raises(PermanentFailure, match="correct ca_file"):
        HttpPost("https://h/", HttpAccess(ca_file=tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h", True),
        ("https://h:9093/prefix?x=1", True),
        ("http://[::1]:9093", True),
        ("ftp://h", False),
        ("h:9093", False),
        ("http://", False),
        ("http://h:port", False),
        ("http://h:99999", False),
        ("http://ann:pw@h", False),
        ("http://h/a\nb", False),
    ],
)
def test_url_that_can_be_posted_to(url: str, expected: bool) -> None:
    assert expected == is_url(url)
