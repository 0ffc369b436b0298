"""Whatever fits the OpenAPI document is answered as it says, and nothing is answered by a fault of the server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragagent import Document
from ragagent.serve.http.limits import Limits

CALLS = int(os.environ.get("RAGAGENT_TEST_CALLS", "5"))
"""Examples of each operation; `MANY` of them make more than 5,000 calls."""
MANY = 200
_S_PER_EXAMPLE = 15
"""Seconds for one example of every operation, on a machine that has much else to do."""


@pytest.mark.timeout(600 + CALLS * _S_PER_EXAMPLE)
def test_generated_requests_get_what_the_document_says_and_no_fault(tmp_path: Path, serving: Any) -> None:
    # As many as are made wait; the orderly 503 of a full queue is tried in test_guard.py.
    limits = replace(Limits(), burst=1_000_000, requests_per_minute=1e9, runs_waiting=1_000_000, jobs_waiting=1_000_000)
    documents = [Document(uri=f"n:{n}", title=f"Mill {n}", text=f"The lease of mill {n} ends.") for n in range(20)]
    with serving(tmp_path / "kb", documents=documents, limits=limits) as served:
        program, address = Path(sys.executable).parent / "schemathesis", f"http://127.0.0.1:{served.port}/openapi.json"
        paths = served.client.get("/openapi.json").json()["paths"]
        checks = "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance"
        options = ["--phases", "fuzzing", "--max-examples", str(CALLS), "--checks", checks, "--request-timeout", "60"]
        done = subprocess.run(
            [program, "run", address, *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "NO_COLOR": "1",
                "SCHEMATHESIS_HOOKS": str(Path(__file__).with_name("schema_hooks.py")),
                "RAGAGENT_TEST_IDS": json.dumps(_there(served)),
            },
        )
    said = done.stdout + done.stderr
    print(said[-3000:])
    tested, made = (re.search(one, said) for one in (r"Tested:\s+(\d+)", r"Test cases:\s+(\d+) generated"))
    assert done.returncode == 0, said[-6000:]
    assert tested is not None
    assert made is not None
    assert int(tested[1]) == sum(map(len, paths.values())), "every operation of the document"
    assert int(made[1]) > (5000 if CALLS >= MANY else int(tested[1]))


def _there(served: Any) -> dict[str, list[str]]:
    """Ids of what is there, by the names of the parameters that take them."""
    post, documents = served.client.post, served.client.get("/api/documents").json()["documents"]
    uploaded = post("/api/uploads", files={"files": ("ferry.txt", b"The ferry leaves at seven.")}).json()["id"]
    served.job(uploaded)
    run = post("/api/agents", json={"task": "When does the lease end?"}).json()["id"]
    served.events("GET", f"/api/agents/{run}/events")
    conversations = [post("/api/conversations").json()["id"] for _ in range(8)]
    return {
        "model": [one["id"] for one in served.client.get("/v1/models").json()["data"]],
        "conversation": conversations,
        "document_id": [one["id"] for one in documents[:-2]],
        "removed_id": [served.client.delete(f"/api/documents/{one['id']}").json()["id"] for one in documents[-2:]],
        "job_id": [uploaded],
        "run_id": [run],
        "fact_id": [post("/api/memory", json={"text": f"The mill has number {n}."}).json()["id"] for n in range(8)],
        "conversation_id": conversations,
    }
