"""The cable to the node: an address range that nobody else uses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.local import network
from stoker.local.failures import LocalError
from stoker.local.home import Home


def test_the_first_range_when_nothing_is_taken() -> None:
    assert str(network.choose("198.18.0.0/16", [])) == "198.18.1.0/30"


def test_the_default_route_takes_nothing() -> None:
    assert str(network.choose("198.18.0.0/16", ["0.0.0.0/0", "fe80::/64"])) == "198.18.1.0/30"


def test_a_range_that_is_routed_away_is_said_with_a_way_out() -> None:
    with pytest.raises(LocalError) as failure:
        network.choose("198.18.0.0/16", ["198.18.0.0/15"])
    assert "STOKER_ADDRESS_RANGE" in failure.value.remedy


@settings(deadline=None)
@given(st.sets(st.integers(1, 254), max_size=60))
def test_never_a_range_in_use(used: set[int]) -> None:
    taken = [f"198.18.{number}.1/30" for number in used]
    chosen = network.choose("198.18.0.0/16", taken)
    assert int(str(chosen).split(".")[2]) == min(set(range(1, 255)) - used)


def test_link_names_fit_the_kernel_and_tell_clusters_apart(tmp_path) -> None:  # type: ignore[no-untyped-def]
    one, two = Home(tmp_path / "one").identity, Home(tmp_path / "two").identity
    assert network.link_name(one) != network.link_name(two)
    assert len(network.link_name(one)) <= 15


def test_pods_get_no_way_out_of_the_node() -> None:
    configuration = json.loads(network.cni_configuration())
    assert configuration["plugins"][0]["ipMasq"] is False
