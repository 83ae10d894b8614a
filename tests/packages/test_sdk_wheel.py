"""The wheel of the SDK is all a worker needs: in an environment with nothing else, it works."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest

from layer_testing.system import LocalSystem, local_system

INSTALL_S_MAX = 240
RUN_S_MAX = 60
WHEELS = [*Path().glob("layer_sdk-*.whl"), *Path("dist").glob("layer_sdk-*.whl")]
WORKER = """
from layer_sdk import Document, PermanentError, Row, pipeline_stage, udf

@udf(output="price_class")
def tag(price: float | None) -> str:
    if price is None:
        raise PermanentError("it has no price")
    return "budget" if price < 100 else "premium"

@pipeline_stage()
async def embed(document: Document) -> list[Row]:
    return [Row(id=chunk.id, vector=[1.0, 0.0]) for chunk in document.chunks]
"""

pytestmark = pytest.mark.timeout(2 * INSTALL_S_MAX)

if not WHEELS:
    pytest.skip("needs what Pants packages: make package-test", allow_module_level=True)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel, what it asks for, and no more."""
    folder = tmp_path_factory.mktemp("v")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=INSTALL_S_MAX)
    pip = [str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, str(WHEELS[0])], check=True, timeout=INSTALL_S_MAX)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    with local_system(tmp_path_factory.mktemp("s")) as running:
        yield running


def call(system: LocalSystem, method: str, path: str, body: object = None) -> Any:
    headers = {"authorization": "Bearer local"}
    answer = httpx.request(method, f"{system.url}/v2/{path}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def worked(python: Path, system: LocalSystem, folder: Path, marked: str, **environment: str) -> str:
    (folder / "working.py").write_text(textwrap.dedent(WORKER))
    done = subprocess.run(
        [python, "-m", "layer_sdk", f"working:{marked}", "--once"],
        cwd=folder,
        env={"HEVLAYER_BASE_URL": system.url, "HEVLAYER_API_KEY": "local", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S_MAX,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_worker_with_nothing_but_the_wheel_does_its_work(
    python: Path, system: LocalSystem, tmp_path: Path, transport: str
) -> None:
    address = system.address("runtime", "grpc") if transport == "grpc" else ""
    where = {"HEVLAYER_RUNTIME_ADDRESS": address}
    rows = [{"id": "saw", "price": 18.5}, {"id": "lathe", "price": 1290.0}, {"id": "odd"}]
    name = f"products-{transport}"
    call(system, "POST", f"namespaces/{name}", {"upsert_rows": rows})
    spec = {"target_namespaces": [name], "inputs": ["price"], "worker": {}}
    call(system, "PUT", f"udfs/{name}", {"spec": spec})
    call(system, "POST", f"udfs/{name}/discover", {})
    said = worked(python, system, tmp_path, "tag", HEVLAYER_UDF_ID=name, **where)
    assert said == "completed 2\n"
    lathe = call(system, "GET", f"namespaces/{name}/documents/lathe")
    assert lathe["attributes"]["price_class"] == "premium"

    call(system, "POST", "pipelines", {"id": name, "target_namespace": f"{name}-chunks"})
    call(system, "PUT", f"pipelines/{name}/documents/a", {"chunks": [{"id": "a#0", "text": "x"}]})
    said = worked(python, system, tmp_path, "embed", HEVLAYER_PIPELINE_ID=name, **where)
    assert said == "completed 1\n"
    assert call(system, "GET", f"namespaces/{name}-chunks/documents/a%230")["id"] == "a#0"


def test_the_wheel_says_what_it_is_and_what_it_needs(python: Path) -> None:
    with ZipFile(WHEELS[0]) as wheel:
        names = wheel.namelist()
        (place,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        told = message_from_string(wheel.read(place).decode())
    assert (told["Name"], told["Requires-Python"]) == ("layer-sdk", ">=3.11")
    assert "Apache-2.0" in {told["License"], told["License-Expression"]}
    assert "pip install layer-sdk" in str(told.get_payload())
    needed = told.get_all("Requires-Dist")
    assert needed is not None
    assert not [one for one in needed if "==" in one]
    assert "layer_sdk/py.typed" in names
    assert [name for name in names if name.endswith("LICENSE")]
    assert {name.partition("/")[0] for name in names} <= {
        "layer",
        "layer_sdk",
        place.partition("/")[0],
    }
    command = [str(python.with_name("layer-worker")), "--help"]
    subprocess.run(command, check=True, timeout=RUN_S_MAX, capture_output=True)
