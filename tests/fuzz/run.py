#!/usr/bin/env python3
"""Runs each fuzz target for a while and prints a table of the results. `make fuzz` calls it.

FUZZ_SECONDS (60): seconds per target. FUZZ_JOBS (1): targets that run at the same time. FUZZ_TARGETS (all): names.
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

CARGO_FUZZ = "0.13.2"
# Limits of a target: memory in megabytes, and seconds for one input.
MEMORY = 1024
TIMEOUT = 10
# Maximum bytes of an input, for targets where another maximum finds more.
LONGEST = {"codecs": 4096, "deflate": 65536, "layers": 65536, "object": 65536, "regex": 512, "event": 4096}
LONGEST_ELSE = 16384

HERE = pathlib.Path(__file__).resolve().parent


# Flowherd has no unsafe code that a sanitizer could watch, and runs many times faster without one.
BUILD = ["--fuzz-dir", str(HERE), "--sanitizer", "none"]


def cargo_fuzz(*arguments):
    return ["cargo", "+nightly", "fuzz", *arguments]


def require(command, problem):
    if subprocess.run(command, capture_output=True).returncode != 0:
        sys.exit(f"make: {problem}")


def run(target, seconds):
    """Returns libFuzzer's statistics, and the end of its log if it found something."""
    command = cargo_fuzz("run", *BUILD, target, "--")
    command += [f"-max_total_time={seconds}", f"-max_len={LONGEST.get(target, LONGEST_ELSE)}"]
    command += [f"-rss_limit_mb={MEMORY}", f"-timeout={TIMEOUT}", "-print_final_stats=1", "-verbosity=1"]
    done = subprocess.run(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, errors="replace")
    stats = {name: int(value) for name, value in re.findall(r"^stat::(\w+):\s+(\d+)$", done.stderr, re.M)}
    if done.returncode == 0:
        return stats, None
    return stats, "\n".join(done.stderr.splitlines()[-40:])


def main():
    require(["cargo", "+nightly", "--version"], "no nightly toolchain; rustup toolchain install nightly --profile minimal")
    require(cargo_fuzz("--version"), f"no cargo-fuzz; cargo install cargo-fuzz --version {CARGO_FUZZ} --locked")
    seconds = int(os.environ.get("FUZZ_SECONDS") or 60)
    jobs = int(os.environ.get("FUZZ_JOBS") or 1)
    listed = subprocess.run(cargo_fuzz("list", "--fuzz-dir", str(HERE)), capture_output=True, text=True, check=True)
    targets = os.environ.get("FUZZ_TARGETS", "").split() or listed.stdout.split()
    print("== building the fuzz targets (some minutes the first time)", flush=True)
    subprocess.run(cargo_fuzz("build", *BUILD), check=True)
    print(f"== {len(targets)} targets, {seconds} seconds each, {jobs} at a time", flush=True)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        outcomes = list(pool.map(lambda target: run(target, seconds), targets))
    rows = [("target", "executions", "a second", "peak MB", "slowest s", "")]
    for target, (stats, log) in zip(targets, outcomes):
        values = [stats.get(name) for name in
                  ("number_of_executed_units", "average_exec_per_sec", "peak_rss_mb", "slowest_unit_time_sec")]
        shown = ["-" if value is None else f"{value:,}" for value in values]
        rows.append((target, *shown, "" if log is None else "FAILED"))
    widths = [max(len(row[at]) for row in rows) for at in range(5)]
    for row in rows:
        numbers = "  ".join(cell.rjust(width) for cell, width in zip(row[1:5], widths[1:]))
        print(f"{row[0].ljust(widths[0])}  {numbers}  {row[5]}".rstrip())
    failed = [(target, log) for target, (_, log) in zip(targets, outcomes) if log]
    for target, log in failed:
        print(f"\n== {target}\n{log}")
    sys.exit(1 if failed else 0)


main()
