"""A batch on a Ray cluster of two nodes, one of which is lost on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest
from conftest import REPO
from test_batch_torture import folder, manifest, pictures_of, wait_for_rows  # noqa: F401

from batch.ledger import read_entries

ROWS = 80


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-ray.txt")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()


def run(folder, *options):  # noqa: F811
    command = [sys.executable, str(REPO / "face_reenactment.py"), "--batch", *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


def test_a_node_is_lost(folder, cluster):  # noqa: F811
    text, codes = manifest(ROWS)
    (folder / "serial.jsonl").write_text(text.replace('"out/', '"serial/'))
    (folder / "ray.jsonl").write_text(text.replace('"out/', '"ray/'))
    serial = run(folder, "serial.jsonl", "--workers", "1")
    _, error = serial.communicate(timeout=600)
    assert (serial.returncode, error) == (1, "")

    lost = cluster.add_node(num_cpus=1)
    ledger = folder / "ray.ledger.jsonl"
    many = run(folder, "ray.jsonl", "--ray", cluster.address)
    wait_for_rows(many, ledger, ROWS // 5)
    cluster.remove_node(lost, allow_graceful=False)
    _, error = many.communicate(timeout=600)
    assert many.returncode == 1, error

    entries = list(read_entries(ledger))
    assert Counter(entry["row"] for entry in entries) == dict.fromkeys(codes, 1)
    assert {entry["row"]: entry["code"] for entry in entries} == codes
    assert pictures_of(folder / "ray") == pictures_of(folder / "serial")
