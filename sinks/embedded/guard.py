"""Refuse SQL that reaches outside of the database: files, other hosts, programs.

The engine runs inside our process with our rights, and unlike a ClickHouse server it confines `file()` to no
directory. So what comes over HTTP is read token by token first, and refused (error 497 ACCESS_DENIED) when it

- calls a table function that is not on the list of harmless ones (a new function of a newer engine is refused
  until somebody has looked at it), or one of the scalar functions that read files or call services;
- creates a table or database with an engine that is not on the list, a dictionary with a source, or a disk;
- writes or reads files by clause: INTO OUTFILE, FROM INFILE, BACKUP, RESTORE, ATTACH, COPY;
- stops the server, or holds several statements.

This is a guard against accidents and simple abuse by somebody who may query the store, not a sandbox: whoever
must not read the machine's files must not get the port.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from sinks.embedded.sqltext import Token, tokens

HARMLESS_TABLE_FUNCTIONS: Final = frozenset(
    {
        *("dictionary", "format", "generaterandom", "generateseries", "generate_series", "input", "merge"),
        *("mergetreeanalyzeindexes", "mergetreeindex", "mergetreeprojection", "null", "numbers", "numbers_mt"),
        *("primes", "sqlstandardvalues", "values", "view", "viewexplain", "viewifpermitted", "zeros", "zeros_mt"),
    }
)

# Known at the time of writing; the running engine adds its own list (see `refused_functions`).
_REACHING_OUT: Final = frozenset(
    {
        *("azureblobstorage", "bigquery", "cluster", "clusterallreplicas", "deltalake", "deltalakelocal", "eval"),
        *("executable", "file", "filecluster", "filesystem", "gcs", "hdfs", "hudi", "iceberg", "iceberglocal"),
        *("jdbc", "loop", "mongodb", "mysql", "odbc", "oss", "cosn", "paimon", "paimonlocal", "postgresql"),
        *("python", "redis", "remote", "remotesecure", "s3", "s3cluster", "sqlite", "url", "urlcluster", "ytsaurus"),
        *("aiclassify", "aiembed", "aiextract", "aifilter", "aigenerate", "airedact", "aisimilarity", "aitranslate"),
        *("catboostevaluate", "arrowstream", "prometheusquery", "fuzzquery"),
    }
)

_HARMLESS_ENGINES: Final = frozenset(
    {
        *("atomic", "memory", "log", "tinylog", "stripelog", "null", "set", "join", "buffer", "merge", "view"),
        *("materializedview", "generaterandom", "mergetree", "replacingmergetree", "summingmergetree"),
        *("aggregatingmergetree", "collapsingmergetree", "versionedcollapsingmergetree", "coalescingmergetree"),
    }
)

_REACHING_ENGINES: Final = _REACHING_OUT | frozenset(
    {
        *("alias", "azurequeue", "backup", "datalakecatalog", "dictionary", "distributed", "executablepool"),
        *("embeddedrocksdb", "filelog", "fuzzjson", "kafka", "keepermap", "materializedpostgresql", "nats", "overlay"),
        *("ordinary", "queryrunner", "rabbitmq", "replicated", "s3queue", "timeseries"),
    }
)

_REFUSED_STATEMENTS: Final = frozenset({"backup", "restore", "attach", "copy", "execute"})
_REFUSED_SYSTEM: Final = frozenset({"shutdown", "kill", "suspend"})
_REFUSED_PAIRS: Final = frozenset({("into", "outfile"), ("from", "infile"), ("parallel", "with")})


class Refused(PermissionError):
    """The statement is refused; `what` names the part of it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not allowed over HTTP: this server only reads and writes its own tables")
        self.what = what


class SeveralStatements(ValueError):
    """More than one statement in a request; ClickHouse's HTTP interface has the same rule."""

    def __init__(self) -> None:
        super().__init__("Multi-statements are not allowed")


def refused_functions(table_functions: Iterable[str]) -> frozenset[str]:
    """The functions to refuse, given the names of the engine's table functions."""
    return _REACHING_OUT | {name.lower() for name in table_functions} - HARMLESS_TABLE_FUNCTIONS


def check(sql: str, refused: frozenset[str] = _REACHING_OUT) -> None:
    """Return if `sql` may run. Raises: Refused, SeveralStatements, UnreadableSql.

    Example:
        >>> check("SELECT 'file(' AS x -- url('http://...')")
        >>> check("SELECT * FROM /* */ `file` ('/etc/passwd')")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        sinks.embedded.guard.Refused: file() is not allowed over HTTP: ...
    """
    found = list(tokens(sql))
    while found and found[-1].text == ";":
        found.pop()
    if any(token.text == ";" for token in found):
        raise SeveralStatements
    _check_statement(found)
    creates = any(token.is_word(word) for token in found for word in ("create", "replace", "alter"))
    for before, token in pairwise(found):
        _check_pair(before, token, refused)
    if creates:
        _check_engines(found)


def check_values(data: str, refused: frozenset[str] = _REACHING_OUT) -> None:
    """Return if the data of an INSERT ... VALUES may be read: its values are expressions, which may call functions.

    Raises: Refused, UnreadableSql.
    """
    for before, token in pairwise(tokens(data)):
        _check_pair(before, token, refused)


def _check_statement(found: Sequence[Token]) -> None:
    words = [token.text.lower() for token in found[:2]]
    if words and words[0] in _REFUSED_STATEMENTS:
        raise Refused(words[0].upper())
    if words[:1] == ["system"] and words[1:] and words[1] in _REFUSED_SYSTEM:
        raise Refused(" ".join(words).upper())


def _check_pair(before: Token, token: Token, refused: frozenset[str]) -> None:
    if before.kind not in ("word", "quoted"):
        return
    if token.text == "(" and before.name in refused:
        raise Refused(f"{before.name}()")
    if token.text == "(" and before.is_word("disk"):
        raise Refused("disk()")
    if (before.name, token.name) in _REFUSED_PAIRS and before.kind == token.kind == "word":
        raise Refused(f"{before.text} {token.text}".upper())


def _check_engines(found: Sequence[Token]) -> None:
    """In statements that create: every ENGINE [=] name, and every SOURCE(name of a dictionary."""
    for at, token in enumerate(found):
        after = [each for each in found[at + 1 : at + 3] if each.text not in ("=", "(")]
        if not after or after[0].kind not in ("word", "quoted"):
            continue
        name = after[0].name
        # Without `=` it may be a column: refuse only what is known as an engine.
        known = found[at + 1].text == "=" or name in _REACHING_ENGINES
        if token.is_word("engine") and known and name not in _HARMLESS_ENGINES:
            raise Refused(f"ENGINE = {after[0].text}")
        if token.is_word("source") and found[at + 1].text == "(" and name not in ("null", "clickhouse"):
            raise Refused(f"SOURCE({after[0].text})")
