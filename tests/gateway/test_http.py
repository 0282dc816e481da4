"""Targets, files and headers of plain HTTP, without a socket."""

import gzip
import os
from pathlib import Path

import pytest

from gateway.errors import HttpError
from gateway.http import Bundle, Reply, as_response, host_name, parse_target, same_host


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    (tmp_path / "secret.txt").write_text("secret")
    root = tmp_path / "dist"
    (root / "assets").mkdir(parents=True)
    (root / "index.html").write_text("<p>desk</p>")
    (root / "favicon.svg").write_text("<svg/>")
    (root / "assets" / "index-DiwrgTda.js").write_text("let a = 1;")
    (root / "assets" / "link.txt").symlink_to(tmp_path / "secret.txt")
    return Bundle(root)


def test_the_page_is_always_asked_for_again_and_hashed_assets_never(bundle: Bundle) -> None:
    page = bundle.reply("/")
    assert (page.body, page.content_type) == (b"<p>desk</p>", "text/html; charset=utf-8")
    assert page.headers["Cache-Control"] == "no-cache"
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    script = bundle.reply("/assets/index-DiwrgTda.js")
    assert script.content_type == "text/javascript; charset=utf-8"
    assert script.headers["Cache-Control"].endswith("immutable")
    assert bundle.reply("/favicon.svg").headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    ["/../secret.txt", "/assets/../../secret.txt", "//etc/passwd", "/assets/link.txt", "/assets", "/" + "a" * 5_000],
)
def test_nothing_outside_the_bundle_can_be_read(bundle: Bundle, path: str) -> None:
    with pytest.raises(HttpError) as caught:
        bundle.reply(path)
    assert caught.value.status == 404


def test_a_changed_file_is_read_again(bundle: Bundle, tmp_path: Path) -> None:
    bundle.reply("/")
    page = tmp_path / "dist" / "index.html"
    before_ns = page.stat().st_mtime_ns
    page.write_text("<p>new</p>")
    if page.stat().st_mtime_ns == before_ns:  # a coarse file clock
        os.utime(page, ns=(before_ns + 1, before_ns + 1))
    assert bundle.reply("/").body == b"<p>new</p>"


def test_without_a_bundle_the_page_says_what_to_do() -> None:
    page = Bundle(None).reply("/")
    assert page.status == 503
    assert b"make setup" in page.body


def test_targets_are_decoded_once_and_checked() -> None:
    target = parse_target("/v1/bars?instrument=XCEC%3AGC%3A202612&limit=5")
    assert (target.path, target.parameters) == ("/v1/bars", {"instrument": "XCEC:GC:202612", "limit": "5"})
    assert parse_target("/%252e%252e/x").path == "/%2e%2e/x"
    for raw in ("/a?x=1&x=2", "/%00", "http//x", "/%ff", "/?" + "&".join(f"a{n}=" for n in range(99))):
        with pytest.raises(HttpError) as caught:
            parse_target(raw)
        assert caught.value.status == 400


def test_a_head_has_the_headers_of_the_get_and_no_body() -> None:
    reply = Reply(body=b"x" * 5_000, content_type="text/plain")
    get, head = (as_response(reply, head=head, accepts_gzip=False) for head in (False, True))
    assert (len(get.body), head.body) == (5_000, b"")
    assert head.headers["Content-Length"] == "5000"
    assert "Access-Control-Allow-Origin" not in get.headers


def test_text_is_compressed_for_who_takes_it() -> None:
    response = as_response(Reply(body=b"[1]" * 1_000), head=False, accepts_gzip=True)
    assert response.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(response.body) == b"[1]" * 1_000
    assert int(response.headers["Content-Length"]) == len(response.body)
    picture = as_response(Reply(body=b"x" * 5_000, content_type="image/png"), head=False, accepts_gzip=True)
    assert "Content-Encoding" not in picture.headers


def test_hosts_are_compared_with_their_port() -> None:
    assert same_host("http://127.0.0.1:8080", "127.0.0.1:8080")
    assert not same_host("http://127.0.0.1:9090", "127.0.0.1:8080")
    assert not same_host("null", "127.0.0.1:8080")
    assert not same_host("null", "")
    assert not same_host("http://[", "[")
    assert [host_name(host) for host in ("localhost:8080", "[::1]:1", "Evil.example")] == [
        "localhost",
        "::1",
        "evil.example",
    ]
