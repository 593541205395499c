"""An Alertmanager as a child process, as the servers of `deploy.servers`: own folder, free port, nothing left behind.

with AlertmanagerServer() as alertmanager:
    print(alertmanager.url)
"""

from __future__ import annotations

import shutil
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import ClassVar

from deploy.server_process import Server, StackError

__all__ = ["AlertmanagerServer"]

CONFIGURATION = Path(__file__).resolve().parent / "alertmanager/alertmanager.yml"


class AlertmanagerServer(Server):
    """Debian's Alertmanager, alone in its cluster.

    Args:
        folder: see `Server`.
        configuration: its alertmanager.yml.
        web: its web configuration, for TLS and basic authentication; None for neither.
    """

    name: ClassVar[str] = "alertmanager"

    def __init__(
        self, folder: Path | None = None, *, configuration: Path = CONFIGURATION, web: Path | None = None
    ) -> None:
        super().__init__(folder)
        self._configuration = configuration
        self._web = web

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"{'http' if self._web is None else 'https'}://{self.address}"

    def _prepare(self) -> None:
        if shutil.which("prometheus-alertmanager") is None:
            package = "prometheus-alertmanager"
            raise StackError(f"{package} is not installed; run `make setup`, or `apt-get install {package}`")

    def _command(self) -> list[str]:
        options = {
            "config.file": str(self._configuration),
            "storage.path": str(self.folder / "data"),
            "web.listen-address": self.address,
            "cluster.listen-address": "",
            **({} if self._web is None else {"web.config.file": str(self._web)}),
        }
        return ["prometheus-alertmanager", *(f"--{name}={value}" for name, value in options.items())]

    def _answers(self) -> bool:
        # Whether it lives is all that is asked here, so its certificate is not looked at.
        anyone = ssl.create_default_context()
        anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1, context=anyone):  # noqa: S310
                return True
        except urllib.error.HTTPError as error:
            # It asks for a password, so it is there.
            return error.code == 401
        except OSError:
            return False
