"""Tags, message types and limits of FIX. Source: FIX 4.4 specification with errata 2003-06-18; FIXT 1.1."""

from typing import Final

SOH: Final = b"\x01"

BEGIN_SEQ_NO: Final = 7
END_SEQ_NO: Final = 16
MSG_SEQ_NUM: Final = 34
MSG_TYPE: Final = 35
NEW_SEQ_NO: Final = 36
POSS_DUP_FLAG: Final = 43
REF_SEQ_NUM: Final = 45
SENDER_COMP_ID: Final = 49
SENDING_TIME: Final = 52
TARGET_COMP_ID: Final = 56
TEXT: Final = 58
RAW_DATA_LENGTH: Final = 95
RAW_DATA: Final = 96
ENCRYPT_METHOD: Final = 98
HEART_BT_INT: Final = 108
TEST_REQ_ID: Final = 112
ORIG_SENDING_TIME: Final = 122
GAP_FILL_FLAG: Final = 123
RESET_SEQ_NUM_FLAG: Final = 141
LAST_MSG_SEQ_NUM_PROCESSED: Final = 369
REF_TAG_ID: Final = 371
REF_MSG_TYPE: Final = 372
SESSION_REJECT_REASON: Final = 373
BUSINESS_REJECT_REASON: Final = 380
USERNAME: Final = 553
PASSWORD: Final = 554
DEFAULT_APPL_VER_ID: Final = 1137

HEARTBEAT: Final = b"0"
TEST_REQUEST: Final = b"1"
RESEND_REQUEST: Final = b"2"
REJECT: Final = b"3"
SEQUENCE_RESET: Final = b"4"
LOGOUT: Final = b"5"
LOGON: Final = b"A"
BUSINESS_REJECT: Final = b"j"
ADMIN: Final = frozenset((HEARTBEAT, TEST_REQUEST, RESEND_REQUEST, REJECT, SEQUENCE_RESET, LOGOUT, LOGON))

# Values of SessionRejectReason (373).
INVALID_TAG: Final = 0
REQUIRED_TAG_MISSING: Final = 1
TAG_NOT_DEFINED: Final = 2
NO_VALUE: Final = 4
VALUE_INCORRECT: Final = 5
BAD_FORMAT: Final = 6
COMP_ID_PROBLEM: Final = 9
SENDING_TIME_ACCURACY: Final = 10
INVALID_MSG_TYPE: Final = 11
DUPLICATE_TAG: Final = 13
TAG_OUT_OF_ORDER: Final = 14
GROUP_OUT_OF_ORDER: Final = 15
GROUP_COUNT: Final = 16

UNSUPPORTED_MSG_TYPE: Final = 3  # of BusinessRejectReason (380)

SECOND_NS: Final = 1_000_000_000
SENDING_TIME_LIMIT_NS: Final = 120 * SECOND_NS  # QuickFIX's default, MaxLatency
TEST_REQUEST_AFTER: Final = 1.2  # times HeartBtInt without a message; QuickFIX's constants
DISCONNECT_AFTER: Final = 2.4
LOGON_TIMEOUT_NS: Final = 10 * SECOND_NS  # QuickFIX's default
LOGOUT_TIMEOUT_NS: Final = 2 * SECOND_NS  # QuickFIX's default
RESEND_TIMEOUT_NS: Final = 5 * SECOND_NS  # our choice: without progress
RESEND_ATTEMPTS: Final = 3  # then the connection is given up, and the next one asks again
UNANSWERED_CONNECTIONS: Final = 2  # then the next begins anew: live data is worth more than the hole

RETRY_S: Final = 5.0  # our choice: a refused log-on must not become a hot loop; doubles with each refusal
RETRY_CAP_S: Final = 60.0

MAX_BODY_BYTES: Final = 1 << 16  # our choice: a longer one is a lie that would swallow what follows
HELD_MESSAGES: Final = 100_000  # kept past a hole; the resend brings again what does not fit
SENT_MESSAGES: Final = 10_000  # of ours kept for a resend; an application sends some dozen
JUMP_MESSAGES: Final = 100_000_000  # a number further ahead is damage, not loss

OUT_BLOCK: Final = 1_000
"""Our own numbers are reserved in blocks of this many, because a restart may be from positions some messages old.
A number too high costs the venue one ResendRequest; one too low ends the session."""
