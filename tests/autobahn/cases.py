"""Which of Autobahn's cases a server is asked, and what its report says of it. Only the standard library, of Python 3.

    cases.py spec URL FOLDER    writes the fuzzing client's specification into FOLDER, and prints its path
    cases.py verdict FOLDER     reads the report that came of it; one line in the end, and 1 where a case failed
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

AGENT = "Evensong"
# Compression is not negotiated (RFC 7692 is an extension), so there is nothing to ask.
EXCLUDED = ["12.*", "13.*"]
# Messages of 1 MiB and more, whole and in fragments. A message may have 256 KiB: these must be refused with 1009.
TOO_LARGE = [*(f"9.{kind}.{size}" for kind in (1, 2) for size in (3, 4, 5, 6)), "9.3.", "9.4.", "9.5.", "9.6."]
REFUSED = 1009
# How the fuzzing client calls what is as it has to be, and what may differ.
GOOD, LENIENT = {"OK"}, {"NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"}

Case = dict[str, Any]


def specification(url: str, folder: Path) -> Path:
    """All cases but the excluded, against one server."""
    path = folder / "fuzzingclient.json"
    servers = [{"agent": AGENT, "url": url, "options": {"version": 18}}]
    whole = {"outdir": str(folder), "servers": servers, "cases": ["*"], "exclude-cases": EXCLUDED}
    path.write_text(json.dumps(whole | {"exclude-agent-cases": {}}), encoding="utf-8")
    return path


def verdict(report: dict[str, Case]) -> int:
    """Prints each case that failed, and a line of counts; the exit status."""
    counts: Counter[str] = Counter()
    failed = []
    for name in sorted(report, key=lambda name: [int(part) for part in name.split(".")]):
        case = report[name]
        judged = judge(name, case)
        counts[judged] += 1
        if judged == "FAILED":
            failed.append(f"  {name}: {case['behavior']}, closed {case['behaviorClose']} with {case['remoteCloseCode']}")
    print("\n".join(failed), end="\n" if failed else "")
    more = [f"{counts[name]} {name}" for name in ("refused as too large (1009)", *sorted(LENIENT)) if counts[name]]
    said = ", ".join([f"{counts['OK']} OK", f"{counts['FAILED']} failed", *more])
    print(f"Autobahn: {len(report)} cases: {said}; not asked: {', '.join(EXCLUDED)} (compression is not negotiated)")
    return int(bool(failed) or not counts["OK"])


def judge(name: str, case: Case) -> str:
    """What counts of one case: how it went, and how the connection was closed."""
    kinds = {case["behavior"], case["behaviorClose"]}
    if kinds <= GOOD:
        return "OK"
    if name.startswith(tuple(TOO_LARGE)) and case["remoteCloseCode"] == REFUSED:
        return "refused as too large (1009)"
    if kinds <= GOOD | LENIENT:
        return next(kind for kind in (case["behavior"], case["behaviorClose"]) if kind in LENIENT)
    return "FAILED"


def main() -> int:
    match sys.argv[1:]:
        case ["spec", url, folder]:
            print(specification(url, Path(folder)))
            return 0
        case ["verdict", folder]:
            index = json.loads((Path(folder) / "index.json").read_text(encoding="utf-8"))
            return verdict(index.get(AGENT, {}))
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
