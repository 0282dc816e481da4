"""A FIX session, the initiator's side: log-on, heartbeat, sequence, resend, reset. A state machine without I/O.

Bytes go in (`receive`), bytes come out (`to_send`), and the application gets every message once, in order. What the
application sent on this connection is resent when the venue asks; what is older is passed over by a gap fill: a
request of before would be answered out of place, and the application asks anew for what it still wants.
Source: FIX 4.4 volume 2 with errata 2003-06-18; the rules of QuickFIX's acceptance suite for FIX 4.4.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from connectors.errors import DecodeError, ValueRefused
from connectors.fix import constants as fix
from connectors.fix.application import Application
from connectors.fix.config import RAW_DATA_AUTH, USERNAME_AUTH, SessionConfig
from connectors.fix.dictionary import MESSAGES, UNSUPPORTED
from connectors.fix.fields import Fields
from connectors.fix.framing import Frame, Framer, Garbled
from connectors.fix.header import Fault, HeaderCheck
from connectors.fix.message import Message
from connectors.fix.outgoing import Body, Outgoing
from connectors.fix.repair import Repair
from connectors.fix.sequence import Incoming
from connectors.fix.values import parse_count
from connectors.ticks import RAW_CHARACTERS

CLOSED: Final = "closed"
LOGGING_ON: Final = "logging on"
LIVE: Final = "live"

_EXPECTING: Final = re.compile(r"[Ee]xpect(?:ing|ed) (\d{1,9})\b")
_TEXT_CHARACTERS: Final = 200


class FixSession:
    """One session, over as many sockets as it takes.

    State: what is past a hole (connectors/fix/sequence.py), one incomplete message, the layouts of messages.
    """

    def __init__(
        self,
        config: SessionConfig,
        application: Application,
        counters: Counter[str],
        resume: Mapping[str, int | str] | None = None,
    ) -> None:
        self._config, self._application, self.counters = config, application, counters
        self._framer, self._fields, self._header = Framer(), Fields(), HeaderCheck(config)
        self.incoming = Incoming(expected=int(resume["in"]) + 1 if resume else 1)
        self._outgoing = Outgoing(config, int(resume["out"]) if resume else 1)
        self._repair = Repair(self.incoming, self._outgoing, application, counters)
        self._reset_next = config.reset_on_logon or resume is None
        self._reset_asked = False
        self.phase = CLOSED
        self.lost: str | None = None
        self._refusals = 0
        self._penalty = False
        self._now_ns = self._heard_ns = 0
        self._heartbeat_ns = config.heartbeat_s * fix.SECOND_NS
        self._deadline_ns: int | None = None  # of the answer to our Logon
        self._tested = False
        self._admin: dict[bytes, Callable[[Message], None]] = {
            fix.HEARTBEAT: application.on_heartbeat,
            fix.TEST_REQUEST: self._test_request,
            fix.RESEND_REQUEST: lambda _message: None,  # answered when it came, see _urgent
            fix.REJECT: self._rejected,
            fix.LOGON: lambda _message: None,
            fix.LOGOUT: lambda _message: None,
        }

    # ---- positions

    def positions(self) -> dict[str, int | str]:
        """Return the last number applied, and one of ours that is past any we sent since they were written.

        `missing`: up to where numbers are missing behind the last applied; 0 if none is.
        """
        missing = self.incoming.missing_to()
        return {"in": self.incoming.expected - 1, "out": self._outgoing.reserved(), "missing": missing}

    # ---- events

    def on_open(self, now_ns: int) -> None:
        """The socket is open: log on."""
        self._now_ns = self._heard_ns = now_ns
        self._framer = Framer()
        self._outgoing.connect(now_ns)
        self.phase, self.lost, self._tested = LOGGING_ON, None, False
        self._deadline_ns = now_ns + fix.LOGON_TIMEOUT_NS
        self._reset_asked = self._reset_next or self._repair.unanswered >= fix.UNANSWERED_CONNECTIONS
        if self._reset_asked:
            self._outgoing.restart()
        self.send(fix.LOGON, self._logon_body())

    def _logon_body(self) -> Body:
        config = self._config
        body: Body = [(fix.ENCRYPT_METHOD, 0), (fix.HEART_BT_INT, config.heartbeat_s)]
        if config.auth == RAW_DATA_AUTH:
            body += [(fix.RAW_DATA_LENGTH, len(config.password.encode())), (fix.RAW_DATA, config.password)]
        if self._reset_asked:
            body.append((fix.RESET_SEQ_NUM_FLAG, "Y"))
        if config.auth == USERNAME_AUTH:
            body += [(fix.USERNAME, config.username), (fix.PASSWORD, config.password)]
        if config.application_version is not None:
            body.append((fix.DEFAULT_APPL_VER_ID, config.application_version))
        return body

    def on_close(self) -> None:
        """The socket is gone, or could not be opened."""
        if self._penalty or (self.phase == LOGGING_ON and self.lost is None):
            self._refusals += 1
        self.phase, self._deadline_ns, self._penalty = CLOSED, None, False
        self._repair.disconnect(self._now_ns)

    def receive(self, data: bytes, now_ns: int) -> None:
        """Take what was read from the socket. `now_ns` becomes ts_recv of its rows."""
        self._now_ns = now_ns
        for frame in self._framer.feed(data):
            if self.lost is not None:
                return  # what follows comes again
            self._frame(frame)
        if self._framer.garbled:
            for garbled in self._framer.garbled:
                self._garbled(garbled)
            self._framer.garbled.clear()

    def to_send(self) -> list[bytes]:
        """Return the messages to send now, in order."""
        return self._outgoing.take()

    def send(self, msg_type: bytes, body: Body) -> int:
        """Send a message under our next number, and return that."""
        return self._outgoing.send(msg_type, body, self._now_ns)

    def logout(self, text: str) -> None:
        """Say good-bye, and have the connection closed."""
        if self.phase != CLOSED and self.lost is None:
            self.send(fix.LOGOUT, [(fix.TEXT, text)] if text else [])
            self._lose(text or "logged out")

    def next_timer_ns(self) -> int | None:
        """Return when `on_timer` has something to do; None if never."""
        if self.phase == CLOSED or self.lost is not None:
            return None
        due = [self._heard_ns + int(self._patience * self._heartbeat_ns)]
        if self._deadline_ns is not None:
            due.append(self._deadline_ns)
        if self.phase == LIVE:
            due.append(self._outgoing.sent_ns + self._heartbeat_ns)
        if self.incoming.resend is not None:
            due.append(self.incoming.resend.deadline_ns)
        return min(due)

    @property
    def _patience(self) -> float:
        return fix.DISCONNECT_AFTER if self._tested else fix.TEST_REQUEST_AFTER

    def on_timer(self, now_ns: int) -> None:
        """Keep the session alive, and give up what took too long."""
        self._now_ns = now_ns
        if self.phase == CLOSED or self.lost is not None:
            return
        if self._deadline_ns is not None and now_ns >= self._deadline_ns:
            self._lose("no answer to Logon")
        elif now_ns >= self._heard_ns + int(self._patience * self._heartbeat_ns):
            self._silent()
        elif self._repair.is_late(now_ns) and not self._repair.ask_again(now_ns):
            self._lose(f"no answer to ResendRequest from {self.incoming.expected}")
        if self.phase == LIVE and self.lost is None and now_ns >= self._outgoing.sent_ns + self._heartbeat_ns:
            self.send(fix.HEARTBEAT, [])

    @property
    def min_retry_s(self) -> float:
        """Least time before the next attempt to connect."""
        return min(fix.RETRY_CAP_S, fix.RETRY_S * 2.0 ** min(self._refusals - 1, 10)) if self._refusals else 0.0

    def _lose(self, reason: str, *, penalty: bool = False) -> None:
        self.lost = reason
        self._penalty = penalty or self.phase == LOGGING_ON

    def _silent(self) -> None:
        if self._tested or self.phase != LIVE:
            self._lose(f"nothing received for {fix.DISCONNECT_AFTER:g} heartbeat intervals")
            return
        self._tested = True
        self.send(fix.TEST_REQUEST, [(fix.TEST_REQ_ID, f"MANDI-{self._now_ns}")])

    # ---- what comes in

    def _frame(self, frame: Frame) -> None:
        begin_string, body = frame
        try:
            layout, values = self._fields.split(body)
        except DecodeError as bad:
            self._garbled(Garbled(bad.detail, body[:RAW_CHARACTERS], len(body)))
            return
        at = layout.at.get(fix.MSG_SEQ_NUM)
        if at is None or not values[at].isdigit() or len(values[at]) > 18:
            self.logout("MsgSeqNum is missing or no number")
            return
        message = Message(layout, values, int(values[at]), self._now_ns)
        self._heard_ns, self._tested = self._now_ns, False
        if self._is_ours(message, begin_string):
            self._accept(message)

    def _accept(self, message: Message) -> None:
        kind = message.type
        if self.phase != LIVE and kind != fix.LOGON and kind != fix.LOGOUT:
            self._lose(f"the first message is {kind.decode()}, no Logon")
        elif kind == fix.LOGON:
            self._logon(message)
        elif kind == fix.LOGOUT:
            self._logged_out(message)
        elif kind == fix.SEQUENCE_RESET and not message.flag(fix.GAP_FILL_FLAG):
            self._sequence_reset(message)
        else:
            if kind == fix.RESEND_REQUEST and not message.poss_dup and message.seq >= self.incoming.expected:
                self._answer_resend(message)  # now: waiting for our own hole to close would be a deadlock
            self._in_sequence(message)

    def _is_ours(self, message: Message, begin_string: bytes) -> bool:
        problem = self._header.problem(message, begin_string, self._now_ns)
        if problem is None:
            return True
        if problem.skew_ns:
            self._application.on_skew(problem.skew_ns, self._now_ns)
        if problem.fault is not None and not problem.logout:
            self._refuse(message, problem.fault)
        elif problem.fault is not None:
            self._reject(message, problem.fault)
        if problem.logout:
            self.logout(problem.logout)
        return False

    def _in_sequence(self, message: Message) -> None:
        incoming = self.incoming
        if message.seq == incoming.expected:
            self._consume(message)
            if incoming.held or incoming.gap is not None or incoming.resend is not None:
                self._go_on()
        elif message.seq > incoming.expected:
            self._too_high(message)
        elif self._reaches_on(message):
            self._gap_fill(message)
            self._go_on()
        elif message.poss_dup:
            self.counters["duplicates"] += 1
        else:
            self.counters["too_low"] += 1
            self.logout(f"MsgSeqNum too low, expecting {incoming.expected} but received {message.seq}")

    # A gap fill from where we were when we asked: what was held has brought us on, but it may fill the next hole too.
    def _reaches_on(self, message: Message) -> bool:
        following = message.get(fix.NEW_SEQ_NO) or b""
        is_fill = message.poss_dup and message.type == fix.SEQUENCE_RESET and self.incoming.gap is not None
        return is_fill and following.isdigit() and int(following[:18]) > self.incoming.expected

    def _consume(self, message: Message) -> None:
        if message.type == fix.SEQUENCE_RESET:
            self._gap_fill(message)
            return
        self.incoming.expected += 1
        if message.poss_dup and self.incoming.gap is not None:
            self.incoming.gap.recovered += 1
        fault = message.layout.check(message.values)
        if fault is None:
            handler = self._admin.get(message.type)
            if handler is not None:
                handler(message)
            elif message.type in MESSAGES:
                fault = self._application.on_message(message)
            else:
                self._unknown_type(message)
        else:
            self._application.on_refused(message, fault)
        if fault is not None:
            self._reject(message, fault)

    # What cannot be read is received all the same, if it is the next one: else it would be asked for for ever.
    def _refuse(self, message: Message, fault: Fault) -> None:
        self._reject(message, fault)
        if self.phase == LIVE and message.seq == self.incoming.expected:
            self.incoming.expected += 1
            self._application.on_refused(message, fault)
            self._go_on()

    def _unknown_type(self, message: Message) -> None:
        if message.type in UNSUPPORTED:
            self._application.on_refused(message, (fix.INVALID_MSG_TYPE, fix.MSG_TYPE))
            self.send(
                fix.BUSINESS_REJECT,
                [
                    (fix.REF_SEQ_NUM, message.seq),
                    (fix.REF_MSG_TYPE, message.type.decode("ascii", "replace")),
                    (fix.BUSINESS_REJECT_REASON, fix.UNSUPPORTED_MSG_TYPE),
                ],
            )
        else:
            fault = (fix.INVALID_MSG_TYPE, fix.MSG_TYPE)
            self._application.on_refused(message, fault)
            self._reject(message, fault)

    # ---- holes

    def _too_high(self, message: Message) -> None:
        incoming = self.incoming
        if message.seq > incoming.expected + fix.JUMP_MESSAGES:
            self._garbled(Garbled(f"MsgSeqNum {message.seq} after {incoming.expected - 1}", b"", 0))
            return
        if not incoming.hold(message):
            self.counters["held_dropped"] += 1
        self._repair.found(message.seq, "sequence_jump", self._now_ns)

    # Apply what is next, close the hole if it is filled, and see to the one behind it.
    def _go_on(self) -> None:
        incoming = self.incoming
        while (held := incoming.held.pop(incoming.expected, None)) is not None:
            self._consume(held)
        self._repair.progressed(self._now_ns)
        first = incoming.first_held()
        if first is not None and self.lost is None:
            self._repair.found(first, "sequence_jump", self._now_ns)

    def _gap_fill(self, message: Message) -> None:
        fault = message.layout.check(message.values)
        if fault is not None:
            self._reject(message, fault)
            return
        try:
            following = parse_count(message.get(fix.NEW_SEQ_NO))
        except ValueRefused:
            following = 0
        if following <= message.seq or following > message.seq + fix.JUMP_MESSAGES:
            self._reject(message, (fix.VALUE_INCORRECT, fix.NEW_SEQ_NO))
            return
        self._fill_to(following)

    # The venue will not send these again. Those of them that did come, and were held, count all the same.
    def _fill_to(self, following: int) -> None:
        incoming = self.incoming
        while incoming.expected < following:
            held = incoming.held.pop(incoming.expected, None)
            if held is not None and held.type != fix.SEQUENCE_RESET:
                self._consume(held)
            else:
                first = incoming.first_held()
                incoming.expected = following if first is None else min(first, following)

    def _sequence_reset(self, message: Message) -> None:
        incoming = self.incoming
        try:
            following = parse_count(message.get(fix.NEW_SEQ_NO))
        except ValueRefused:
            following = 0
        if following < incoming.expected or following > incoming.expected + fix.JUMP_MESSAGES:
            self._reject(message, (fix.VALUE_INCORRECT, fix.NEW_SEQ_NO))
            return
        if following > incoming.expected:
            gap = self._repair.give_up(following - 1, self._now_ns)
            self._fill_to(following)
            self._application.on_gap(gap, "snapshot", self._now_ns)
        self._go_on()

    # ---- admin messages

    def _logon(self, message: Message) -> None:
        if self.phase == LIVE:
            self._logon_again(message)
            return
        incoming = self.incoming
        their_reset = message.flag(fix.RESET_SEQ_NUM_FLAG)
        fresh = self._reset_asked or their_reset
        if not fresh and message.seq < incoming.expected:
            self._reset_next = True
            self.logout(f"MsgSeqNum too low, expecting {incoming.expected} but received {message.seq}")
            self._penalty = False  # the next log-on begins anew, which is no repetition
            return
        fault = message.layout.check(message.values)
        if fault is not None:
            self._reject(message, fault)
            self.logout("the Logon is not valid")
            return
        self.phase, self._deadline_ns, self._refusals = LIVE, None, 0
        self._penalty = False
        self._reset_next = self._config.reset_on_logon
        self._agree_heartbeat(message)
        expected = incoming.expected
        if fresh:
            self._repair.unanswered = 0
            self._repair.restart(1, self._now_ns)
        if message.seq > incoming.expected:
            incoming.hold(message)
            self._repair.found(message.seq, "reconnect", self._now_ns)
        elif message.seq == incoming.expected:
            incoming.expected += 1
            self._go_on()
        self._application.on_logon(self._now_ns, fresh=fresh, expected=expected)

    # 141=Y within a session: both sides count from 1 again, and the answer is a Logon.
    def _logon_again(self, message: Message) -> None:
        if not message.flag(fix.RESET_SEQ_NUM_FLAG):
            self._in_sequence(message)
            return
        expected = self.incoming.expected
        self._repair.restart(message.seq + 1, self._now_ns)
        self._outgoing.restart()
        self._reset_asked = True
        self.send(fix.LOGON, self._logon_body())
        self._application.on_logon(self._now_ns, fresh=True, expected=expected)

    def _agree_heartbeat(self, message: Message) -> None:
        text = message.get(fix.HEART_BT_INT) or b""
        if text.isdigit() and 0 < int(text[:6]) < 3600:
            self._heartbeat_ns = int(text) * fix.SECOND_NS

    def _logged_out(self, message: Message) -> None:
        text = message.text(fix.TEXT)[:_TEXT_CHARACTERS]
        if self.phase == LOGGING_ON:
            self._repair.unanswered = 0  # if it was to begin anew, that is what was refused
            expecting = _EXPECTING.search(text)
            if expecting is not None and int(expecting[1]) >= self._outgoing.following:
                self._outgoing.following = int(expecting[1])  # the venue counted on: not a refusal of who we are
                self.counters["out_corrected"] += 1
            self._lose(f"refused: {text or 'no reason given'}")
            self._penalty = expecting is None
            return
        if message.seq == self.incoming.expected:
            self.incoming.expected += 1
        self.send(fix.LOGOUT, [])
        self._lose(f"logged out by the venue: {text or 'no reason given'}")

    def _test_request(self, message: Message) -> None:
        self.send(fix.HEARTBEAT, [(fix.TEST_REQ_ID, message.text(fix.TEST_REQ_ID))])

    def _rejected(self, message: Message) -> None:
        self.counters["rejects_received"] += 1
        self._application.on_message(message)

    def _answer_resend(self, message: Message) -> None:
        try:
            first, last = parse_count(message.get(fix.BEGIN_SEQ_NO)), parse_count(message.get(fix.END_SEQ_NO))
        except ValueRefused:
            return  # rejected when it is consumed
        self._outgoing.resend(first, last, self._now_ns)

    def _reject(self, message: Message, fault: Fault) -> None:
        reason, tag = fault
        self.counters["rejects_sent"] += 1
        body: Body = [(fix.REF_SEQ_NUM, message.seq)]
        if tag:
            body.append((fix.REF_TAG_ID, tag))
        body.append((fix.REF_MSG_TYPE, message.type.decode("ascii", "replace")))
        body.append((fix.SESSION_REJECT_REASON, reason))
        self.send(fix.REJECT, body)

    def _garbled(self, garbled: Garbled) -> None:
        self.counters["garbled"] += 1
        self._application.on_garbled(garbled, self._now_ns)
