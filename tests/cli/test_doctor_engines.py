"""`brainwires doctor` about a server that nobody here wrote: llama.cpp's own. test_litellm_proxy.py has another."""

from __future__ import annotations

import asyncio

from brainwires_provider.doctor import examine
from doctor_verdicts import ENGINE, check
from engines import KEY, NEEDS_ENGINE, started

pytestmark = NEEDS_ENGINE


def test_the_truth_about_llama_cpp() -> None:
    with started() as engine:
        found = asyncio.run(examine(engine.url, api_key=KEY, max_tokens=24))
    check({finding.name: finding.verdict for finding in found.findings}, ENGINE)
    assert (found.subject, found.model, found.well) == (f"{engine.url}/v1", "smollm2", True)
    assert found["max_tokens"].evidence == "cut after 5 tokens"
    assert found["key_needed"].evidence.startswith("HTTP 401")
    assert "named_choice=False" in str(found.provider)
    assert 'based_on = "llama-server"' in str(found.config)
    assert KEY not in repr(found)
