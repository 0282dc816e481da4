"""`SessionOptions`, with the SDK's defaults. Source: blpapi documentation, python 3.26, `blpapi.SessionOptions`."""

from typing import Final

from feeds_simulator.bloomberg import fields
from feeds_simulator.bloomberg.blpapi import exception


class SessionOptions:
    """How a session connects and how much it queues."""

    AUTO: Final = 0
    DAPI: Final = 1
    SAPI: Final = 2

    def __init__(self) -> None:
        self._addresses: list[tuple[str, int]] = [("127.0.0.1", 8194)]
        self._connect_timeout_ms = 5_000
        self._start_attempts = 3
        self._auto_restart = False
        self._service = fields.MKTDATA
        self._prefix = "/ticker/"
        self._high, self._low = 0.75, 0.5
        self._queue_size = 10_000
        self._record_times = False
        self._multiple_correlators = False
        self._client_mode = self.AUTO
        self._session_name = ""
        self._keep_alive = True
        self._inactivity_ms, self._response_ms = 20_000, 5_000

    def setServerHost(self, serverHost: str) -> None:
        self._addresses[0] = (serverHost, self._addresses[0][1])

    def setServerPort(self, serverPort: int) -> None:
        self._addresses[0] = (self._addresses[0][0], serverPort)

    def setServerAddress(self, serverHost: str, serverPort: int, index: int) -> None:
        self._addresses[index : index + 1] = [(serverHost, serverPort)]

    def removeServerAddress(self, index: int) -> None:
        del self._addresses[index]

    def setConnectTimeout(self, timeoutMilliSeconds: int) -> None:
        self._connect_timeout_ms = timeoutMilliSeconds

    def setNumStartAttempts(self, numStartAttempts: int) -> None:
        self._start_attempts = numStartAttempts

    def setAutoRestartOnDisconnection(self, autoRestart: bool) -> None:
        self._auto_restart = autoRestart

    def setDefaultSubscriptionService(self, defaultSubscriptionService: str) -> None:
        self._service = defaultSubscriptionService

    def setDefaultTopicPrefix(self, prefix: str) -> None:
        self._prefix = prefix

    def setSlowConsumerWarningHiWaterMark(self, hiWaterMark: float) -> None:
        _check_fraction(hiWaterMark)
        self._high = hiWaterMark

    def setSlowConsumerWarningLoWaterMark(self, loWaterMark: float) -> None:
        _check_fraction(loWaterMark)
        self._low = loWaterMark

    def setMaxEventQueueSize(self, eventQueueSize: int) -> None:
        self._queue_size = eventQueueSize

    def setRecordSubscriptionDataReceiveTimes(self, shouldRecord: bool) -> None:
        self._record_times = shouldRecord

    def setAllowMultipleCorrelatorsPerMsg(self, allow: bool) -> None:
        """Take the setting. Two subscriptions of one topic still give two messages, as without it."""
        self._multiple_correlators = allow

    def setKeepAliveEnabled(self, isEnabled: bool) -> None:
        self._keep_alive = isEnabled

    def setDefaultKeepAliveInactivityTime(self, inactivityMsecs: int) -> None:
        self._inactivity_ms = inactivityMsecs

    def setDefaultKeepAliveResponseTimeout(self, timeoutMsecs: int) -> None:
        self._response_ms = timeoutMsecs

    def setClientMode(self, clientMode: int) -> None:
        self._client_mode = clientMode

    def setSessionName(self, sessionName: str) -> None:
        self._session_name = sessionName

    def serverHost(self) -> str:
        return self._addresses[0][0]

    def serverPort(self) -> int:
        return self._addresses[0][1]

    def serverAddresses(self) -> list[tuple[str, int]]:
        return list(self._addresses)

    def numServerAddresses(self) -> int:
        return len(self._addresses)

    def getServerAddress(self, index: int) -> tuple[str, int]:
        return self._addresses[index]

    def connectTimeout(self) -> int:
        return self._connect_timeout_ms

    def numStartAttempts(self) -> int:
        return self._start_attempts

    def autoRestartOnDisconnection(self) -> bool:
        return self._auto_restart

    def defaultSubscriptionService(self) -> str:
        return self._service

    def defaultTopicPrefix(self) -> str:
        return self._prefix

    def slowConsumerWarningHiWaterMark(self) -> float:
        return self._high

    def slowConsumerWarningLoWaterMark(self) -> float:
        return self._low

    def maxEventQueueSize(self) -> int:
        return self._queue_size

    def recordSubscriptionDataReceiveTimes(self) -> bool:
        return self._record_times

    def allowMultipleCorrelatorsPerMsg(self) -> bool:
        return self._multiple_correlators

    def keepAliveEnabled(self) -> bool:
        return self._keep_alive

    def defaultKeepAliveInactivityTime(self) -> int:
        return self._inactivity_ms

    def defaultKeepAliveResponseTimeout(self) -> int:
        return self._response_ms

    def clientMode(self) -> int:
        return self._client_mode

    def sessionName(self) -> str:
        return self._session_name


def _check_fraction(mark: float) -> None:
    if not 0.0 <= mark <= 1.0:
        raise exception.InvalidArgumentException(f"water mark {mark}", exception.ERROR_ILLEGAL_ARG)
