"""A server of ours as a child process: started on a free port, operated by its own commands.

`python server.py BINARY MODEL,MODEL COMMAND...` runs a command beside one: it is told where by
MIZAN_BASE_URL, and may operate it with MIZAN_ADMIN_KEY.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

START_TIMEOUT = 600  # Seconds: a first start may have to fetch the model.
SECRET = re.compile(r"mz-[0-9A-Za-z]{20,}")
CATALOG = Path(__file__).parents[3] / "models.toml"
THINKER = Path(__file__).parent / "thinker.toml"


def with_thinker(data: Path, models: Path) -> Path:
    """A catalogue that also has the model for tests of reasoning."""
    catalog = data / "models.toml"
    catalog.write_text(
        CATALOG.read_text() + THINKER.read_text().replace("FOLDER", str(models.resolve()))
    )
    return catalog


class Server:
    """`mizan serve` on a data folder of its own; `output` is all that it printed."""

    def __init__(
        self, binary: str, data: Path, models: Path, serve: list[str], *flags: object
    ):
        """Serves the models named in `serve`; the first is there from the start."""
        self.binary, self.data = binary, data
        self.command = [binary, "serve", "--port", "0"]
        for model in serve:
            self.command += ["--model", model]
        self.command += map(str, flags)
        models.mkdir(parents=True, exist_ok=True)
        data.mkdir(exist_ok=True)
        if not (data / "models").exists():
            (data / "models").symlink_to(models.resolve(), target_is_directory=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MIZAN_")}
        self.environment = kept | {"MIZAN_DATA": str(data)}
        self.output: list[str] = []
        self.process = None
        self.origin = ""

    def start(self) -> None:
        self.output = []
        self.process = subprocess.Popen(
            self.command,
            cwd=self.data,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        serving = threading.Event()
        threading.Thread(target=self._read, args=(serving,), daemon=True).start()
        deadline = time.monotonic() + START_TIMEOUT
        while not serving.wait(0.05):
            assert self.process.poll() is None, "the server ended:\n" + self.printed()
            assert time.monotonic() < deadline, "the server does not start:\n" + self.printed()

    def _read(self, serving: threading.Event) -> None:
        for line in self.process.stdout:
            self.output.append(line)
            if found := re.match(r"Serving .* on (http://\S+)$", line):
                self.origin = found.group(1)
                serving.set()

    def printed(self) -> str:
        return "".join(self.output)

    def stop(self) -> None:
        """As an operator would; all meters are closed and the exit is clean."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0, self.printed()

    def mizan(self, *arguments: object) -> subprocess.CompletedProcess:
        """Another command on the same data folder, while the server runs or after."""
        return subprocess.run(
            [self.binary, *map(str, arguments)],
            cwd=self.data,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def operate(self, *arguments: object) -> str:
        """A command that must succeed; what it printed."""
        done = self.mizan(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def new_account(self, name: str, credits: int, plan: str = "team") -> str:
        """An account with credits; its key."""
        self.operate("account", "create", name, "--plan", plan)
        self.operate("grant", name, credits, "--reason", "client tests")
        return SECRET.search(self.operate("key", "create", name)).group()


def serve_beside(binary: str, models: str, *command: str) -> int:
    """Its exit code, or a failed one if the server or its books did not hold."""
    with tempfile.TemporaryDirectory(prefix="mizan-") as data:
        folder = Path(os.environ["MIZAN_TEST_MODELS"])
        config = with_thinker(Path(data), folder)
        server = Server(binary, Path(data), folder, models.split(","), "--config", config)
        server.start()
        operator = SECRET.search(server.printed()).group()  # Told before any other key.
        told = {"MIZAN_BASE_URL": server.origin, "MIZAN_ADMIN_KEY": operator}
        code = subprocess.run(command, env=os.environ | told).returncode
        server.stop()
        server.operate("ledger", "verify")
        return code


if __name__ == "__main__":
    sys.exit(serve_beside(*sys.argv[1:]))
