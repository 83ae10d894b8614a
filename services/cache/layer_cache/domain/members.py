"""Membership: which gateways may be acknowledging writes, and until when each counts on us.

A member that cannot reach the cache waits, before it acknowledges its first unfenced write,
until ``lease + round trip`` after it last *sent* a renewal; by then its lease has run out here
and hits are suspended. That needs ``lease end <= sent + round trip + lease`` whatever the network
did to the renewal, so the end is not computed from its receipt alone:

    end = min(receipt, receipt of an earlier, answered renewal + elapsed) + lease

``elapsed`` is the member's own time from sending that earlier renewal to sending this one. The
earlier one was answered within the member's measured round trip, so the second term is at most
``sent + round trip`` even when this renewal was held up for minutes. The member names the earlier
renewal by number, since it cannot know whether one whose answer was lost has arrived.

An *opening* that was held up has no such starting point, and the dirty set it brings may be out
of date. So a known member that opens again only gets an *offered* session, which changes nothing
until a renewal of it proves that the opening was answered.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from layer_cache.domain.limits import MEMBER_ID_LENGTH_MAX, RENEWALS_REMEMBERED_MAX
from layer_kit.errors import InvalidRequestError, NotFoundError, QuotaExceededError

OPENING_NUMBER = 1
"""The number of an opening among the renewals of its session."""

FORGOTTEN = ""
"""Stands for the members that were known before the memory of them was lost. No member's id."""


@dataclass(slots=True, kw_only=True, eq=False)
class Session:
    """One opening and its renewals."""

    session_id: str
    lease_until_s: float
    renewal_number: int = OPENING_NUMBER
    receipts_s: dict[int, float] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """One gateway process."""

    member_id: str
    lease_until_s: float
    """When its lease ran out or will run out."""

    gone_at_s: float
    """When it is given up, unless it is heard of."""

    ring: bytes | None = None
    """How it divides rows among replicas; None for one that has not come back since the start."""

    current: Session | None = None
    offered: Session | None = None


class Members:
    """The gateways known to exist, with their leases."""

    def __init__(
        self,
        remembered: Iterable[str],
        *,
        now_s: float,
        lease_s: float,
        declared_gone_s: float,
        members_max: int,
    ) -> None:
        """Start in probation: every remembered member is silent until it opens again.

        Each is waited for as if it had renewed just before the start, since it may have.
        """
        self.lease_s = lease_s
        self.declared_gone_s = declared_gone_s
        self._members_max = members_max
        self._started_s = now_s
        self._members = {
            member_id: Member(
                member_id=member_id,
                lease_until_s=now_s,
                gone_at_s=now_s + lease_s + declared_gone_s,
            )
            for member_id in remembered
        }
        self._by_session: dict[str, Member] = {}
        self._silent_from_s = math.inf
        self._is_ring_mixed = False
        self._notice()

    def __len__(self) -> int:
        return len(self._members)

    def is_suspended(self, now_s: float) -> bool:
        """Tell whether some member's lease has run out, so that hits must not be served."""
        return now_s >= self._silent_from_s or self._is_ring_mixed

    @property
    def is_ring_mixed(self) -> bool:
        """Whether members divide rows among replicas in different ways: then nobody's hits count,
        since a write of one is not announced where another reads."""
        return self._is_ring_mixed

    def live_count(self, now_s: float) -> int:
        return sum(now_s < member.lease_until_s for member in self._members.values())

    def is_known(self, member_id: str) -> bool:
        return member_id in self._members

    def check_admission(self, member_id: str) -> None:
        """Check that ``member_id`` is well formed and that there is room for it.

        Raises:
            InvalidRequestError: ``MEMBER_ID_INVALID``.
            QuotaExceededError: ``TOO_MANY_MEMBERS``.
        """
        if not 1 <= len(member_id) <= MEMBER_ID_LENGTH_MAX:
            raise InvalidRequestError(
                "MEMBER_ID_INVALID",
                f"A member id must have 1 to {MEMBER_ID_LENGTH_MAX} characters.",
                length_max=MEMBER_ID_LENGTH_MAX,
            )
        if not self.is_known(member_id) and len(self._members) >= self._members_max:
            raise QuotaExceededError(
                "TOO_MANY_MEMBERS",
                f"{self._members_max} gateways are members already; close some.",
                count_max=self._members_max,
            )

    def open(self, member_id: str, session_id: str, received_s: float, ring: bytes = b"") -> None:
        """Give a member a session: at once if it is new, on offer if it was known.

        A gateway acknowledges no write before its first session was opened, so a new member
        cannot have written behind our back.
        """
        session = Session(
            session_id=session_id,
            lease_until_s=received_s + self.lease_s,
            receipts_s={OPENING_NUMBER: received_s},
        )
        member = self._members.get(member_id)
        if member is None:
            member = Member(
                member_id=member_id,
                lease_until_s=session.lease_until_s,
                gone_at_s=session.lease_until_s + self.declared_gone_s,
                current=session,
            )
            self._members[member_id] = member
        else:
            self._forget(member.offered)
            member.offered = session
        member.ring = ring
        self._by_session[session_id] = member
        self._notice()

    def has_forgotten(self, now_s: float) -> bool:
        """Tell whether a member that returns and is not known shows that others are forgotten.

        Later it rather was declared gone; and so would the others be by now.
        """
        return now_s < self._started_s + self.lease_s + self.declared_gone_s

    def await_forgotten(self) -> None:
        """Count one more member as silent since the start, for all that may be forgotten."""
        self._members[FORGOTTEN] = Member(
            member_id=FORGOTTEN,
            lease_until_s=self._started_s,
            gone_at_s=self._started_s + self.lease_s + self.declared_gone_s,
        )
        self._notice()

    def check(self, session_id: str, now_s: float) -> None:
        """Check that a session is open or on offer.

        Raises:
            NotFoundError: ``SESSION_UNKNOWN``.
        """
        self._find(session_id, now_s)

    def renew(
        self, session_id: str, *, answered_number: int, elapsed_s: float, received_s: float
    ) -> int:
        """Extend a lease; a session on offer becomes the member's own. Return its number.

        A lease that has run out stays so: the member may have counted on it.

        Raises:
            NotFoundError: ``SESSION_UNKNOWN``.
        """
        member, session = self._find(session_id, received_s)
        base_s = session.receipts_s.get(answered_number)
        if base_s is None:
            raise _unknown(session_id)
        end_s = min(received_s, base_s + elapsed_s) + self.lease_s
        if session is member.offered:
            if end_s <= received_s:
                raise _unknown(session_id)
            self._forget(member.current)
            member.current, member.offered = session, None
            session.lease_until_s = end_s
        session.lease_until_s = max(session.lease_until_s, end_s)
        session.renewal_number += 1
        session.receipts_s[session.renewal_number] = received_s
        session.receipts_s.pop(session.renewal_number - RENEWALS_REMEMBERED_MAX, None)
        member.lease_until_s = session.lease_until_s
        member.gone_at_s = session.lease_until_s + self.declared_gone_s
        self._notice()
        return session.renewal_number

    def close(self, session_id: str) -> str | None:
        """End the membership that ``session_id`` belongs to; return the member's id, if any."""
        member = self._by_session.get(session_id)
        if member is None:
            return None
        self.forget(member.member_id)
        return member.member_id

    def gone(self, now_s: float) -> list[str]:
        """List the members that were silent for too long to be waited for."""
        return [member.member_id for member in self._members.values() if now_s >= member.gone_at_s]

    def forget(self, member_id: str) -> None:
        """Remove a member with its sessions."""
        member = self._members.pop(member_id)
        self._forget(member.current)
        self._forget(member.offered)
        self._notice()

    def _find(self, session_id: str, now_s: float) -> tuple[Member, Session]:
        member = self._by_session.get(session_id)
        if member is None:
            raise _unknown(session_id)
        session = member.offered
        if session is None or session.session_id != session_id:
            session = member.current
            if session is None or now_s >= session.lease_until_s:
                raise _unknown(session_id)
        return member, session

    def _forget(self, session: Session | None) -> None:
        if session is not None:
            del self._by_session[session.session_id]

    def _notice(self) -> None:
        self._silent_from_s = min(
            (member.lease_until_s for member in self._members.values()), default=math.inf
        )
        rings = {member.ring for member in self._members.values()} - {None}
        self._is_ring_mixed = len(rings) > 1


def _unknown(session_id: str) -> NotFoundError:
    return NotFoundError(
        "SESSION_UNKNOWN",
        "The session is unknown or has run out; open one again with the dirty set.",
        session_id=session_id[:64],
    )
