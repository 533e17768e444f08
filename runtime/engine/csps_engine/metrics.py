"""Every metric of a rank, declared once. Names follow vLLM where the meaning is the same, under csps_."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from csps_engine.core.plan import ChoiceReport, SparseReport
from csps_engine.wire import engine_metrics as told
from csps_engine.wire.generated import RankState

TTFT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
MASS_BUCKETS = (0.5, 0.8, 0.9, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 1)
STALL_BUCKETS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
STEP_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """One registry per rank, so that several ranks can live in one test process."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.time_to_first_token = Histogram(
            "csps_time_to_first_token_seconds",
            "From receipt of a prefill until its token could be streamed",
            buckets=TTFT_BUCKETS,
            registry=registry,
        )
        self.inter_token_latency = Histogram(
            "csps_inter_token_latency_seconds",
            "Between two tokens of one request",
            buckets=STEP_BUCKETS,
            registry=registry,
        )
        self.step_seconds = Histogram(
            "csps_step_seconds", "Duration of a tick", ["kind"], buckets=STEP_BUCKETS, registry=registry
        )
        self.kv_usage = Gauge(
            "csps_kv_cache_usage_perc", "Share of this rank's KV pages in use, 0 to 1", registry=registry
        )
        self.running = Gauge("csps_num_requests_running", "Requests being computed by the group", registry=registry)
        self.waiting = Gauge("csps_num_requests_waiting", "Requests queued in the group", registry=registry)
        self.prompt_tokens = Counter("csps_prompt_tokens", "Prompt tokens prefilled", registry=registry)
        self.generation_tokens = Counter("csps_generation_tokens", "Tokens generated", registry=registry)
        self.epoch = Gauge("csps_epoch", "Epoch that this rank serves in, 0 for none", registry=registry)
        self.epoch_members = Gauge("csps_epoch_members", "Ranks of the present epoch", registry=registry)
        self.epoch_changes = Counter("csps_epoch_changes", "Epochs that this rank joined", registry=registry)
        self.epoch_breaks = Counter("csps_epoch_breaks", "Epochs that ended by a failure", registry=registry)
        self.requests_failed = Counter(
            "csps_requests_failed", "Requests that ended with an error", ["code"], registry=registry
        )
        self.kv_pushed = Counter("csps_kv_pushed_bytes", "KV sent and acknowledged", registry=registry)
        self.kv_received = Counter("csps_kv_received_bytes", "KV received and stored", registry=registry)
        self.kv_read = Counter(
            "csps_kv_read_bytes", "KV of prompts' beginnings that prefills read from here", registry=registry
        )
        self.frames_refused = Counter(
            "csps_kv_frames_refused", "KV frames that were not stored", ["code"], registry=registry
        )
        self.moves = Counter("csps_moves", "Moves of KV pages that ended, by how", ["outcome"], registry=registry)
        self.moved_bytes = Counter("csps_moved_bytes", "KV of committed moves", registry=registry)
        self.move_stall_seconds = Histogram(
            "csps_move_stall_seconds",
            "What the commit of a move added to its step",
            buckets=STALL_BUCKETS,
            registry=registry,
        )
        self.prefix_queries = Counter(
            "csps_prefix_cache_queries", "Prompt tokens that were looked for in the pool", registry=registry
        )
        self.prefix_hits = Counter(
            "csps_prefix_cache_hits", "Prompt tokens whose KV was in the pool already", registry=registry
        )
        self.prefix_evictions = Counter(
            "csps_prefix_cache_evictions", "KV pages of earlier prompts that gave way", registry=registry
        )
        self.prefix_pages = Gauge(
            "csps_prefix_cache_pages", "KV pages that prompts of the pool may share", registry=registry
        )
        self.sparse_fetched = Counter(
            "csps_sparse_fetched_bytes",
            "Keys and values that sparse prefill fetched from other ranks",
            registry=registry,
        )
        self.sparse_skipped = Counter(
            "csps_sparse_skipped_bytes",
            "Keys and values that exact prefill would have fetched beside",
            registry=registry,
        )
        self.sparse_mass = Histogram(
            "csps_sparse_mass_covered",
            "Mean share of attention that a sparse prefill covered",
            buckets=MASS_BUCKETS,
            registry=registry,
        )
        self.sparse_decode_read = Counter(
            "csps_sparse_decode_read_tokens",
            "Keys of long requests that steps chose to read, by KV head and layer; the coordinator counts for all",
            registry=registry,
        )
        self.sparse_decode_skipped = Counter(
            "csps_sparse_decode_skipped_tokens",
            "Keys of long requests that steps left out, by KV head and layer; the coordinator counts for all",
            registry=registry,
        )
        self.sparse_decode_mass = Histogram(
            "csps_sparse_decode_mass_covered",
            "Mean share of attention that the steps of an answer covered",
            buckets=MASS_BUCKETS,
            registry=registry,
        )
        self.state_dropped = Counter("csps_state_writes_dropped", "Writes to Redis given up", registry=registry)

    def sparse_prefill(self, report: SparseReport) -> None:
        """Count what one prompt's sparse attention did on this rank."""
        self.sparse_fetched.inc(report.fetched_bytes)
        self.sparse_skipped.inc(max(0, report.skipped_bytes))
        self.sparse_mass.observe(report.mass_mean)

    def sparse_decode(self, report: ChoiceReport) -> None:
        """Count what one step read of one request."""
        self.sparse_decode_read.inc(report.read_tokens)
        self.sparse_decode_skipped.inc(report.skipped_tokens)

    def text(self, state: RankState) -> bytes:
        """In Prometheus' text format, with gauges of the rank as it is now."""
        return generate_latest(self.registry) + generate_latest(StateGauges(state))


class StateGauges(Collector):
    """What /v1/state says, as gauges: made of the same message at each scrape, so that the two can't disagree."""

    def __init__(self, state: RankState) -> None:
        self._state = state

    def collect(self) -> Iterator[GaugeMetricFamily]:
        values, identity = state_values(self._state), state_identity(self._state)
        for metric in told.ENGINE_METRICS:
            family = GaugeMetricFamily(metric.name, metric.about, labels=metric.labels)
            family.add_metric([identity[label] for label in metric.labels], values[metric])
            yield family


def state_identity(state: RankState) -> Mapping[str, str]:
    """Labels of csps_rank_info."""
    return {
        "rank_id": state.rank.rank_id,
        "incarnation": state.rank.incarnation,
        "role": state.role,
        "group": state.group,
        "deployment": state.deployment,
    }


def state_values(state: RankState) -> Mapping[told.EngineMetric, float]:
    """Every gauge's value; one that has nothing to tell is 0."""
    load, coordinator = state.load, state.coordinator
    return {
        told.RANK_INFO: 1,
        told.COORDINATES: coordinator is not None and coordinator.incarnation == state.rank.incarnation,
        told.PAGES: state.pages_total,
        told.PAGES_FREE: state.pages_free,
        told.PAGES_HELD: state.held_pages or 0,
        told.PAGE_TOKENS: state.page_tokens,
        told.POOL_PAGES: state.pool_pages_total,
        told.POOL_PAGES_FREE: state.pool_pages_free,
        told.WAITING_PROMPT_TOKENS: load.waiting_prompt_tokens if load else 0,
        told.RUNNING_PROMPT_TOKENS: (load.running_prompt_tokens or 0) if load else 0,
        told.OLDEST_WAIT: load.oldest_wait_ms / 1000 if load else 0,
    }
