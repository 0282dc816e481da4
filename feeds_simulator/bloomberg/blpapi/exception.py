"""Exceptions of the SDK, with their codes. Source: blpapi documentation, python 3.26, `blpapi.exception`.

Exception
├── DuplicateCorrelationIdException
├── InvalidStateException
├── InvalidArgumentException
├── InvalidConversionException
├── IndexOutOfRangeException
├── NotFoundException
├── FieldNotFoundException
├── UnsupportedOperationException
└── UnknownErrorException
"""

import builtins
from typing import Final

# A code is its class and a number within it.
ERROR_DUPLICATE_CORRELATIONID: Final = 0x20005
ERROR_ILLEGAL_ARG: Final = 0x20002
ERROR_ILLEGAL_STATE: Final = 0x10009
ERROR_INVALID_CONVERSION: Final = 0x40003
ERROR_INDEX_OUT_OF_RANGE: Final = 0x50006
ERROR_ITEM_NOT_FOUND: Final = 0x60006
ERROR_UNSUPPORTED_OPERATION: Final = 0x80001


class Exception(builtins.Exception):
    """Base of what the SDK raises: a description and a code."""

    def __init__(self, description: str, errorCode: int | None) -> None:
        super().__init__(description, errorCode)

    def __str__(self) -> str:
        code = self.args[1]
        return f"{self.args[0]} ({code:#010x})" if isinstance(code, int) else str(self.args[0])


class DuplicateCorrelationIdException(Exception):
    """A correlation id that another active subscription has."""


class InvalidStateException(Exception):
    """A call that the object's state does not allow."""


class InvalidArgumentException(Exception):
    """An argument that cannot be used."""


class InvalidConversionException(Exception):
    """A value asked for as a type it cannot become."""


class IndexOutOfRangeException(Exception):
    """A value that an element does not have; a null element has none."""


class NotFoundException(Exception):
    """A sub-element that is not there."""


class FieldNotFoundException(Exception):
    """Deprecated in the SDK; kept because programs name it."""


class UnsupportedOperationException(Exception):
    """An operation that this kind of object does not have."""


class UnknownErrorException(Exception):
    """An error of no class."""
