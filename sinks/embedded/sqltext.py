"""Read ClickHouse SQL as the engine's own lexer does: tokens, the FORMAT clause, where inline data begins.

Works on bytes decoded as latin-1, so that positions are byte positions and any bytes can be read. What it cannot
read the engine cannot either, with one difference on the safe side: bytes above 0x7F outside of quotes are
skipped as white space (the engine skips some and rejects the others).

Source: ClickHouse src/Parsers/Lexer.cpp; checked against chDB 26.9 on 2026-11-21: `//`, `#!` and `# ` begin
    comments, comments do not nest, a line ends at LF only, typographic quotes quote.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["word", "quoted", "string", "number", "symbol"]

_TOKEN: Final = re.compile(
    r"""
    (?P<skip>   [\s\x00-\x20\x7f-\xe1\xe3-\xff]+ | \xe2(?!\x80[\x98\x9c])
              | --[^\n]* | //[^\n]* | \#[!\ ][^\n]* | /\*.*?\*/ )
  | (?P<word>   [A-Za-z_][A-Za-z0-9_]* )
  | (?P<number> [0-9][A-Za-z0-9_]* (?:\.[A-Za-z0-9_]+)? )
  | (?P<string> '(?:[^'\\]|\\.|'')*' | \xe2\x80\x98.*?\xe2\x80\x99 | \$(?P<tag>[A-Za-z0-9_]*)\$.*?\$(?P=tag)\$ )
  | (?P<quoted> "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*` | \xe2\x80\x9c.*?\xe2\x80\x9d )
  | (?P<symbol> [^'"`$] )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\x([0-9A-Fa-f]{2})|\\(.)", re.DOTALL)


class UnreadableSql(ValueError):
    """The text has no reading as tokens: an open quote or comment, or a stray `$`, at `position`."""

    def __init__(self, position: int) -> None:
        super().__init__(f"unrecognized token at position {position + 1}")
        self.position = position


@dataclass(frozen=True, slots=True)
class Token:
    """One token. `text` is as written; `name` is lower-case and unquoted, for comparisons."""

    kind: Kind
    text: str
    start: int
    end: int

    @property
    def name(self) -> str:
        if self.kind != "quoted":
            return self.text.lower()
        inner = self.text[3:-3] if self.text[0] == "\xe2" else self.text[1:-1]
        return _ESCAPE.sub(_unescape, inner).lower()

    def is_word(self, word: str) -> bool:
        return self.kind == "word" and self.text.lower() == word


def _unescape(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else match[2]


def tokens(sql: str) -> Iterator[Token]:
    """Yield the tokens of `sql`. Raises: UnreadableSql."""
    position = 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        if match is None or (sql.startswith("/*", position) and match["skip"] is None):
            raise UnreadableSql(position)
        if match["string"] and match["string"][0] == "$" and position and re.match(r"[\w$.]", sql[position - 1]):
            raise UnreadableSql(position)  # `a$$`: the engine may read one word where a heredoc seems to begin
        position = match.end()
        if match["skip"] is None:
            kind: Kind = match.lastgroup if match.lastgroup != "tag" else "string"  # type: ignore[assignment]
            yield Token(kind, match[0], match.start(), match.end())


@dataclass(frozen=True, slots=True, kw_only=True)
class Insert:
    """An INSERT with data after it: the statement without FORMAT or VALUES, the format, where the data begins."""

    sql: str
    format: str
    data_start: int


def find_insert(text: str) -> Insert | None:
    """Return the data-carrying INSERT that `text` begins with, or None if it is another statement.

    The text after `data_start` is not read, so it may be anything. `data_start` is the end of the text when
    the data is elsewhere. Raises: UnreadableSql.
    """
    depth = 0
    seen: list[Token] = []
    for token in tokens(text):
        if not seen and not token.is_word("insert"):
            return None
        if depth == 0 and seen and seen[-1].is_word("format") and len(seen) > 2:
            return _insert_with_format(text, seen[-1], token)
        if depth == 0 and token.is_word("values"):
            return Insert(sql=text[: token.start], format="Values", data_start=token.end)
        if depth == 0 and token.kind == "word" and token.text.lower() in ("select", "with", "from", "watch"):
            return None
        if token.text == ";" and depth == 0:
            break
        depth += (token.text == "(") - (token.text == ")")
        seen.append(token)
    end = seen[-1].end if seen else 0
    return Insert(sql=text[:end], format="Values", data_start=len(text)) if seen else None


def _insert_with_format(text: str, keyword: Token, name: Token) -> Insert:
    # After the name come blanks, at most one ; and one line end, then the data (ParserInsertQuery.cpp).
    after = re.compile(r"[ \t\f]*;?[ \t\f]*\r?\n?").match(text, name.end)
    assert after is not None
    return Insert(sql=text[: keyword.start], format=name.text, data_start=after.end())


def split_format(text: str) -> tuple[str, str | None]:
    """Cut the outermost `FORMAT name` out of a query; return the rest and the name, None if there is none."""
    depth = 0
    found: tuple[Token, Token] | None = None
    before: Token | None = None
    last = 0
    for token in tokens(text):
        if token.text == ";" and depth == 0:
            break
        if depth == 0 and before is not None and before.is_word("format") and token.kind == "word":
            found = (before, token)
        depth += (token.text == "(") - (token.text == ")")
        before, last = token, token.end
    if found is None:
        return text[:last], None
    keyword, name = found
    return text[: keyword.start] + " " + text[name.end : last], name.text


def statements(text: str) -> list[str]:
    """Split a script at its semicolons; comments between statements are dropped. Raises: UnreadableSql."""
    found: list[str] = []
    start: int | None = None
    end = 0
    for token in tokens(text):
        if token.text == ";":
            if start is not None:
                found.append(text[start:end])
            start = None
            continue
        start = token.start if start is None else start
        end = token.end
    if start is not None:
        found.append(text[start:end])
    return found


def quote(value: str) -> str:
    """SQL literal of a string."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_name(name: str) -> str:
    """SQL identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
