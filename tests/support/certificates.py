"""Certificates for a test's servers, made by openssl and signed by an authority of the test's own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Certificates", "make_certificates"]

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM: the authority, and a certificate of 127.0.0.1 and localhost with its key."""

    authority: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path) -> Certificates:
    """Make an authority and one certificate that servers, and clients that must show one, can use."""
    made = Certificates(folder / "authority.pem", folder / "server.pem", folder / "server.key")
    authority_key = folder / "authority.key"
    _request("-x509", "-subj", "/CN=a test's authority", "-keyout", authority_key, "-out", made.authority)
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    signing = ("-x509", "-CA", made.authority, "-CAkey", authority_key, "-addext", names)
    _request(*signing, "-subj", "/CN=localhost", "-keyout", made.key, "-out", made.certificate)
    return made


def _request(*arguments: str | Path) -> None:
    subprocess.run(["openssl", "req", *_KEY, *arguments], check=True, capture_output=True)
