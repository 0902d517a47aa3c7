"""What makes a reader a member of a group: its name there, its transactions, the group's state.

A member with a name of its own (`KafkaSettings.static`) is known to the group by that name: whoever
comes back under it within the session timeout has its partitions again, and nobody else notices.
So a name must be borne by one living process at a time. The cluster gives it to the newest and
tells the older one next to nothing; therefore a member asks now and then who bears its name.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from streams.errors import NameTaken
from streams.kafka.admin import Admin
from streams.kafka.changelog import Changelog
from streams.kafka.producer import Transactions
from streams.kafka.settings import KafkaSettings

_ASK_AGAIN_SECONDS: Final = 1.0


class _SignedAssignor(CooperativeStickyAssignor):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python's cooperative assignor; what a member tells the group bears its process's mark.

    Nothing else of a member with a name is the process's own: its id is the cluster's choice, and
    its client id stays that of the first process.
    """

    def __init__(self, mark: bytes) -> None:
        super().__init__()
        self._mark = mark

    def metadata(self, topics: object) -> Any:  # noqa: ANN401 - kafka-python has no types
        told = super().metadata(topics)
        told.user_data = self._mark
        return told


class StaticName:
    """A name that this process bears in a group, kept while readers under it come and go.

    Attributes:
        instance: Kafka's `group.instance.id`.
        mark: tells this process from others of the name.
        is_borne: the cluster has said that this process bears the name.
    """

    def __init__(self, instance: str, mark: str) -> None:
        self.instance = instance
        self.mark = mark
        self.is_borne = False


class Membership:
    """One reader's place in a group.

    Args:
        settings: the way to the cluster.
        group: as its users name it.
        transactions: its commits.
        changelog: the group's state.
        static: its name; None: a new member at each start.
        give_back: called when the place is not needed any more.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        *,
        transactions: Transactions,
        changelog: Changelog,
        static: StaticName | None,
        give_back: Callable[[], None],
    ) -> None:
        self.transactions = transactions
        self.changelog = changelog
        self._settings = settings
        self._group = group
        self._static = static
        self._give_back = give_back
        self._ask_at = 0.0

    def options(self) -> dict[str, Any]:
        """Return the options of a reader that is this member."""
        options = self._settings.member_of(self._group)
        mark = b""
        if self._static is not None:
            options["group_instance_id"] = self._static.instance
            mark = self._static.mark.encode()
        return options | {"partition_assignment_strategy": [_SignedAssignor(mark)]}

    def check_name(self, admin: Admin, *, now: bool = False) -> None:
        """Ask who bears this member's name, when it is time to, or `now`.

        Raises:
            NameTaken: another living process does.
            LogUnavailable: the cluster cannot be reached.
        """
        static = self._static
        if static is None or not (now or time.monotonic() >= self._ask_at):
            return
        self._ask_at = time.monotonic() + _ASK_AGAIN_SECONDS
        bearer = admin.bearer(self._group, static.instance)
        if bearer == static.mark:
            static.is_borne = True
        elif bearer is not None and static.is_borne:
            raise NameTaken(
                f"another living process has taken the name {static.instance!r} in group"
                f" {self._group!r}: give each process of one kind a QUINTET_MEMBER of its own"
            )
        if static.is_borne:
            self._ask_at = time.monotonic() + self._settings.session_timeout_seconds / 2

    def check_name_before_joining_again(self, admin: Admin) -> None:
        """Ask who bears the name, where this process has borne it; raises as `check_name`."""
        if self._static is not None and self._static.is_borne:
            self.check_name(admin, now=True)

    def close(self) -> None:
        """Stop the transactions, close the copies of state, give the place back."""
        self.transactions.close()
        self.changelog.close()
        self._give_back()
