"""Let one system user reach a directory, without opening it to anybody else.

PostgreSQL refuses to run as root, so under root it runs as a system user of its own, which must be able to
walk down to the data directory and to the binaries. Often it cannot: /root is 0700. The wheel's own answer is
to make every parent readable for everybody (`chmod go+rx /root`), which publishes the home directory of root.
Here the one user gets search permission (x: pass through, no listing) by a POSIX access control list.
"""

import errno
import os
import stat
import struct
from pathlib import Path
from typing import Final

from sinks.errors import EmbeddedServerError

_ACL_XATTR: Final = "system.posix_acl_access"
_VERSION: Final = struct.pack("<I", 2)  # linux/posix_acl_xattr.h
_ENTRY: Final = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID: Final = 0xFFFFFFFF
_SEARCH: Final = 0o1


def can_search(directory: Path, uid: int) -> bool:
    """Whether the user `uid`, member of no group of the directory, may pass through `directory`."""
    mode = directory.stat()
    if mode.st_uid == uid:
        return bool(mode.st_mode & stat.S_IXUSR)
    return bool(mode.st_mode & stat.S_IXOTH) or _listed(directory, uid)


def _listed(directory: Path, uid: int) -> bool:
    entries = _read_acl(directory)
    mask = next((perm for tag, perm, _ in entries if tag == _MASK), 0o7)
    return any(tag == _USER and who == uid and perm & mask & _SEARCH for tag, perm, who in entries)


def grant_search(path: Path, uid: int, server: str) -> list[Path]:
    """Let `uid` pass through every parent of `path`; return the directories that had to be changed.

    Raises: EmbeddedServerError where the file system has no access control lists.
    """
    changed = []
    for parent in reversed(path.resolve().parents):
        if not can_search(parent, uid):
            _add_search(parent, uid, server)
            changed.append(parent)
    return changed


def _add_search(directory: Path, uid: int, server: str) -> None:
    entries = [entry for entry in _read_acl(directory) if entry[0] != _MASK and entry[::2] != (_USER, uid)]
    entries.append((_USER, _SEARCH, uid))
    mask = 0
    for tag, perm, _ in entries:
        if tag in (_USER, _GROUP_OBJ, _GROUP):
            mask |= perm
    entries.append((_MASK, mask, _NO_ID))
    packed = _VERSION + b"".join(_ENTRY.pack(*entry) for entry in sorted(entries, key=lambda e: (e[0], e[2])))
    try:
        os.setxattr(directory, _ACL_XATTR, packed)
    except OSError as error:
        raise EmbeddedServerError(
            server,
            f"its system user may not pass through {directory} ({error.strerror})",
            f"choose a --data-dir outside of it, run `chmod o+x {directory}`, or do not run as root",
        ) from error


def _read_acl(directory: Path) -> list[tuple[int, int, int]]:
    """Entries (tag, permissions, id) of the list, or the three that the file mode stands for."""
    try:
        packed = os.getxattr(directory, _ACL_XATTR)
    except (OSError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENODATA, errno.ENOTSUP):
            raise
        mode = directory.stat().st_mode
        return [
            (_USER_OBJ, mode >> 6 & 7, _NO_ID),
            (_GROUP_OBJ, mode >> 3 & 7, _NO_ID),
            (_OTHER, mode & 7, _NO_ID),
        ]
    body = packed[len(_VERSION) :]
    return [_ENTRY.unpack_from(body, at) for at in range(0, len(body), _ENTRY.size)]
