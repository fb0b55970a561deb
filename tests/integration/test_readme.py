"""What the README tells people to type works, on a real broker."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kafka_tools import with_kafka_tools
from tests.pages import the_block
from tests.scorers import Deployment


def at(deployment: Deployment, text: str) -> str:
    """Return the text with the deployment's address and topics instead of the defaults."""
    text = text.replace("localhost:9092", deployment.bootstrap)
    for topic, name in (("transactions", deployment.input_topic), ("fraud-scores", deployment.output_topic)):
        text = re.sub(rf'(--topic |"){topic}(?=[ "])', rf"\g<1>{name}", text)
    return text


@pytest.mark.broker
def test_kafkas_own_tools_send_a_payment_and_read_its_score(deployment: Deployment, tmp_path: Path) -> None:
    scorer = deployment.scorer()
    env = os.environ | {"PATH": with_kafka_tools(tmp_path)}
    typed = at(deployment, the_block("README.md", "kafka-console-producer.sh").text)
    ran = subprocess.run(["bash", "-euc", typed], env=env, capture_output=True, text=True, timeout=120, check=False)
    scorer.stop()

    assert ran.returncode == 0, ran.stderr
    score = json.loads(ran.stdout.splitlines()[-1])
    shown = json.loads(the_block("README.md", '"fraud_probability":0.').text)
    of_the_moment = {"fraud_probability", "lstm_score", "scored_at"}
    assert score.keys() == shown.keys()
    assert {name: score[name] for name in score.keys() - of_the_moment} == {
        name: shown[name] for name in shown.keys() - of_the_moment
    }
    assert shown["lstm_score"] == int(shown["fraud_probability"] * 100)


@pytest.mark.broker
def test_the_python_of_the_readme_sends_a_payment_and_reads_its_score(deployment: Deployment) -> None:
    scorer = deployment.scorer()
    program = at(deployment, the_block("README.md", "from confluent_kafka").text)
    program = program.replace('"alerts"', f'"alerts-{deployment.group_id}"')
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    scorer.stop()

    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r"anna 0\.\d+ (True|False)\n", ran.stdout)


def test_the_library_example_of_the_readme_runs() -> None:
    example = the_block("README.md", "LSTMFraudDetector").text
    ran = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=120, check=False)

    assert ran.returncode == 0, ran.stderr
    promised = re.findall(r"'(\w+)':", example.partition("# {")[2])
    assert re.findall(r"'(\w+)':", ran.stdout) == promised
    assert "'insufficient_history': False" in ran.stdout
