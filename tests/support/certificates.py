"""Certificates for a test's servers, made by openssl and signed by an authority of the test's own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Certificates", "make_certificates"]

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM: the authority, and a certificate of 127.0.0.1 and localhost with its key.

    `expired` is a certificate of the same hosts and the same key that ended yesterday.
    """

    authority: Path
    certificate: Path
    key: Path
    expired: Path

    def bundle(self, certificate: Path) -> Path:
        """The key and a certificate in one file, as Kafka's `ssl.keystore.location` wants them."""
        bundle = certificate.with_suffix(".bundle.pem")
        bundle.write_text(self.key.read_text() + certificate.read_text())
        return bundle


def make_certificates(folder: Path) -> Certificates:
    """Make an authority and one certificate that servers, and clients that must show one, can use."""
    made = Certificates(
        authority=folder / "authority.pem",
        certificate=folder / "server.pem",
        key=folder / "server.key",
        expired=folder / "expired.pem",
    )
    authority_key = folder / "authority.key"
    _request("-x509", "-subj", "/CN=a test's authority", "-keyout", authority_key, "-out", made.authority)
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    signing = ("-CA", made.authority, "-CAkey", authority_key)
    host = ("-subj", "/CN=localhost", "-addext", names)
    _request("-x509", *signing, *host, "-keyout", made.key, "-out", made.certificate)
    request = folder / "expired.request"
    _openssl("req", "-new", "-key", made.key, *host, "-out", request)
    ended = ("-days", "-1", "-copy_extensions", "copy", "-CAcreateserial")
    _openssl("x509", "-req", "-in", request, *signing, *ended, "-out", made.expired)
    return made


def _request(*arguments: str | Path) -> None:
    _openssl("req", *_KEY, *arguments)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
