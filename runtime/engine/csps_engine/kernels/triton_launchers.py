"""The launchers of the Triton kernels. Imports Triton: get it by `choice.kernels_for`."""

from __future__ import annotations

from csps_engine.kernels.block_sparse import attend_blocks, tile_queries
from csps_engine.kernels.digest import digest
from csps_engine.kernels.expected_weight import expected_weight
from csps_engine.kernels.launchers import Launchers
from csps_engine.kernels.merge import merge_pair, merge_parts
from csps_engine.kernels.paged_decode import attend_pages
from csps_engine.kernels.votes import neediest

LAUNCHERS = Launchers(
    digest=digest,
    neediest=neediest,
    expected_weight=expected_weight,
    attend_blocks=attend_blocks,
    tile_queries=tile_queries,
    attend_pages=attend_pages,
    merge_parts=merge_parts,
    merge_pair=merge_pair,
)
