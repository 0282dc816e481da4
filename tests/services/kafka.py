"""A real Apache Kafka broker: one node that is broker and controller (KRaft), from its published jars, on Java 17."""

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sinks.embedded.processes import free_port
from tests.services.base import HERE, LOOPBACK, Missing, Server, answers, fetch, launch, package, tool

_POM: Final = HERE / "kafka.xml"
_LEAST_JAVA: Final = 17
_CLUSTER_ID: Final = "bWFuZGktdGVzdC1rYWZrYQ"
# A small heap and only the quick compiler: a test's broker lives a minute, and starts in 2.5 s this way.
_JVM: Final = ("-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
_PROPERTIES: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "auto.create.topics.enable": "false",
    # A killed broker may come back under its name once its session has ended: 9 s by default.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    "log.retention.check.interval.ms": "1000",
    "num.network.threads": "2",
    "num.io.threads": "4",
}


def jars() -> Path:
    """Return the directory of the broker's jars, fetched by the first call. Raises: Missing."""
    java = tool("java", "install a Java 17 runtime (Debian: openjdk-17-jre-headless)")
    if _java_version(java) < _LEAST_JAVA:
        raise Missing(f"Kafka 4 needs Java {_LEAST_JAVA}, and {java} is version {_java_version(java)}")
    version = hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]
    with package(f"kafka-{version}") as (target, part):
        if part is not None:
            maven = tool("mvn", "install Maven (Debian: maven); it fetches the jars of the broker")
            shutil.copy(_POM, part / "pom.xml")
            goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={part}"]
            fetch("the jars of Kafka", [maven, "-B", "-q", *goal], part)
    return target


def _java_version(java: str) -> int:
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    words = said.split('"')
    number = words[1].split(".")[0] if len(words) > 1 else "0"
    return int(number) if number.isdigit() else 0


def prepare(directory: Path, changes: Mapping[str, str] | None = None) -> tuple[list[str], int]:
    """Format a broker's directory; return the command that runs it, again and again, and its port.

    `changes` are settings of the broker. Raises: Missing.
    """
    command = ["java", "-cp", f"{jars()}/*"]
    port, controller = free_port(), free_port()
    listeners = f"PLAINTEXT://{LOOPBACK}:{port}"
    properties = _PROPERTIES | {
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
        "listeners": f"{listeners},CONTROLLER://{LOOPBACK}:{controller}",
        "advertised.listeners": listeners,
        "log.dirs": str(directory / "data"),
        **(changes or {}),
    }
    config = directory / "server.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    form = [*command, "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(config), "--ignore-formatted"]
    done = subprocess.run(form, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Missing(f"the broker's directory cannot be formatted: {done.stderr[-400:]}")
    return [command[0], *_JVM, *command[1:], "kafka.Kafka", str(config)], port


def run(command: list[str], directory: Path, port: int) -> Server:
    """Start a prepared broker. Raises: Missing."""
    url = f"kafka://{LOOPBACK}:{port}"
    return launch("kafka", command, directory, port=port, url=url, ready=lambda: answers(port))


def start(directory: Path) -> Server:
    """Start a broker with an empty log. Raises: Missing."""
    command, port = prepare(directory)
    return run(command, directory, port)
