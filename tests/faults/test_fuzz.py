"""A thousand requests drawn from the documents; `python -m tests.faults.fuzz` sends many more."""

from tests.faults.fuzz import fuzz


def test_promise_8_requests_drawn_from_the_documents_are_answered_as_documented(tmp_path):
    found = fuzz(tmp_path, requests=1_000, seed=1)

    assert not found.failures, "\n\n".join(found.failures)
    assert found.holds
    assert found.requests >= 1_000
