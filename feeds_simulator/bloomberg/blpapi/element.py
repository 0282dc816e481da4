"""`Element`: one item of a message, typed, with a name; scalar, array or sequence.

Source: blpapi documentation, python 3.26, `blpapi.Element` and `blpapi.DataType`: which call gives which value and
which exception. Read-only, as elements of received messages are.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from feeds_simulator.bloomberg import fields
from feeds_simulator.bloomberg.blpapi import exception
from feeds_simulator.bloomberg.blpapi.name import Name, text_of

_INT32_LIMIT: Final = 2**31
_NS_PER_US: Final = 1_000


class DataType:
    """What kind of value an element has."""

    BOOL: Final = fields.BOOL
    CHAR: Final = 2
    BYTE: Final = 3
    INT32: Final = fields.INT32
    INT64: Final = fields.INT64
    FLOAT32: Final = 6
    FLOAT64: Final = fields.FLOAT64
    STRING: Final = fields.STRING
    BYTEARRAY: Final = 9
    DATE: Final = 10
    TIME: Final = 11
    DECIMAL: Final = 12
    DATETIME: Final = fields.DATETIME
    ENUMERATION: Final = fields.ENUMERATION
    SEQUENCE: Final = 15
    CHOICE: Final = 16
    CORRELATION_ID: Final = 17


_FITS: Final[dict[int, tuple[type, ...]]] = {
    fields.BOOL: (bool,),
    fields.INT32: (int,),
    fields.INT64: (int,),
    fields.FLOAT64: (int, float),
    fields.STRING: (str,),
    fields.DATETIME: (int,),
    fields.ENUMERATION: (str,),
}


def _datatype(name: str, value: Any) -> int:
    # By the service's schema; what it does not name (status messages), or what does not fit it, by the value.
    known = fields.TYPES.get(name)
    if isinstance(value, list):
        value = value[0] if value else None
    if known is not None and (value is None or type(value) in _FITS[known]):
        return known
    if isinstance(value, dict):
        return DataType.SEQUENCE
    if isinstance(value, bool):
        return DataType.BOOL
    if isinstance(value, int):
        return DataType.INT32 if -_INT32_LIMIT <= value < _INT32_LIMIT else DataType.INT64
    return DataType.FLOAT64 if isinstance(value, float) else DataType.STRING


def _datetime(ns: int) -> datetime:
    # The SDK's Python binding gives microseconds.
    seconds, rest = divmod(ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // _NS_PER_US)


class Element:
    """One item of a message."""

    __slots__ = ("_array", "_name", "_type", "_value")

    def __init__(self, name: str, value: Any) -> None:
        self._name, self._value = name, value
        self._type = _datatype(name, value)
        self._array = isinstance(value, list)

    # ---- what it is

    def name(self) -> Name:
        return Name(self._name)

    def datatype(self) -> int:
        return self._type

    def isComplexType(self) -> bool:
        return self._type == DataType.SEQUENCE and not self._array

    def isArray(self) -> bool:
        return self._array

    def isValid(self) -> bool:
        return True

    def isNull(self) -> bool:
        return not self._array and (self._value is None or self._value == {})

    def isReadOnly(self) -> bool:
        return True

    def numValues(self) -> int:
        if self._array:
            return len(self._value)
        return 0 if self.isNull() else 1

    def numElements(self) -> int:
        return len(self._value) if self.isComplexType() and self._value else 0

    # ---- sub-elements

    def hasElement(self, name: object, excludeNullElements: bool = False) -> bool:
        key = text_of(name)
        if not self.isComplexType() or not self._value or key not in self._value:
            return False
        return not excludeNullElements or not Element(key, self._value[key]).isNull()

    def getElement(self, nameOrIndex: object) -> "Element":
        """Return a sub-element by name or position. Raises: NotFoundException, IndexOutOfRangeException."""
        if not self.isComplexType():
            raise exception.UnsupportedOperationException(
                f"{self._name} has no sub-elements", exception.ERROR_UNSUPPORTED_OPERATION
            )
        if isinstance(nameOrIndex, int):
            if not 0 <= nameOrIndex < self.numElements():
                raise exception.IndexOutOfRangeException(
                    f"{self._name} has no sub-element {nameOrIndex}", exception.ERROR_INDEX_OUT_OF_RANGE
                )
            key = list(self._value)[nameOrIndex]
        else:
            key = text_of(nameOrIndex)
        if not self._value or key not in self._value:
            raise exception.NotFoundException(
                f"Attempt to access unavailable sub-element '{key}' of element '{self._name}'.",
                exception.ERROR_ITEM_NOT_FOUND,
            )
        return Element(key, self._value[key])

    def elements(self) -> "Iterator[Element]":
        if self._type != DataType.SEQUENCE:
            raise exception.UnsupportedOperationException("Only sequences are supported", None)
        return (Element(key, value) for key, value in (self._value or {}).items())

    def isNullValue(self, position: int = 0) -> bool:
        if self.isComplexType():
            return self.getElement(position).isNull()
        self._check(position)
        return False

    # ---- values

    def _check(self, index: int) -> None:
        if not 0 <= index < self.numValues():
            raise exception.IndexOutOfRangeException(
                f"Attempt to access value {index} of element '{self._name}', which has {self.numValues()}.",
                exception.ERROR_INDEX_OUT_OF_RANGE,
            )

    def _at(self, index: int) -> Any:
        self._check(index)
        return self._value[index] if self._array else self._value

    def _converted(self, index: int, wanted: str, convert: Callable[[int, Any], Any]) -> Any:
        value = self._at(index)
        converted = None if self._type == DataType.SEQUENCE else convert(self._type, value)
        if converted is None:
            raise exception.InvalidConversionException(
                f"Element '{self._name}' of type {self._type} is not convertible to {wanted}.",
                exception.ERROR_INVALID_CONVERSION,
            )
        return converted

    def getValueAsBool(self, index: int = 0) -> bool:
        return bool(self._converted(index, "a bool", _as_bool))

    def getValueAsString(self, index: int = 0) -> str:
        return str(self._converted(index, "a string", _as_string))

    def getValueAsBytes(self, index: int = 0) -> bytes:
        return self.getValueAsString(index).encode()

    def getValueAsInteger(self, index: int = 0) -> int:
        return int(self._converted(index, "an integer", _as_integer))

    def getValueAsFloat(self, index: int = 0) -> float:
        return float(self._converted(index, "a float", _as_float))

    def getValueAsDatetime(self, index: int = 0) -> datetime:
        converted: datetime = self._converted(index, "a datetime", _as_datetime)
        return converted

    def getValueAsName(self, index: int = 0) -> Name:
        return Name(self.getValueAsString(index))

    def getValueAsElement(self, index: int = 0) -> "Element":
        value = self._at(index)
        if self._type != DataType.SEQUENCE:
            raise exception.InvalidConversionException(
                f"Element '{self._name}' is not convertible to an element.", exception.ERROR_INVALID_CONVERSION
            )
        return Element(self._name, value)

    def getValue(self, index: int = 0) -> Any:
        if self._type == DataType.SEQUENCE:
            if self._array:
                return self.getValueAsElement(index)
            raise exception.InvalidConversionException(
                f"Element '{self._name}' is a sequence.", exception.ERROR_INVALID_CONVERSION
            )
        value = self._at(index)
        if self._type == DataType.ENUMERATION:
            return Name(value)
        return _datetime(value) if self._type == DataType.DATETIME else value

    def values(self) -> Iterator[Any]:
        if self.isComplexType():
            return iter(())
        return (self.getValue(index) for index in range(self.numValues()))

    def getElementAsBool(self, name: object) -> bool:
        return self.getElement(name).getValueAsBool()

    def getElementAsString(self, name: object) -> str:
        return self.getElement(name).getValueAsString()

    def getElementAsBytes(self, name: object) -> bytes:
        return self.getElement(name).getValueAsBytes()

    def getElementAsInteger(self, name: object) -> int:
        return self.getElement(name).getValueAsInteger()

    def getElementAsFloat(self, name: object) -> float:
        return self.getElement(name).getValueAsFloat()

    def getElementAsDatetime(self, name: object) -> datetime:
        return self.getElement(name).getValueAsDatetime()

    def getElementAsName(self, name: object) -> Name:
        return self.getElement(name).getValueAsName()

    def getElementValue(self, name: object) -> Any:
        return self.getElement(name).getValue()

    # ---- as Python

    def __getitem__(self, nameOrIndex: object) -> Any:
        if isinstance(nameOrIndex, int):
            return self.getValue(nameOrIndex)
        if not self.hasElement(nameOrIndex):
            raise KeyError(f"Element {self._name} does not contain element {nameOrIndex}")
        element = self.getElement(nameOrIndex)
        if element.isComplexType() or element.isArray():
            return element
        return None if element.isNull() else element.getValue()

    def __iter__(self) -> Iterator[Any]:
        return self.elements() if self.isComplexType() else self.values()

    def __len__(self) -> int:
        return self.numElements() if self.isComplexType() else self.numValues()

    def __contains__(self, item: object) -> bool:
        return self.hasElement(item) if self.isComplexType() else item in list(self.values())

    def toPy(self) -> Any:
        if self._array:
            return [item.toPy() if isinstance(item, Element) else item for item in self.values()]
        if self.isComplexType():
            return {str(element.name()): element.toPy() for element in self.elements()}
        if self.isNull():
            return None
        value = self.getValue()
        return str(value) if isinstance(value, Name) else value

    def toJson(self) -> str:
        return json.dumps(self.toPy(), default=str)

    def toString(self, level: int = 0, spacesPerLevel: int = 4) -> str:
        pad = " " * (max(level, 0) * spacesPerLevel)
        if self.isComplexType():
            inner = "".join(element.toString(level + 1, spacesPerLevel) for element in self.elements())
            return f"{pad}{self._name} = {{\n{inner}{pad}}}\n"
        if self._array:
            inner = "".join(
                item.toString(level + 1, spacesPerLevel) if isinstance(item, Element) else f"{pad}    {item}\n"
                for item in self.values()
            )
            return f"{pad}{self._name}[] = {{\n{inner}{pad}}}\n"
        if self.isNull():
            return f"{pad}{self._name} = \n"
        text = self.getValueAsString()
        return f'{pad}{self._name} = "{text}"\n' if self._type == DataType.STRING else f"{pad}{self._name} = {text}\n"

    def __str__(self) -> str:
        return self.toString()


# ---- conversions: None where there is none


def _as_bool(kind: int, value: Any) -> bool | None:
    return bool(value) if kind == DataType.BOOL or (kind in _INTEGERS and value in (0, 1)) else None


def _as_string(kind: int, value: Any) -> str | None:
    if kind == DataType.BOOL:
        return "true" if value else "false"
    if kind == DataType.DATETIME:
        return _datetime(value).isoformat(timespec="milliseconds")
    return str(value)


def _as_integer(kind: int, value: Any) -> int | None:
    if kind == DataType.FLOAT64:
        return int(value) if value == int(value) else None
    return int(value) if kind in _INTEGERS or kind == DataType.BOOL else None


def _as_float(kind: int, value: Any) -> float | None:
    return float(value) if kind == DataType.FLOAT64 or kind in _INTEGERS else None


def _as_datetime(kind: int, value: Any) -> datetime | None:
    return _datetime(value) if kind == DataType.DATETIME else None


_INTEGERS: Final = frozenset((DataType.INT32, DataType.INT64))
