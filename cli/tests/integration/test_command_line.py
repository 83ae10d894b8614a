"""Wrong usage is one line on stderr and exit code 2, whichever way it comes in."""

from __future__ import annotations

import pytest

from layer_cli import VERSION
from layer_cli_testing.system import System


def test_the_version_is_printed(system: System) -> None:
    assert system.run("version").stdout == f"layer {VERSION}\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "line"),
    [
        (["up", "--htpp-port=1"], {}, "layer: No such option: --htpp-port"),
        (["up", "--http-port=70000"], {}, "layer: Invalid value for '--http-port'"),
        (
            ["up", "--replicas=history=2"],
            {},
            "layer: --replicas history=2: only gateway, cache can",
        ),
        (["up", "--upstream=ftp://x"], {}, "layer: --upstream 'ftp://x' is not a URL"),
        (["up"], {"LAYER_HTTP_PORT": "edge"}, "layer: Invalid value for '--http-port' (env var:"),
        (
            ["up"],
            {"LAYER_HTP_PORT": "1"},
            "layer: LAYER_HTP_PORT is not a setting of layer; did you mean LAYER_HTTP_PORT?",
        ),
        (["down"], {}, "layer: No such command 'down'."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage_is_one_line(
    system: System, arguments: list[str], environment: dict[str, str], line: str
) -> None:
    ended = system.run(*arguments, **environment)

    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith(line)
    assert ended.stderr.count("\n") == 1
    assert not system.home.exists()


def test_no_verb_shows_the_verbs(system: System) -> None:
    ended = system.run()

    assert ended.returncode == 2
    assert "Run every service as a process of its own" in ended.stdout + ended.stderr
