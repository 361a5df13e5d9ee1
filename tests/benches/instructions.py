"""Counts the instructions of the hot path with callgrind and compares them with instructions.json beside this file.

Fails if a stage takes over 5 % more instructions. `--update` writes the new counts. Without valgrind, or without counts for
this processor, it prints that and checks nothing.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

STAGES = ["gunzip", "records", "flow", "regex", "json", "waf", "enriched", "cached", "enriched-cached"]
RECORDS = 20_000
LIMIT = 1.05
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FIGURES = HERE / "instructions.json"


def count(program, stage):
    with tempfile.TemporaryDirectory() as scratch:
        command = ["valgrind", "--tool=callgrind", "--toggle-collect=*hot_path::counted*"]
        command += [f"--callgrind-out-file={scratch}/out", program, stage]
        ran = subprocess.run(command, capture_output=True, text=True)
    collected = re.search(r"Collected : (\d+)", ran.stderr)
    if ran.returncode != 0 or not collected or int(collected[1]) == 0:
        sys.exit(f"instructions: cannot count {stage}:\n{ran.stderr}")
    return int(collected[1]) // RECORDS


def main():
    update = sys.argv[1:] == ["--update"]
    if not shutil.which("valgrind"):
        print("instructions: SKIPPED, NOTHING IS CHECKED: no valgrind on this machine", file=sys.stderr)
        return
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    kind = platform.machine()
    if kind not in figures and not update:
        print(f"instructions: SKIPPED, NOTHING IS CHECKED: no figures for {kind}", file=sys.stderr)
        return
    # Callgrind selects the code to count by function names, so keep them.
    environment = {**os.environ, "CARGO_PROFILE_RELEASE_STRIP": "none"}
    build = ["cargo", "build", "--release", "--locked", "--quiet", "--package", "flowherd-shared"]
    build += ["--example", "hot_path", "--message-format=json"]
    built = subprocess.run(build, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    program = [json.loads(line).get("executable") for line in built.stdout.splitlines()][-2]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = dict(zip(STAGES, pool.map(lambda stage: count(program, stage), STAGES)))
    if update:
        figures[kind] = counted
        FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
    failed = False
    print("instructions of the hot path, by callgrind")
    for stage, now in counted.items():
        before = figures[kind].get(stage, 0)
        over = now > before * LIMIT
        failed |= over
        print(f"  {stage:<15} {now:>6} instructions a record, {before:>6} before{'  MORE THAN 5 %' if over else ''}")
    if failed:
        sys.exit("instructions: over 5 % more; make it faster, or run this with --update and give the reason in the commit")


main()
