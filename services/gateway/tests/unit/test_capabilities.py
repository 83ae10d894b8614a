"""What clients are told that they can do, by the services that stand beside the gateway."""

from __future__ import annotations

import pytest

from layer_gateway.domain.capabilities import Service, Support, capabilities

OF_SERVICES = {
    "snapshots": {"snapshots", "checkpoints"},
    "history": {"history"},
    "runtime": {"functions", "pipelines"},
}


@pytest.mark.parametrize("service", ["snapshots", "history", "runtime"])
def test_what_a_service_does_is_supported_where_it_is_configured(service: Service) -> None:
    found = {
        feature.id: feature.support for feature in capabilities("turbopuffer", {service}).features
    }
    for other, features in OF_SERVICES.items():
        expected = Support.SUPPORTED if other == service else Support.UNSUPPORTED
        assert {found[feature] for feature in features} == {expected}
    assert found["scan"] is Support.SUPPORTED
