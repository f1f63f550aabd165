"""Run python-binance's own tests of Spot against the local exchange.

They come with the client's source archive, which the package index has; nothing of them is kept here.
"""

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
_FILES = (
    *("user_socket_integration", "error_propagation", "keepalive_reconnect", "client", "async_client", "client_ws_api"),
    *("async_client_ws_api", "ping", "get_order_book", "ws_api"),
)
# Other markets and hosts; microseconds, which the exchange does not offer; one that breaks on a newer aiohttp.
_NOT = "futures coin papi margin options testnet time_unit microseconds handle_response"


def fetch(python: Path, folder: Path) -> Path:
    """Get the archive of the pinned version and unpack it; gives its folder. Raises SystemExit: it is not to be had."""
    pins = (HERE / "requirements-python-binance.txt").read_text().splitlines()
    pin = next(line for line in pins if line.startswith(("python-binance==", "python_binance==")))
    shutil.rmtree(folder, ignore_errors=True)
    command = [str(python), "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", "python-binance", "--dest", str(folder), pin]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"error: the source archive of {pin} cannot be downloaded")
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    root = next(path for path in folder.iterdir() if path.is_dir())
    (root / "tests" / "__init__.py").touch()
    return root


def run(python: Path, root: Path, variables: Mapping[str, str]) -> tuple[int, int, list[str]]:
    """Numbers of tests that pass and fail, and the names of those that fail."""
    shutil.copy(HERE / "own_tests_conftest.py", root / "tests" / "conftest.py")
    words = " and ".join(f"not {word}" for word in _NOT.split())
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", "--tb=line", "-k", words]
    command += [f"tests/test_{name}.py" for name in _FILES]
    environment = dict(variables) | {"PYTHONPATH": str(HERE)}
    told = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=900)
    if os.environ.get("CONFORMANCE_DEBUG"):
        print(told.stdout)
    passed, failed, errors = (
        sum(int(one) for one in re.findall(rf"(\d+) {word}", told.stdout)) for word in ("passed", "failed", "errors?")
    )
    names = re.findall(r"^(?:FAILED|ERROR) (\S+)", told.stdout, re.MULTILINE)
    return passed, max(failed + errors, int(passed == 0)), names
