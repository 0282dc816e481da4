"""The log's writer: what a crash, a full disk, a second writer and time do to it."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from log_support import (
    NEVER,
    TP,
    append_json,
    finish,
    numbers,
    read_all,
    segments,
    start,
    until,
    url_of,
)

from connectors.log import open_reader
from market.records import JSON_KIND, TopicPartition
from market.segments import CorruptSegment
from sinks.errors import LogWriteFailed, WriterLocked
from sinks.group_commit import FsyncPolicy, SyncReport
from sinks.log import open_writer

OTHER = TopicPartition("ingest.positions")


def log_of(directory: Path, count: int, **more: object) -> Path:
    """Write `count` JSON records, and return the newest segment."""
    writer = open_writer(url_of(directory), fsync=NEVER, **more)  # type: ignore[arg-type]
    append_json(writer, count)
    writer.close()
    return segments(directory)[-1]


def content(directory: Path) -> list[int]:
    reader = open_reader(url_of(directory))
    try:
        return numbers(read_all(reader))
    finally:
        reader.close()


def test_truncation_at_every_byte_gives_the_exact_prefix(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = log_of(tmp_path, 4)
    whole = path.read_bytes()
    frame_bytes = len(whole) // 4
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        caplog.clear()
        writer = open_writer(url_of(tmp_path), fsync=NEVER)
        last = writer.last_record(TP)
        kept = cut // frame_bytes
        assert (last.offset + 1 if last else 0) == kept
        torn_bytes = cut % frame_bytes
        told = [record.getMessage() for record in caplog.records if record.name == "sinks.log"]
        assert [f"cut {torn_bytes} bytes" in text for text in told] == ([True] if torn_bytes else [])
        append_json(writer, 1, first=99)
        writer.close()
        assert content(tmp_path) == [*range(kept), 99]


def test_damage_in_the_middle_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = log_of(tmp_path, 4)
    whole = path.read_bytes()
    for at in range(3 * len(whole) // 4):
        damaged = whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :]
        path.write_bytes(damaged)
        writer = open_writer(url_of(tmp_path), fsync=NEVER)
        with pytest.raises(CorruptSegment, match="truncate -s") as caught:
            writer.append(TP, JSON_KIND, b"x")
        assert caught.value.position == at // (len(whole) // 4) * (len(whole) // 4)
        assert caught.value.path == str(path)
        writer.close()
        assert path.read_bytes() == damaged


def test_a_refused_partition_is_not_left_locked(tmp_path: Path) -> None:
    path = log_of(tmp_path, 3)
    whole = path.read_bytes()
    path.write_bytes(whole[:9] + b"\xff\xff" + whole[11:])
    writer = open_writer(url_of(tmp_path), fsync=NEVER)
    with pytest.raises(CorruptSegment):
        writer.last_record(TP)
    path.write_bytes(whole)
    assert writer.append(TP, JSON_KIND, b"3") == 3
    writer.close()


@pytest.mark.parametrize("tail", [bytes(1), bytes(5000), b"\xff" * 5000, b"\x40\0\0\0" + bytes(200)])
def test_garbage_behind_the_last_record_is_cut(tmp_path: Path, tail: bytes) -> None:
    path = log_of(tmp_path, 3)
    path.write_bytes(path.read_bytes() + tail)
    writer = open_writer(url_of(tmp_path), fsync=NEVER)
    append_json(writer, 1, first=3)
    writer.close()
    assert content(tmp_path) == [0, 1, 2, 3]


def test_segments_roll_and_the_newest_may_be_empty(tmp_path: Path) -> None:
    log_of(tmp_path, 10, segment_bytes=200)
    names = [path.stem for path in segments(tmp_path)]
    assert names == [f"{base:020d}" for base in (0, 3, 6, 9)]
    (segments(tmp_path)[-1].parent / f"{10:020d}.seg").touch()  # a crash right after the roll
    writer = open_writer(url_of(tmp_path), fsync=NEVER, segment_bytes=200)
    last = writer.last_record(TP)
    assert last is not None
    assert last.offset == 9
    append_json(writer, 5, first=10)
    writer.close()
    assert content(tmp_path) == list(range(15))


LOCKED = """
import sys
from market.records import TopicPartition
from sinks.errors import WriterLocked
from sinks.log import open_writer
try:
    open_writer(sys.argv[1]).last_record(TopicPartition("market.prices.gold"))
except WriterLocked as error:
    print(error.pid)
"""


def test_a_second_writer_is_told_who_has_the_lock(tmp_path: Path) -> None:
    first = open_writer(url_of(tmp_path))
    first.append(TP, JSON_KIND, b"0")
    assert finish(start(LOCKED, url_of(tmp_path))).strip() == str(os.getpid())
    second = open_writer(url_of(tmp_path))
    with pytest.raises(WriterLocked):  # in this process too
        second.append(TP, JSON_KIND, b"0")
    second.append(TopicPartition(TP.topic, 1), JSON_KIND, b"0")  # each partition has its own lock
    first.close()
    assert second.append(TP, JSON_KIND, b"1") == 1
    second.close()


CRASH = """
import sys
from market.records import TopicPartition
from sinks.group_commit import FsyncPolicy
from sinks.log import open_writer
writer = open_writer(sys.argv[1], fsync=FsyncPolicy(mode="always"))
for number in range(3):
    writer.append(TopicPartition("market.prices.gold"), "json", str(number).encode())
    writer.append(TopicPartition("ingest.positions"), "json", str(number).encode())
    writer.flush()
"""


@pytest.mark.parametrize(
    ("point", "data", "positions"),
    [("log.flush.before", 1, 1), ("log.flush.mid", 2, 1), ("log.sync.after", 2, 2), ("log.flush.after", 2, 2)],
)
def test_a_crash_at_each_commit_keeps_the_order_of_partitions(
    tmp_path: Path, point: str, data: int, positions: int
) -> None:
    process = start(CRASH, url_of(tmp_path), env={**os.environ, "MANDI_CRASH_AT": f"{point}:2"})
    process.communicate()
    assert process.returncode == 9
    reader = open_reader(url_of(tmp_path))
    assert (reader.end_offset(TP), reader.end_offset(OTHER)) == (data, positions)
    reader.close()


def observed(mode: str, max_delay_s: float = 0.010) -> tuple[FsyncPolicy, list[SyncReport]]:
    reports: list[SyncReport] = []
    return FsyncPolicy(mode=mode, max_delay_s=max_delay_s, on_sync=reports.append), reports  # type: ignore[arg-type]


def test_group_commit_starts_in_time_and_gathers(tmp_path: Path) -> None:
    policy, reports = observed("group", max_delay_s=0.2)  # wide, so that a busy machine does not fail it
    writer = open_writer(url_of(tmp_path), fsync=policy)
    append_json(writer, 50)
    until(lambda: reports)
    assert reports[0].delay_s < 0.2
    assert len(reports) < 50
    append_json(writer, 1, first=50)
    until(lambda: len(reports) > 1)
    writer.sync()
    count = len(reports)
    writer.sync()
    assert len(reports) == count, "nothing was written since: nothing to sync"
    writer.close()


def test_always_syncs_in_each_flush_and_never_in_none(tmp_path: Path) -> None:
    for mode, expected in (("always", 3), ("never", 0)):
        policy, reports = observed(mode)
        writer = open_writer(url_of(tmp_path / mode), fsync=policy)
        append_json(writer, 3)
        assert len(reports) == expected
        writer.append(TP, JSON_KIND, b"4")
        writer.sync()
        assert len(reports) == expected + 1
        writer.close()


def test_a_full_segment_is_synced_before_the_next_one_is_made(tmp_path: Path) -> None:
    made: list[int] = []
    policy = FsyncPolicy(mode="never", on_sync=lambda _: made.append(len(segments(tmp_path))))
    writer = open_writer(url_of(tmp_path), fsync=policy, segment_bytes=200)
    append_json(writer, 10)
    assert made == [1, 2, 3]
    writer.close()


FILE_TOO_LARGE = """
import resource, sys
from market.records import TopicPartition
from sinks.errors import LogWriteFailed
from sinks.log import open_writer
tp = TopicPartition("market.prices.gold")
writer = open_writer(sys.argv[1])
if sys.argv[2] != "none":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
acknowledged = 0
try:
    while True:
        writer.append(tp, "json", f"{acknowledged}".ljust(400, ".").encode())
        writer.sync()
        acknowledged += 1
except LogWriteFailed as error:
    print(acknowledged, str(error)[:60].replace(" ", "_"))
for call in (lambda: writer.append(tp, "json", b"0"), writer.flush, writer.sync, lambda: writer.last_record(tp),
             writer.close):
    try:
        call()
    except LogWriteFailed:
        print("refused")
writer.close()
"""


def check_stopped_at_once(directory: Path, process: "subprocess.Popen[str]") -> None:
    acknowledged, _, *refused = finish(process).split()
    assert refused == ["refused"] * 5
    found = content(directory)
    assert found[: int(acknowledged)] == list(range(int(acknowledged)))
    writer = open_writer(url_of(directory), fsync=NEVER)
    last = writer.last_record(TP)
    assert last is not None
    assert last.offset + 1 == len(found)
    writer.close()


def test_a_file_that_may_not_grow_ends_the_writer(tmp_path: Path) -> None:
    check_stopped_at_once(tmp_path, start(FILE_TOO_LARGE, url_of(tmp_path), 5000))


def test_a_full_disk_ends_the_writer_and_space_brings_it_back(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(100_000))
    process = start(FILE_TOO_LARGE, url_of(small_disk / "log"), "none")
    process.wait(timeout=30)
    (small_disk / "ballast").unlink()
    check_stopped_at_once(small_disk / "log", process)


def test_a_failed_fsync_is_final(tmp_path: Path) -> None:
    if shutil.which("strace") is None or sys.platform != "linux":
        pytest.skip("failing an fsync needs strace")
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=fdatasync"]
    command += ["-e", "inject=fdatasync:error=EIO:when=3", sys.executable, "-c", FILE_TOO_LARGE, url_of(tmp_path)]
    process = subprocess.Popen([*command, "none"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    check_stopped_at_once(tmp_path, process)


def test_a_failed_group_commit_is_raised_by_the_next_call(tmp_path: Path) -> None:
    writer = open_writer(url_of(tmp_path))
    append_json(writer, 1)
    writer.sync()
    writer._committer.written([10_000])  # a file that is not open: fdatasync fails in the thread
    until(lambda: writer._committer.failure)
    with pytest.raises(LogWriteFailed, match="Bad file descriptor"):
        writer.append(TP, JSON_KIND, b"1")
    with pytest.raises(LogWriteFailed):
        writer.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_sync_thread_does_not_go_unnoticed(tmp_path: Path) -> None:
    def fail(report: SyncReport) -> None:
        raise KeyError(report)

    writer = open_writer(url_of(tmp_path), fsync=FsyncPolicy(on_sync=fail))
    with pytest.raises(LogWriteFailed, match="has died"):
        until(lambda: append_json(writer, 1))
    with pytest.raises(LogWriteFailed):
        writer.close()


def test_a_cut_is_logged_as_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = log_of(tmp_path, 2)
    os.truncate(path, path.stat().st_size - 1)
    log_of(tmp_path, 1)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
