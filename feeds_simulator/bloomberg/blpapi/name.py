"""`Name`, and the names of the messages the SDK itself makes. Source: blpapi documentation, python 3.26."""

from typing import ClassVar, Final


class Name:
    """A string interned for comparison: equal strings give equal names, and a name equals its string."""

    __slots__ = ("_text",)

    _table: ClassVar[dict[str, "Name"]] = {}

    def __new__(cls, nameString: str) -> "Name":
        found = cls._table.get(nameString)
        if found is None:
            found = super().__new__(cls)
            found._text = nameString
            cls._table[nameString] = found
        return found

    _text: str

    @staticmethod
    def findName(nameString: str) -> "Name | None":
        """Return the name if it exists already."""
        return Name._table.get(nameString)

    @staticmethod
    def hasName(nameString: str) -> bool:
        """Return whether the name exists already."""
        return nameString in Name._table

    def __len__(self) -> int:
        return len(self._text)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"blpapi.Name('{self._text}')"

    def __eq__(self, other: object) -> bool:
        return self._text == other if isinstance(other, str) else self is other

    def __hash__(self) -> int:
        return hash(self._text)


def text_of(name: object) -> str:
    """Return the string of a name or a string. Raises: TypeError for anything else, as the SDK does."""
    if type(name) is Name:
        return name._text
    if isinstance(name, str):
        return name
    raise TypeError("name should be an instance of a string or blpapi.Name")


class Names:
    """Names of common messages."""

    SLOW_CONSUMER_WARNING: Final = Name("SlowConsumerWarning")
    SLOW_CONSUMER_WARNING_CLEARED: Final = Name("SlowConsumerWarningCleared")
    DATA_LOSS: Final = Name("DataLoss")
    SUBSCRIPTION_TERMINATED: Final = Name("SubscriptionTerminated")
    SUBSCRIPTION_STARTED: Final = Name("SubscriptionStarted")
    SUBSCRIPTION_FAILURE: Final = Name("SubscriptionFailure")
    SUBSCRIPTION_STREAMS_ACTIVATED: Final = Name("SubscriptionStreamsActivated")
    SUBSCRIPTION_STREAMS_DEACTIVATED: Final = Name("SubscriptionStreamsDeactivated")
    SESSION_STARTED: Final = Name("SessionStarted")
    SESSION_TERMINATED: Final = Name("SessionTerminated")
    SESSION_STARTUP_FAILURE: Final = Name("SessionStartupFailure")
    SESSION_CONNECTION_UP: Final = Name("SessionConnectionUp")
    SESSION_CONNECTION_DOWN: Final = Name("SessionConnectionDown")
    SERVICE_OPENED: Final = Name("ServiceOpened")
    SERVICE_OPEN_FAILURE: Final = Name("ServiceOpenFailure")
    SERVICE_UP: Final = Name("ServiceUp")
    SERVICE_DOWN: Final = Name("ServiceDown")
    REQUEST_FAILURE: Final = Name("RequestFailure")
    AUTHORIZATION_SUCCESS: Final = Name("AuthorizationSuccess")
    AUTHORIZATION_FAILURE: Final = Name("AuthorizationFailure")
    AUTHORIZATION_REVOKED: Final = Name("AuthorizationRevoked")
    TOKEN_GENERATION_SUCCESS: Final = Name("TokenGenerationSuccess")
    TOKEN_GENERATION_FAILURE: Final = Name("TokenGenerationFailure")
