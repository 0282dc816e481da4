"""The Bloomberg SDK's shape for market data: what `import blpapi` gives, in front of the simulated server.

A program written against the real SDK (Python, 3.26) runs on this one unchanged as far as subscriptions go: sessions
with and without an event handler, events, messages, elements, exceptions. Not here, because a market data program
does not call it: requests, publishing, authorization, topic resolution, schemas.
Source: bloomberg.github.io/blpapi-docs/python/3.26 (Session, SessionOptions, SubscriptionList, CorrelationId, Event,
Message, Element, Name, Names, exception).
"""

from feeds_simulator.bloomberg.blpapi.correlation import CorrelationId
from feeds_simulator.bloomberg.blpapi.element import DataType, Element
from feeds_simulator.bloomberg.blpapi.event import Event, Message
from feeds_simulator.bloomberg.blpapi.exception import (
    DuplicateCorrelationIdException,
    Exception,
    FieldNotFoundException,
    IndexOutOfRangeException,
    InvalidArgumentException,
    InvalidConversionException,
    InvalidStateException,
    NotFoundException,
    UnknownErrorException,
    UnsupportedOperationException,
)
from feeds_simulator.bloomberg.blpapi.name import Name, Names
from feeds_simulator.bloomberg.blpapi.options import SessionOptions
from feeds_simulator.bloomberg.blpapi.session import Service, Session
from feeds_simulator.bloomberg.blpapi.subscriptionlist import SubscriptionList
from feeds_simulator.bloomberg.blpapi.subscriptions import SubscriptionPreprocessError, SubscriptionPreprocessMode

__all__ = [
    "CorrelationId",
    "DataType",
    "DuplicateCorrelationIdException",
    "Element",
    "Event",
    "Exception",
    "FieldNotFoundException",
    "IndexOutOfRangeException",
    "InvalidArgumentException",
    "InvalidConversionException",
    "InvalidStateException",
    "Message",
    "Name",
    "Names",
    "NotFoundException",
    "Service",
    "Session",
    "SessionOptions",
    "SubscriptionList",
    "SubscriptionPreprocessError",
    "SubscriptionPreprocessMode",
    "UnknownErrorException",
    "UnsupportedOperationException",
]
