"""Kafka's jars, fetched once by Maven, and the Java that runs them."""

import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

KAFKA = Path(__file__).parent / "kafka"
_OLDEST_JAVA = 17  # of Kafka 4.1's broker
_HOW_TO_GET_KAFKA = "start Docker, or install Java and Maven (apt-get install default-jre-headless maven)"


class PartMissingError(RuntimeError):
    """This machine has no real Kafka or Redis to test with; the message says what to install."""


def find_java() -> str:
    """Return the ``java`` on PATH.

    Raises:
        PartMissingError: there is none, or it is too old for Kafka.
    """
    java = shutil.which("java")
    if java is None:
        raise PartMissingError(f"there is no Java to run Kafka: {_HOW_TO_GET_KAFKA}")
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < _OLDEST_JAVA:
        first_line = told.partition("\n")[0]
        raise PartMissingError(f"Kafka needs Java {_OLDEST_JAVA} or newer, {java} is {first_line}: {_HOW_TO_GET_KAFKA}")
    return java


def kafka_jars() -> Path:
    """Return the folder with the jars that ``tests/kafka/pom.xml`` pins; see :func:`jars_of`."""
    return jars_of(KAFKA / "pom.xml")


def jars_of(pom: Path) -> Path:
    """Return the folder with the jars that a pom pins, in ``libs`` beside it; fetch them on first use.

    The folder's name is the pom's digest and it appears whole or not at all: a broken download is made again, and a
    changed pin is a new folder.

    Raises:
        PartMissingError: the jars are not here and Maven is missing or failed.
    """
    jars = pom.parent / "libs" / hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise PartMissingError(f"the jars of {pom} are not here, nor is Maven to fetch them: {_HOW_TO_GET_KAFKA}")
    jars.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix="fetching-") as scratch:
        fetched = Path(scratch) / "jars"
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fetched}"]
        maven_run = subprocess.run([maven, "-q", "-B", "-f", pom, *goal], capture_output=True, text=True, check=False)
        if maven_run.returncode != 0:
            raise PartMissingError(f"Maven could not fetch the jars of {pom}:\n{maven_run.stdout[-2000:]}")
        try:
            fetched.replace(jars)
        except OSError:
            if not jars.is_dir():  # else another run was faster
                raise
    return jars
