"""What api/openapi.yaml documents and the suite need not see, and why."""

import openapi

NO_MEMORY = "it needs memory to run out behind the decision"

UNSEEN = {
    ("/v1/commits", "post", "500"): NO_MEMORY,
    ("/v1/retention/{id}", "delete", "500"): "PUT shows it, and the answer is made in one place for both",
    ("*", "*", "500"): "it would be a mistake of the server",
}
NOT_SERVED = set()  # in this version
NOT_GIVEN = set()  # types of problems, likewise


def judge():
    """What is missing, and what is listed here although it was seen."""
    unlisted = {entry for entry in openapi.documented() if entry not in UNSEEN and entry[0] not in NOT_SERVED}
    return sorted(unlisted - openapi.seen), sorted(openapi.seen & set(UNSEEN))
