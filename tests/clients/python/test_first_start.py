"""What a newcomer sees: keys printed once, a line to paste, and a second start that is quiet."""

import json
import re
import shutil
import subprocess
import time

import pytest
from books import Books
from conftest import MODEL, native_client
from server import SECRET, Server


@pytest.fixture(scope="module")
def fresh(binary, models_folder, tmp_path_factory):
    server = Server(binary, tmp_path_factory.mktemp("first"), models_folder, [MODEL])
    server.start()
    yield server
    server.stop()


def curl_line(printed: str) -> str:
    """The command that starts with `curl`, with its continuation lines."""
    lines = printed[re.search(r"^ *curl ", printed, re.MULTILINE).start() :].splitlines()
    command = []
    for line in lines:
        command.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            break
    return " ".join(command)


def test_first_and_second_start(fresh):
    printed = fresh.printed()
    secrets = SECRET.findall(printed)
    assert len(set(secrets)) >= 2, "the operator's and the demo key"
    command = curl_line(printed)
    key = SECRET.search(command).group()
    books = Books(native_client(fresh.origin, key))
    assert books.balance() == 5_000
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    pasted = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert pasted.returncode == 0, pasted.stderr
    usage = usage_of(pasted.stdout)
    assert books.balance() == 5_000 - usage["credits"] == usage["balance"]

    fresh.stop()
    started = time.monotonic()
    fresh.start()
    print(f"second start in {time.monotonic() - started:.2f} s")
    assert not SECRET.search(fresh.printed()), "a key is printed once"
    again = Books(native_client(fresh.origin, key))
    assert again.balance() == usage["balance"]


def usage_of(answer: str) -> dict:
    """Of a plain or a streamed answer."""
    frames = re.findall(r"^data: (\{.*\})$", answer, re.MULTILINE) or [answer]
    usages = [json.loads(frame).get("usage") for frame in frames]
    return [usage for usage in usages if usage][-1]
