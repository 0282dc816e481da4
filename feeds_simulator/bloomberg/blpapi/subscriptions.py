"""The active subscriptions of a session, by correlation id and by the number the server knows them by.

Source: blpapi documentation, python 3.26, `blpapi.Session.subscribe`, `blpapi.SubscriptionPreprocessMode`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import count

from feeds_simulator.bloomberg.blpapi import exception
from feeds_simulator.bloomberg.blpapi.correlation import CorrelationId
from feeds_simulator.bloomberg.blpapi.options import SessionOptions
from feeds_simulator.bloomberg.blpapi.subscriptionlist import Subscription, SubscriptionList, Topic, parse_topic


class SubscriptionPreprocessMode(Enum):
    """What `subscribe` does about an entry it cannot take."""

    FAIL_ON_FIRST_ERROR = 1
    RETURN_INDIVIDUAL_ERRORS = 2


@dataclass(frozen=True, slots=True)
class SubscriptionPreprocessError:
    """An entry that `subscribe` could not take."""

    correlationId: CorrelationId
    subscriptionString: str
    errorCode: int
    description: str


class Subscriptions:
    """What is active. Numbers are never used again, correlation ids may be."""

    def __init__(self, options: SessionOptions) -> None:
        self._options = options
        self._by_number: dict[int, Subscription] = {}
        self._by_correlation: dict[CorrelationId, Subscription] = {}
        self._numbers = count(1)

    def __iter__(self) -> Iterator[Subscription]:
        return iter(self._by_number.values())

    def of(self, correlation: CorrelationId) -> Subscription | None:
        return self._by_correlation.get(correlation)

    def numbered(self, number: int) -> Subscription | None:
        return self._by_number.get(number)

    def remove(self, subscription: Subscription) -> None:
        self._by_number.pop(subscription.wire_id, None)
        self._by_correlation.pop(subscription.correlation, None)

    def topic(self, text: str) -> Topic:
        """Read a subscription string. Raises: InvalidArgumentException."""
        return parse_topic(text, self._options.defaultSubscriptionService(), self._options.defaultTopicPrefix())

    def accept(
        self, entries: SubscriptionList, mode: SubscriptionPreprocessMode
    ) -> tuple[list[Subscription], list[SubscriptionPreprocessError]]:
        """Make subscriptions of a list, with the errors of those that cannot be.

        Raises: DuplicateCorrelationIdException, InvalidArgumentException, unless the mode says to return them.
        """
        accepted: dict[CorrelationId, Subscription] = {}
        errors: list[SubscriptionPreprocessError] = []
        for index in range(entries.size()):
            text, correlation = entries.topicStringAt(index), entries.correlationIdAt(index)
            if correlation.type() == CorrelationId.UNSET_TYPE:
                correlation = CorrelationId.generated()
                entries._name(index, correlation)
            try:
                if correlation in accepted or correlation in self._by_correlation:
                    raise exception.DuplicateCorrelationIdException(
                        f"Correlation id {correlation} is in use", exception.ERROR_DUPLICATE_CORRELATIONID
                    )
                accepted[correlation] = Subscription(next(self._numbers), correlation, text, self.topic(text))
            except (exception.DuplicateCorrelationIdException, exception.InvalidArgumentException) as error:
                if mode == SubscriptionPreprocessMode.FAIL_ON_FIRST_ERROR:
                    raise
                duplicate = isinstance(error, exception.DuplicateCorrelationIdException)
                errors.append(SubscriptionPreprocessError(correlation, text, 2 if duplicate else 1, str(error)))
        for subscription in accepted.values():
            self._by_number[subscription.wire_id] = subscription
            self._by_correlation[subscription.correlation] = subscription
        return list(accepted.values()), errors
