"""Answers each lead, a line of JSON on standard input, with a line of JSON on standard output.

The fields of the answer become the lead's. `{"_error": "..."}` has the lead tried again, and with
`"_final": true` beside it given up. Standard error goes into the worker's log.
"""

import json
import sys


def enrich(lead):
    """A made-up score: what is known of a lead, from 0 to 100."""
    known = [field for field in ("name", "title", "company", "location", "email") if lead.get(field)]
    return {"score": len(known) * 20}


for line in sys.stdin:
    try:
        answer = enrich(json.loads(line))
    except Exception as error:  # One lead must not end the process for the others.
        print(f"cannot score a lead: {error}", file=sys.stderr)
        answer = {"_error": str(error), "_final": True}
    print(json.dumps(answer), flush=True)
