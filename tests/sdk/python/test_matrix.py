"""Every recorded answer and stream, read through each other client dialect by that dialect's official SDK.

The suite `tests/sdk.rs` starts a gateway with a provider for each dialect, named like it, whose upstream answers a
request for model NAME with the recording NAME. `ONLY=text` in the environment runs the recordings whose names contain
it.
"""

import os
import traceback
import unittest
from collections import Counter

import clients
import expect


class Matrix(unittest.TestCase):
    def test_every_pair(self):
        sdks, only = clients.all_clients(), os.environ.get("ONLY", "")
        counts, failures = Counter(), []
        recordings = [r for r in expect.recordings() if only in r["name"]]
        for recording in recordings:
            upstream, name = recording["dialect"], recording["name"]
            # Of a whole answer the gateway makes a stream, too.
            ways = [True] if recording["stream"] else [False, True]
            for client, sdk in sdks.items():
                for stream in ways if client != upstream else []:
                    try:
                        wanted = expect.expected(recording, client, stream)
                        # A target that refuses rests: each request for a refusal has one of its own.
                        own = f"~{client}-{stream}" if "error" in wanted else ""
                        got = sdk.ask(f"{upstream}/{name}{own}", stream)
                        found = expect.differences(wanted, got)
                    except Exception as error:  # noqa: BLE001 (any failure of an SDK is a finding)
                        place = traceback.extract_tb(error.__traceback__)[-1]
                        found = [f"{type(error).__name__}: {str(error)[:400]} at {place}"]
                    counts[upstream, client] += 1
                    if found:
                        counts[upstream, client, "bad"] += 1
                        how = "stream" if stream else "whole"
                        failures.append(f"{upstream} -> {client} {how} {name}\n    " + "\n    ".join(found))
        print(table(counts))
        self.assertEqual(len(failures), 0, "\n".join(["differences:", *failures]))
        self.assertGreater(sum(n for key, n in counts.items() if len(key) == 2), 0)


def table(counts):
    """A row for each upstream dialect, a column for each client's: how many agree of how many."""
    cell = lambda row, column: f"{counts[row, column] - counts[row, column, 'bad']}/{counts[row, column]}"
    rows = [["answers \\ read by", *expect.DIALECTS]]
    for row in expect.DIALECTS:
        rows.append([row, *("" if column == row else cell(row, column) for column in expect.DIALECTS)])
    return "\n".join("".join(text.rjust(18) for text in row) for row in rows)
