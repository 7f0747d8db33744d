"""Ctrl-C at a run with two workers: one sentence, nobody left behind, and the run goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

HANGS = 600  # seconds: so long may a busy machine take, and who waits longer waits for ever

RUNS = {
    "run": ("sawtooth-k3", "--set", "steps=60", "--set", "learning_rates=0.01", "--seeds", "4"),
    "train": ("conv-fashion", "--set", "arms=deq", "--set", "epochs=8", "--seeds", "4"),
}


def start(words, cwd):
    """Start a command in a group of its own, as a shell does."""
    return subprocess.Popen(
        [sys.executable, "-m", "deqlab", *words],
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def summaries(file):
    lines = file.read_text().splitlines() if file.exists() else []
    return sum(json.loads(line)["kind"] == "summary" for line in lines)


def in_group(group):
    """The processes of a group that are at work."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as stat:
                state, _, its_group = stat.read().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it has ended
        if int(its_group) == group and state != "Z":
            found.append(int(entry))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")
@pytest.mark.parametrize("to", ["group", "parent"])
@pytest.mark.parametrize("command", RUNS)
def test_ctrl_c_leaves_a_sentence_and_what_is_done(tmp_path, command, to):
    words = (command, *RUNS[command], "--preset", "smoke", "--jobs", "2", "--out", "runs")
    file = tmp_path / "runs" / RUNS[command][0] / "rows.jsonl"
    process, until = start(words, tmp_path), time.monotonic() + HANGS
    while process.poll() is None and not summaries(file) and time.monotonic() < until:
        time.sleep(0.02)
    if to == "group":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=HANGS)
    assert process.returncode == 130, errors
    done = summaries(file)
    assert done >= 1
    assert "Traceback" not in errors
    assert "KeyboardInterrupt" not in errors
    saved = (
        f"{done} job{'s' if done > 1 else ''} of {RUNS[command][0]} {'are' if done > 1 else 'is'}"
    )
    assert f"Interrupted: {saved} saved in" in errors
    until = time.monotonic() + 30
    while in_group(process.pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert in_group(process.pid) == []

    again = start(words, tmp_path)
    _, errors = again.communicate(timeout=HANGS)
    assert again.returncode == 0, errors
    assert f"{done} job{'s are' if done > 1 else ' is'} done already" in errors
    assert summaries(file) > done
