"""How much of the gateway one key may use, and all of them together.

A key is known here by a digest that tells nothing of it. As many keys are kept apart as
``keys_count_max`` says; of more, the one that was used least recently starts afresh, so that
bearers made up by the million cost no memory.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import msgspec

from layer_kit.clock import Monotonic
from layer_kit.errors import QuotaExceededError, UnavailableError

SHED_RETRY_S: Final = 1.0
"""Pause asked of a caller for whom there is no room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """Bounds on requests; a bound of 0 is none."""

    key_requests_per_second: float = 0.0
    key_burst_count: int = 0
    """Requests that a key may send at once after a pause; 0 means those of one second."""
    key_inflight_max: int = 0
    inflight_max: int = 0
    keys_count_max: int = 10_000


class _Use:
    """What one key has used."""

    __slots__ = ("inflight_count", "refilled_at_s", "tokens_count")

    def __init__(self, tokens_count: float, now_s: float) -> None:
        self.tokens_count = tokens_count
        self.refilled_at_s = now_s
        self.inflight_count = 0


class Limits:
    """Counts requests in flight and refuses those above a bound."""

    def __init__(self, settings: LimitSettings, monotonic: Monotonic) -> None:
        rate = settings.key_requests_per_second
        self._rate = rate
        self._burst = float(settings.key_burst_count or max(1, round(rate)))
        self._key_inflight_max = settings.key_inflight_max
        self._inflight_max = settings.inflight_max or math.inf
        self._keys_count_max = settings.keys_count_max
        self._is_by_key = rate > 0 or settings.key_inflight_max > 0
        self._monotonic = monotonic
        self._uses: OrderedDict[bytes, _Use] = OrderedDict()
        self.inflight_count = 0

    def enter(self, digest: bytes) -> Pass:
        """Take a request in; the caller gives the pass back when it is answered.

        Args:
            digest: Of the caller's key; all who have none share the empty one.

        Raises:
            QuotaExceededError: ``KEY_RATE`` or ``KEY_INFLIGHT``.
            UnavailableError: ``GATEWAY_FULL``.
        """
        if self.inflight_count >= self._inflight_max:
            raise UnavailableError(
                "GATEWAY_FULL",
                f"{self._inflight_max} requests are being answered; try again.",
                retry_after_s=SHED_RETRY_S,
                inflight_max=self._inflight_max,
            )
        use = self._admitted_use(digest) if self._is_by_key else None
        self.inflight_count += 1
        return Pass(self, use)

    def leave(self, use: _Use | None) -> None:
        self.inflight_count -= 1
        if use is not None:
            use.inflight_count -= 1

    def _admitted_use(self, digest: bytes) -> _Use:
        use = self._use(digest)
        if 0 < self._key_inflight_max <= use.inflight_count:
            raise QuotaExceededError(
                "KEY_INFLIGHT",
                f"{self._key_inflight_max} requests of this key are being answered; "
                "wait for one of them.",
                retry_after_s=SHED_RETRY_S,
                inflight_max=self._key_inflight_max,
            )
        if self._rate > 0:
            self._take_token(use)
        use.inflight_count += 1
        return use

    def _take_token(self, use: _Use) -> None:
        now_s = self._monotonic()
        gained = (now_s - use.refilled_at_s) * self._rate
        use.tokens_count = min(self._burst, use.tokens_count + gained)
        use.refilled_at_s = now_s
        if use.tokens_count < 1:
            raise QuotaExceededError(
                "KEY_RATE",
                f"This key may send {self._rate:g} requests a second; send fewer.",
                retry_after_s=(1 - use.tokens_count) / self._rate,
                requests_per_second=f"{self._rate:g}",
            )
        use.tokens_count -= 1

    def _use(self, digest: bytes) -> _Use:
        use = self._uses.get(digest)
        if use is None:
            if len(self._uses) >= self._keys_count_max:
                self._uses.popitem(last=False)
            use = self._uses[digest] = _Use(self._burst, self._monotonic())
        else:
            self._uses.move_to_end(digest)
        return use


class Pass(msgspec.Struct, eq=False):
    """A request that was let in, until the block ends or it is given back."""

    _limits: Limits | None
    _use: _Use | None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def give_back(self) -> None:
        """End the request; once is enough."""
        limits, self._limits = self._limits, None
        if limits is not None:
            limits.leave(self._use)
