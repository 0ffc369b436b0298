"""Whatever fits the OpenAPI document is answered as it says, and nothing is answered by a fault of the server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from ragagent import Document
from ragagent.serve.http.limits import Limits

CALLS = int(os.environ.get("RAGAGENT_TEST_CALLS", "5"))
"""Examples of each operation; 400 make more than 5,000 calls."""


def test_generated_requests_get_what_the_document_says_and_no_fault(tmp_path: Path, serving: Any) -> None:
    # As many as are made wait; the orderly 503 of a full queue is tried in test_guard.py.
    limits = replace(Limits(), burst=1_000_000, requests_per_minute=1e9, runs_waiting=1_000_000, jobs_waiting=1_000_000)
    documents = [Document(uri=f"n:{n}", title=f"Mill {n}", text=f"The lease of mill {n} ends.") for n in range(5)]
    with serving(tmp_path / "kb", documents=documents, limits=limits) as served:
        program, address = Path(sys.executable).parent / "schemathesis", f"http://127.0.0.1:{served.port}/openapi.json"
        checks = "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance"
        options = ["--phases", "fuzzing", "--max-examples", str(CALLS), "--checks", checks, "--request-timeout", "60"]
        done = subprocess.run(
            [program, "run", address, *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
        )
    said = done.stdout + done.stderr
    print(said[-3000:])
    found = re.search(r"Test cases:\s+(\d+) generated", said)
    assert done.returncode == 0, said[-6000:]
    assert found is not None
    assert int(found[1]) >= 33
