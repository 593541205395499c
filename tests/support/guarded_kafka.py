"""A broker that lets nobody in without a certificate or a password, and nobody do more than its ACLs say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from deploy.servers import KafkaServer
from tests.support.certificates import Certificates, make_certificates
from tests.support.waiting import wait_until

__all__ = [
    "EXPIRED",
    "GUARDED",
    "MUTUAL",
    "PASSWORD",
    "TOKENS",
    "Grant",
    "GuardedKafka",
    "start_guarded_kafka",
]

GUARDED, MUTUAL, EXPIRED, TOKENS = "GUARDED", "MUTUAL", "EXPIRED", "TOKENS"
"""Listeners: TLS with a password; TLS with a certificate of the client; as the first, with a certificate that ended;
TLS with a token."""
PASSWORD = "p@ss=w,rd %1"
"""Of every user, and full of what SCRAM and shells reserve."""
ANSWER_SECONDS = 60.0

Grant = tuple[str, str, str]
"""Operation, kind of resource, and its name, such as `("READ", "TOPIC", "labels")`."""


class GuardedKafka:
    """A running broker, its certificates, and who may do what there."""

    def __init__(self, server: KafkaServer, certificates: Certificates) -> None:
        self.server = server
        self.certificates = certificates
        self._admin = AdminClient({"bootstrap.servers": server.address})

    def admit(self, user: str) -> None:
        """Let a user in with SCRAM and `PASSWORD`, with no rights yet."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        wanted = UserScramCredentialUpsertion(user, info, PASSWORD.encode())
        for admitted in self._admin.alter_user_scram_credentials([wanted]).values():
            admitted.result(ANSWER_SECONDS)

    def allow(self, user: str, grants: Sequence[Grant]) -> None:
        """Give a user exactly these rights: those given before are taken away."""
        # None stands for any, which the client's types do not know.
        name: Any = None
        host: Any = None
        given = AclBindingFilter(
            ResourceType.ANY,
            name,
            ResourcePatternType.ANY,
            f"User:{user}",
            host,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        for deleted in self._admin.delete_acls([given]).values():
            deleted.result(ANSWER_SECONDS)
        bindings = [
            AclBinding(
                ResourceType[kind],
                name,
                ResourcePatternType.LITERAL,
                f"User:{user}",
                "*",
                AclOperation[operation],
                AclPermissionType.ALLOW,
            )
            for operation, kind, name in grants
        ]
        for created in self._admin.create_acls(bindings).values() if bindings else ():
            created.result(ANSWER_SECONDS)
        # The controller has them first, the broker that lets people in a moment later.
        wait_until(lambda: self._rights(given) == set(grants), what="the broker to know the ACLs")

    def _rights(self, of: AclBindingFilter) -> set[Grant]:
        found = self._admin.describe_acls(of).result(ANSWER_SECONDS)
        return {(each.operation.name, each.restype.name, each.name) for each in found}


@contextlib.contextmanager
def start_guarded_kafka(folder: Path) -> Iterator[GuardedKafka]:
    """Start the broker; certificates go to `folder`."""
    certificates = make_certificates(folder)
    options = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # Those in the clear, which is the broker itself and whoever sets up the test; and the client's certificate.
        "super.users": "User:ANONYMOUS;User:CN=localhost",
    }
    for listener, certificate, client_auth in (
        (GUARDED, certificates.certificate, "none"),
        (MUTUAL, certificates.certificate, "required"),
        (EXPIRED, certificates.expired, "none"),
        (TOKENS, certificates.certificate, "none"),
    ):
        prefix = f"listener.name.{listener.lower()}"
        options |= {
            f"{prefix}.ssl.keystore.type": "PEM",
            f"{prefix}.ssl.keystore.location": str(certificates.bundle(certificate)),
            f"{prefix}.ssl.truststore.type": "PEM",
            f"{prefix}.ssl.truststore.location": str(certificates.authority),
            f"{prefix}.ssl.client.auth": client_auth,
            f"{prefix}.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            f"{prefix}.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
        }
    options |= {
        f"listener.name.tokens.{name}": value
        for name, value in {
            "sasl.enabled.mechanisms": "OAUTHBEARER",
            # Tokens without a signature: who is let in depends on what they say, not on who says it.
            "oauthbearer.sasl.server.callback.handler.class": (
                "org.apache.kafka.common.security.oauthbearer.internals.unsecured"
                ".OAuthBearerUnsecuredValidatorCallbackHandler"
            ),
            "oauthbearer.sasl.jaas.config": (
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
                ' unsecuredLoginStringClaim_sub="broker";'
            ),
        }.items()
    }
    listeners = {GUARDED: "SASL_SSL", MUTUAL: "SSL", EXPIRED: "SASL_SSL", TOKENS: "SASL_SSL"}
    with KafkaServer(listeners=listeners, options=options) as server:
        yield GuardedKafka(server, certificates)
