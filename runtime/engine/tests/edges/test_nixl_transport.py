"""What NIXL's transport adds; the suite of test_transfer.py runs with it too, where its package is installed."""

from __future__ import annotations

import socket

import pytest
import torch
from test_transfer import LAYERS, TOKENS, Holder, holder, kv_of, push_all, sink_for
from transports import NIXL_INSTALLED, TRANSPORTS

from csps_engine.transfer import nixl_transport
from csps_engine.transfer.frame import TransferBroken
from csps_engine.transfer.nixl_transport import NixlMissing, NixlTransport
from csps_engine.transfer.staging import Staging
from csps_engine.transfer.transport import TcpTransport, Transport


def test_a_rank_without_the_package_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nixl_transport, "PACKAGES", ("no_such_package",))
    with pytest.raises(NixlMissing, match="none of the packages no_such_package is installed"):
        NixlTransport("d-0")


def test_slots_are_lent_once_and_come_back() -> None:
    staging = Staging(3, 8)
    first, second = staging.lend(2), staging.lend(2)
    assert sorted(first + second) == [0, 1, 2]
    assert staging.lend(1) == []
    staging.take_back(first)
    assert sorted(staging.lend(4)) == sorted(first)
    staging.write(1, memoryview(b"12345678"))
    assert bytes(staging.read(1, 5)) == b"12345"
    assert staging.address(2) - staging.address(1) == 8


@pytest.mark.parametrize("staged", [[0, 0, 0], [9], ["0"], 0, [-1], [True]])
def test_slots_that_were_not_lent_or_do_not_fit_are_refused(staged: object) -> None:
    inbound = nixl_transport._NixlInbound(Staging(8, 16), lambda: "agent")
    assert len(inbound.answer()["nixl"]["addresses"]) == nixl_transport.CONNECTION_SLOTS
    near, far = socket.socketpair()
    with near, far, pytest.raises(TransferBroken):
        inbound.receive(near, {"staged": staged}, 20)
    inbound.close()


def pairs() -> list[tuple[str, str]]:
    """Ranks of a rollout in which one side has the transport already."""
    return [("nixl", "tcp"), ("tcp", "nixl"), ("nixl", "nixl")] if NIXL_INSTALLED else [("tcp", "tcp")]


@pytest.mark.parametrize(("sending", "receiving"), pairs())
def test_whichever_transport_each_side_has_everything_arrives(
    sending: str, receiving: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So small that frames take several slots, and wait for slots.
    monkeypatch.setattr(nixl_transport, "SLOT_BYTES", 6_000)
    sender, receiver = TRANSPORTS[sending](), TRANSPORTS[receiving]()
    pool = [one_holder(rank, receiver) for rank in range(2)]
    kv, sink = kv_of(pool), sink_for(pool, sender, 30.0)
    push_all(sink, kv)
    sink.flush()
    for page, slot in enumerate((5, 2, 6)):
        tokens = slice(64 * page, min(64 * page + 64, TOKENS))
        for layer in range(LAYERS):
            stored = pool[page % 2].store.pool.read(layer, slot, tokens.stop - tokens.start)
            assert torch.equal(stored[0], kv[layer][0][:, tokens])
    for one in pool:
        one.server.close()


def one_holder(rank: int, transport: Transport | TcpTransport) -> Holder:
    one = holder(f"d-{rank}", "float32", transport)
    one.hold((5, 2, 6), rank)
    return one
