"""`CorrelationId`: the key by which a program knows its subscriptions. Source: blpapi documentation, python 3.26."""

from itertools import count
from typing import Any, ClassVar, Final


class CorrelationId:
    """An integer, an object (same object, not equal), one made by the session, or unset."""

    __slots__ = ("_class", "_type", "_value")

    UNSET_TYPE: Final = 0
    INT_TYPE: Final = 1
    OBJECT_TYPE: Final = 2
    AUTOGEN_TYPE: Final = 3
    MAX_CLASS_ID: Final = 65_535

    _numbers: ClassVar[Any] = count(1)

    def __init__(self, *value: Any) -> None:
        self._value = value[0] if value else None
        self._class = int(value[1]) if len(value) > 1 else 0
        if not value:
            self._type = self.UNSET_TYPE
        else:
            self._type = self.INT_TYPE if isinstance(self._value, int) else self.OBJECT_TYPE

    @classmethod
    def generated(cls) -> "CorrelationId":
        """Return one that the session makes up."""
        made = cls()
        made._type, made._value = cls.AUTOGEN_TYPE, next(cls._numbers)
        return made

    def value(self) -> Any:
        return self._value

    def type(self) -> int:
        return self._type

    def classId(self) -> int:
        return self._class

    def _key(self) -> tuple[int, int, object]:
        return self._type, self._class, id(self._value) if self._type == self.OBJECT_TYPE else self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CorrelationId) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __str__(self) -> str:
        kind = ("UNSET", "INTEGER", "OBJECT", "AUTOGEN")[self._type]
        return f"({kind}: {self._value!r} ClassId: {self._class})"

    __repr__ = __str__
