"""The example of docs/guides/grpc.md runs as it stands and prints what the guide says."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from layer_kit.children import start_child
from layer_testing.processes import child_environment, running

GUIDE = Path("docs/guides/grpc.md").absolute()
ADDRESS = "127.0.0.1:7100"
RUN_S_MAX = 30.0


def block(language: str) -> str:
    """Return the one fenced block of the guide in ``language``."""
    [found] = re.findall(
        rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE
    )
    return str(found)


async def test_the_example_prints_what_the_guide_says(tmp_path: Path) -> None:
    async with (
        running(
            "layer_vectorstore",
            LAYER_VECTORSTORE_HTTP_ADDRESS="127.0.0.1:0",
            LAYER_VECTORSTORE_DATA_DIRECTORY=str(tmp_path),
        ) as store,
        running(
            "layer_gateway",
            LAYER_GATEWAY_HTTP_ADDRESS="127.0.0.1:0",
            LAYER_GATEWAY_GRPC_ADDRESS="127.0.0.1:0",
            TPUF_URL=f"http://{store.addresses['http']}",
        ) as gateway,
    ):
        example = block("python")
        assert example.count(ADDRESS) == 1
        process = await start_child(
            *(sys.executable, "-c", example.replace(ADDRESS, gateway.addresses["grpc"])),
            env=child_environment({}),
        )
        async with asyncio.timeout(RUN_S_MAX):
            printed, errors = await process.communicate()
    assert (process.returncode, printed.decode()) == (0, block("text")), errors.decode()
