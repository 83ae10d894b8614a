"""Turns bytes into one response after another: HTTP/1.1 framing without any input or output."""

from __future__ import annotations

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from layer_kit.errors import LayerError
from layer_upstream.faults import protocol_error
from layer_upstream.headers import Header, connection_tokens, end_to_end
from layer_upstream.limits import HEADERS_COUNT_MAX

FIRST_FINAL_STATUS: Final = 200
SWITCHING_PROTOCOLS: Final = 101
STATUSES_WITHOUT_BODY: Final = frozenset({204, 304})


class ResponseReader:
    """Reads the responses of one connection; ``begin`` before each.

    The names below that start with ``on_`` are called by the parser, never by us.

    Attributes:
        status: 0 until the head is whole.
        headers: Lower-cased names, without what ends at this hop. Of ``content-length`` the body
            tells, but for an answer to HEAD, which keeps it.
        declared_bytes: ``content-length``; None when the response does not tell its length.
        body_bytes: Body bytes read so far, those already taken included.
        can_keep_alive: Whether another request may follow on this connection.
    """

    def __init__(self, header_bytes_max: int) -> None:
        self._header_bytes_max = header_bytes_max
        self._parser = HttpResponseParser(self)
        self._fault: LayerError | None = None
        self.begin(is_head=False)

    def begin(self, *, is_head: bool) -> None:
        """Expect the next response; ``is_head`` when it answers a HEAD, so has no body."""
        self._is_head = is_head
        self._is_interim = False
        self._is_parser_done = False
        self._silent_bytes = 0
        self._header_bytes = 0
        self._header_count = 0
        self._chunks: list[bytes] = []
        self.is_complete = False
        self.can_keep_alive = False
        self.status = 0
        self.headers: list[Header] = []
        self.declared_bytes: int | None = None
        self._is_close_delimited = False
        self.body_bytes = 0

    def feed(self, data: memoryview) -> None:
        """Read ``data``, which is copied where it is kept.

        Raises:
            UpstreamError: ``UPSTREAM_PROTOCOL_ERROR``; the connection is of no more use.
        """
        self._silent_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.is_complete:
                raise self._fault or protocol_error(str(error)) from error
            # Bytes that nobody asked for follow a good response: it counts, the connection not.
            self.can_keep_alive = False
        if self.is_complete:
            if not self._is_parser_done:
                # The parser still waits for the body that an answer to HEAD only announces.
                self._parser = HttpResponseParser(self)
        elif self._silent_bytes > self._header_bytes_max:
            raise protocol_error(
                f"more than {self._header_bytes_max} bytes without a whole head or any body"
            )

    def feed_eof(self) -> None:
        """Complete a response that only the end of the connection delimits; else do nothing."""
        if self._is_close_delimited:
            self.is_complete = True

    def take_body(self) -> bytes:
        """Return, and forget, what has been read of the body since the last call."""
        chunks = self.take_parts()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def take_parts(self) -> list[bytes]:
        """Do the same, and leave it in the pieces in which it came."""
        chunks, self._chunks = self._chunks, []
        return chunks

    def on_message_begin(self) -> None:
        if self.is_complete:
            self._refuse("it goes on after its end")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        self._header_count += 1
        if self._header_bytes > self._header_bytes_max or self._header_count > HEADERS_COUNT_MAX:
            self._refuse(
                f"its head is over {self._header_bytes_max} bytes or {HEADERS_COUNT_MAX} lines"
            )
        if not self.status:  # After the head come trailers, which nobody announced to our caller.
            self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < FIRST_FINAL_STATUS:
            self._skip_interim(status)
            return
        self._silent_bytes = 0
        self.status = status
        self.can_keep_alive = self._parser.should_keep_alive()
        self._read_framing()
        if self._is_head or status in STATUSES_WITHOUT_BODY:
            self.is_complete = True
            self.can_keep_alive |= (
                self._parser.get_http_version() == "1.1"
                and b"close" not in connection_tokens(self.headers)
            )
        self.headers = end_to_end(self.headers)
        if not self._is_head and self.declared_bytes is not None:
            self.headers = [field for field in self.headers if field[0] != b"content-length"]

    def on_body(self, data: bytes) -> None:
        if self.is_complete or self._is_interim:
            self._refuse("it has a body where none is allowed")
        self._silent_bytes = 0
        self._chunks.append(data)
        self.body_bytes += len(data)

    def on_message_complete(self) -> None:
        if self._is_interim:
            self._is_interim = False
            return
        self._is_parser_done = True
        self.is_complete = True

    def _skip_interim(self, status: int) -> None:
        if status == SWITCHING_PROTOCOLS:
            self._refuse("it switches to a protocol that was not asked for")
        self._is_interim = True
        self.headers = []

    def _read_framing(self) -> None:
        is_chunked = False
        for name, value in self.headers:
            if name == b"content-length":
                self.declared_bytes = int(value)
            elif name == b"transfer-encoding":
                if value.lower() != b"chunked":
                    self._refuse(f"transfer-encoding {value.decode('latin-1')!r} was not asked for")
                is_chunked = True
        self._is_close_delimited = self.declared_bytes is None and not is_chunked

    def _refuse(self, detail: str) -> None:
        self._fault = protocol_error(detail)
        raise self._fault
