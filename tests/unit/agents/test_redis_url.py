"""Redis URLs: every form, and messages that never quote a password."""

from __future__ import annotations

import pytest

from agents.redis_url import RedisUrl
from streams.errors import PermanentFailure


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("redis://:pw@10.0.0.1:7000/3", "redis://10.0.0.1:7000/3"),
        ("redis://[::1]:7000", "redis://[::1]:7000/0"),
        ("rediss://user:pw@redis.example?ssl_ca_certs=/ca.pem", "rediss://redis.example:6379/0"),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock"),
        ("unix://user:pw@/run/redis.sock", "unix:///run/redis.sock"),
        ("redis+cluster://a:1,b:2,c", "redis+cluster://a:1,b:2,c:6379"),
        ("rediss+cluster://user:pw@[::1]:1,b:2/0", "rediss+cluster://[::1]:1,b:2"),
    ],
)
def test_address_names_every_server_and_no_credentials(text: str, address: str) -> None:
    assert address == RedisUrl.parse(text).address


def test_url_is_taken_apart_and_decoded() -> None:
    text = "rediss+cluster://us%3Aer:p%40s%2Fs@a:1,b:2?ssl_ca_certs=/a%20b.pem&ssl_certfile=c&ssl_keyfile=k"
    assert RedisUrl(
        scheme="rediss+cluster",
        nodes=(("a", 1), ("b", 2)),
        username="us:er",
        password="p@s/s",
        ca_file="/a b.pem",
        certificate_file="c",
        key_file="k",
    ) == RedisUrl.parse(text)


def test_database_follows_the_host_or_stands_among_the_options_of_a_socket() -> None:
    assert 3 == RedisUrl.parse("redis://h/3").database
    assert 2 == RedisUrl.parse("unix:///s?db=2").database


@pytest.mark.parametrize("place", ["redis://latelabel@h", "rediss+cluster://latelabel@h:1", "unix://latelabel@/socket"])
def test_password_may_stand_in_a_file(place: str) -> None:
    url = RedisUrl.parse(f"{place}?password_file=/run/secrets/redis%20password")
    assert ("latelabel", None, "/run/secrets/redis password") == (url.username, url.password, url.password_file)


def test_host_name_is_checked_unless_told_otherwise() -> None:
    assert RedisUrl.parse("rediss://h").checks_hostname
    assert not RedisUrl.parse("rediss://h?ssl_check_hostname=no").checks_hostname


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "must begin with"),
        ("http://secret@h", "must begin with"),
        ("redis://u:secret/with-slash@h", "percent-encode"),
        ("redis://u:secret@h:port", "percent-encode"),
        ("redis://u:secret@h:99999", "percent-encode"),
        ("redis://u:secret@h:0", "percent-encode"),
        ("redis://u:secret[@h", "percent-encode"),
        ("redis://u:secret@", "must name its servers"),
        ("redis://u:secret@h/first", "database"),
        ("redis+cluster://u:secret@h/1", "database"),
        ("redis://u:secret@h,h2", "redis+cluster://"),
        ("redis+cluster://u:secret@h,,h2", "must name its servers"),
        ("unix://secret", "whole path"),
        ("unix://u:secret@host/run/redis.sock", "whole path"),
        ("redis://u:secret@h?ssl_ca_certs=/secret", "ssl_ca_certs"),
        ("rediss://u:secret@h?ssl_cert_reqs=none", "ssl_cert_reqs"),
        ("rediss://u:secret@h?ssl_check_hostname=secret", "yes or no"),
        ("redis://u:secret@h?password_file=/file", "not both"),
        ("redis://h?password=secret", "password_file"),
    ],
)
def test_mistake_is_told_without_the_password(text: str, told: str) -> None:
    with pytest.raises(PermanentFailure, match=r"redis\.url") as caught:
        RedisUrl.parse(text)
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)


def test_password_is_not_shown_by_repr() -> None:
    assert "secret" not in repr(RedisUrl.parse("redis://u:secret@h"))
