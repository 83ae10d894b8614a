"""The gateway as a command talks to it: one request after the other, faults in one line."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from layer_kit.configuration import ConfigurationError

BASE_URL_VARIABLE: Final = "LAYER_BASE_URL"
KEY_VARIABLES: Final = ("LAYER_API_KEY", "TURBOPUFFER_API_KEY")
BASE_URL_DEFAULT: Final = "http://127.0.0.1:8080"
KEY_DEFAULT: Final = "local"
"""`layer up` asks for a key and takes any."""

ANSWER_S_MAX: Final = 120.0
ATTEMPTS_MAX: Final = 3


class EdgeError(Exception):
    """What the gateway answered, or that it did not, in one line.

    Args:
        status: Of the answer; 0 where there was none.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Edge:
    """A gateway at ``base_url``, over one connection that is kept."""

    def __init__(self, base_url: str, key: str) -> None:
        """Prepare to call; nothing is connected yet.

        Raises:
            ConfigurationError: The URL is none of http or https.
        """
        parsed = urlsplit(base_url)
        if parsed.scheme not in {"http", "https"} or not parsed.hostname:
            raise ConfigurationError(f"{base_url!r} does not start with http:// or https://")
        is_secure = parsed.scheme == "https"
        connect = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
        self._base_url = base_url
        self._path = parsed.path.rstrip("/")
        self._connection = connect(parsed.hostname, parsed.port, timeout=ANSWER_S_MAX)
        self._headers = {"authorization": f"Bearer {key}", "accept": "application/json"}

    def get(self, path: str, parameters: Mapping[str, str | int | None]) -> Any:
        """Return the JSON answer of a GET, which is repeated when the gateway says that this helps.

        Raises:
            EdgeError: It cannot be reached, or answers with an error.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        return self._sent("GET", f"{path}?{urlencode(given)}", None)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Return the JSON answer of a call that may be repeated; as :meth:`get` does."""
        return self._sent(method, path, None if body is None else json.dumps(body).encode())

    def _sent(self, method: str, path: str, body: bytes | None) -> Any:
        headers = self._headers
        if body is not None:
            headers = {**headers, "content-type": "application/json"}
        for attempt in range(ATTEMPTS_MAX):
            is_last = attempt == ATTEMPTS_MAX - 1
            try:
                self._connection.request(method, f"{self._path}{path}", body, headers)
                answer = self._connection.getresponse()
                received = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                if is_last:
                    raise EdgeError(f"cannot reach {self._base_url}: {error}") from error
                continue
            if answer.status == http.client.OK:
                return json.loads(received)
            if is_last or answer.headers.get("x-should-retry") != "true":
                raise EdgeError(_explained(answer.status, received), status=answer.status)
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        self._connection.close()


def key_of_environment() -> str:
    """Return the key that the user's variables name, or one that a local system takes."""
    return next((key for name in KEY_VARIABLES if (key := os.environ.get(name))), KEY_DEFAULT)


def _explained(status: int, body: bytes) -> str:
    try:
        found = json.loads(body)
        return f"{status}: {found.get('message') or found.get('error')}"
    except (ValueError, AttributeError):
        return f"the gateway answered with status {status}"
