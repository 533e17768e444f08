"""Messages of the control API.

Generated from runtime/wire/schema by `npm run generate`; do not edit. Attributes are snake_case, JSON
is camelCase. Unknown keys are ignored, so that a newer peer may add some. Validation is strict:
a number in quotes is refused, as it is on the TypeScript side.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _variable(name: str) -> str:
    return "CSPS_" + name.upper()


SAFE = 2**53 - 1
"""Greatest integer that both languages hold exactly."""


class WireMessage(BaseModel):
    """Base of every message: built by attribute names, read from and written to JSON by aliases."""

    model_config = ConfigDict(
        alias_generator=_camel,
        populate_by_name=True,
        strict=True,
        frozen=True,
        protected_namespaces=(),
    )

    def to_json(self) -> bytes:
        """One compact JSON document; absent optional fields are left out, never null."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()

    def to_wire(self) -> dict[str, Any]:
        """The same as a dictionary, for an HTTP client that encodes JSON itself."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class EnvironmentVariables(BaseModel):
    """Base of the containers' environments: attribute `role` is variable `CSPS_ROLE`."""

    model_config = ConfigDict(
        alias_generator=_variable,
        populate_by_name=True,
        frozen=True,
        protected_namespaces=(),
    )


Role: TypeAlias = Literal["prefill", "decode"]


class RankRef(WireMessage):
    """A rank and how to reach it"""

    rank_id: Annotated[str, Field(min_length=1)]
    """Stable name of the rank: <group>-<ordinal>"""
    incarnation: Annotated[str, Field(min_length=1)]
    """UID of the pod that plays the rank now"""
    address: Annotated[str, Field(min_length=1)]
    """IP or host name that other pods reach the rank at"""
    control_port: Annotated[int, Field(ge=1, le=65535)]
    """TCP port of the control API (HTTP)"""
    transfer_port: Annotated[int, Field(ge=1, le=65535)]
    """TCP port that accepts KV pages"""


FailureCode: TypeAlias = Literal[
    "bad_request",
    "unauthorized",
    "unknown_request",
    "stale_fence",
    "stale_epoch",
    "not_coordinator",
    "wrong_incarnation",
    "prompt_too_long",
    "out_of_pages",
    "not_ready",
    "draining",
    "epoch_broken",
    "lost_pages",
    "deadline_exceeded",
    "internal",
]


class Failure(WireMessage):
    """The one error form of the control API: a code from a closed list and a sentence"""

    code: FailureCode
    message: str
    """A sentence that names the field, the value and the rule"""
    coordinator: RankRef | None = None
    """With not_coordinator: whom to ask instead"""
    missing_pages: Annotated[int, Field(ge=0, le=SAFE)] | None = None
    """With out_of_pages: how many KV pages were missing"""
    free_pages: Annotated[int, Field(ge=0, le=SAFE)] | None = None
    """With out_of_pages: how many KV pages were free"""
    retry_after_ms: Annotated[int, Field(ge=0, le=SAFE)] | None = None
    """When trying again may succeed"""


class Roster(WireMessage):
    """POST /v1/roster, operator to every rank of the group: who should be in it"""

    group: Annotated[str, Field(min_length=1)]
    """SPGroup or DecodePool, unique within its namespace"""
    role: Role
    fence: Annotated[int, Field(ge=0, le=SAFE)]
    """Fencing number of the operator's leadership; a lower one is refused"""
    generation: Annotated[int, Field(ge=1, le=SAFE)]
    """Grows with every change of the members; a lower one at the same fence is refused"""
    min_size: Annotated[int, Field(ge=1, le=SAFE)]
    """The group serves with at least this many ranks"""
    members: Annotated[list[RankRef], Field(min_length=1)]
    """In rank order; ordinal i of the list is not the SP rank, the epoch's order is"""


class EpochProposal(WireMessage):
    """POST /v1/epoch, coordinator to every other member: who forms the next communicator"""

    group: Annotated[str, Field(min_length=1)]
    epoch: Annotated[int, Field(ge=1, le=SAFE)]
    """Greater than any epoch the member has seen"""
    fence: Annotated[int, Field(ge=0, le=SAFE)]
    generation: Annotated[int, Field(ge=1, le=SAFE)]
    """Generation of the roster that the epoch is formed from"""
    coordinator: RankRef
    members: Annotated[list[RankRef], Field(min_length=1)]
    """Rank order of the communicator: members[i] is SP rank i"""
    store_host: Annotated[str, Field(min_length=1)]
    """Rendezvous store of this epoch, hosted by the coordinator"""
    store_port: Annotated[int, Field(ge=1, le=65535)]


RankPhase: TypeAlias = Literal[
    "loading",
    "awaitingRoster",
    "forming",
    "serving",
    "draining",
    "drained",
    "failed",
]


class SparseSummary(WireMessage):
    """What sparse attention fetched and covered in one prefill"""

    fetched_bytes: Annotated[int, Field(ge=0, le=SAFE)]
    """Keys and values fetched by the first of the ranks that computed it"""
    available_bytes: Annotated[int, Field(ge=0, le=SAFE)]
    """Keys and values of other ranks that its queries could see, as the model holds them"""
    fetched_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    """The same by keys instead of bytes, however they were written for the link"""
    mass_mean: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    """Mean share of attention that audited queries covered"""
    mass_p01: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    """Share that 99 in 100 of them reached"""


class PrefillReport(WireMessage):
    """One prefill that ended well"""

    number: Annotated[int, Field(ge=0, le=SAFE)]
    """Grows by one with each report of this incarnation, so that a reader counts none twice"""
    tokens: Annotated[int, Field(ge=1, le=SAFE)]
    """Of the prompt"""
    degree: Annotated[int, Field(ge=1, le=SAFE)]
    """Ranks that computed it"""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Computing it"""
    queued_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """From its receipt until it was begun"""
    sparse: SparseSummary | None = None
    """What its attention left out, so that its time tells of thinned prompts and not of exact
    ones. Absent: it was exact"""
    age_ms: Annotated[int, Field(ge=0, le=SAFE)]
    """Since the work ended"""


class DecodeReport(WireMessage):
    """One decode step, sampled"""

    number: Annotated[int, Field(ge=0, le=SAFE)]
    """Grows by one with each report of this incarnation, so that a reader counts none twice"""
    rows: Annotated[int, Field(ge=1, le=SAFE)]
    """Requests in the step"""
    context_tokens: Annotated[int, Field(ge=0, le=SAFE)]
    """Tokens attended to, of all rows together"""
    ranks: Annotated[int, Field(ge=1, le=SAFE)]
    """Ranks of the pool"""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    age_ms: Annotated[int, Field(ge=0, le=SAFE)]
    """Since the work ended"""


class RankLoad(WireMessage):
    """What a rank has done lately and what waits; a coordinator's is its group's"""

    steps: Annotated[int, Field(ge=0, le=SAFE)]
    """Steps that did work in the last minute"""
    step_p50_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Median time of those steps; 0 without any"""
    step_p99_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """99th percentile of those steps; 0 without any"""
    waiting_prompt_tokens: Annotated[int, Field(ge=0, le=SAFE)]
    """Prompt tokens of the requests that wait in the group"""
    running_prompt_tokens: Annotated[int, Field(ge=0, le=SAFE)] | None = None
    """Prompt tokens of the requests that the group prefills now"""
    oldest_wait_ms: Annotated[int, Field(ge=0, le=SAFE)]
    """How long the oldest of them has waited; 0 when none waits"""
    prefills: list[PrefillReport]
    """Of the last five minutes, oldest first, at most 32"""
    decodes: list[DecodeReport]
    """Of the last five minutes, oldest first, at most 32"""


class RankState(WireMessage):
    """GET /v1/state: what a rank is doing now"""

    rank: RankRef
    role: Role
    deployment: str
    group: str
    phase: RankPhase
    reason: str
    """Why the phase is what it is; a sentence, empty when serving"""
    fence: Annotated[int, Field(ge=0, le=SAFE)]
    generation: Annotated[int, Field(ge=0, le=SAFE)]
    """Roster generation it holds; 0 before the first"""
    epoch: Annotated[int, Field(ge=0, le=SAFE)]
    """0 before the first"""
    epoch_members: list[str]
    """rankIds of the present epoch in SP rank order; empty while none is formed"""
    coordinator: RankRef | None = None
    """Coordinator of the present epoch"""
    model: str
    kv_format: str
    """Hash of everything that makes KV of two ranks interchangeable"""
    context_length: Annotated[int, Field(ge=1, le=SAFE)]
    page_tokens: Annotated[int, Field(ge=1, le=SAFE)]
    pages_total: Annotated[int, Field(ge=0, le=SAFE)]
    """KV pages of this rank"""
    pages_free: Annotated[int, Field(ge=0, le=SAFE)]
    pool_pages_total: Annotated[int, Field(ge=0, le=SAFE)]
    """On a coordinator: KV pages of all members"""
    pool_pages_free: Annotated[int, Field(ge=0, le=SAFE)]
    running: Annotated[int, Field(ge=0, le=SAFE)]
    """Requests being prefilled or decoded by the group"""
    waiting: Annotated[int, Field(ge=0, le=SAFE)]
    """Requests queued in the group"""
    last_break: str
    """Why the last epoch ended; empty when none did"""
    held_pages: Annotated[int, Field(ge=0, le=SAFE)] | None = None
    """KV pages of this rank that requests hold: what a drain still has to move"""
    load: RankLoad | None = None
    """Step times, the queue and samples of work"""


class ModelDescriptor(WireMessage):
    """GET /v1/model: what the gateway needs to speak for the model"""

    name: str
    """Served name"""
    architecture: str
    """llama, …"""
    context_length: Annotated[int, Field(ge=1, le=SAFE)]
    """Prompt plus output tokens"""
    vocab_size: Annotated[int, Field(ge=1, le=SAFE)]
    bos_token_id: Annotated[int, Field(ge=0, le=SAFE)] | None = None
    eos_token_ids: Annotated[list[Annotated[int, Field(ge=0, le=SAFE)]], Field(min_length=1)]
    add_bos: bool
    """Whether plain completions start with the BOS token"""
    chat_template: str
    """Jinja; empty when the model has none"""
    kv_format: str
    tokenizer: dict[str, Any]
    """Contents of tokenizer.json (Hugging Face tokenizers)"""
    tokenizer_config: dict[str, Any]
    """Contents of tokenizer_config.json, at least bos_token and eos_token"""


class Sampling(WireMessage):
    """How a token is drawn from logits"""

    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """0 is greedy"""
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    seed: Annotated[int, Field(ge=0, le=SAFE)]
    """Token at absolute position p is drawn by a generator keyed (seed, p), so a retry repeats
    the stream"""
    logprobs: Annotated[int, Field(ge=0, le=20)]
    """How many of the likeliest tokens to report beside the chosen one"""
    want_logprobs: bool
    """Whether to report the chosen token's log-probability"""


class ReserveRequest(WireMessage):
    """POST /v1/reserve, gateway to pool coordinator: KV pages for a prompt, under a lease"""

    request_id: Annotated[str, Field(min_length=1, max_length=128)]
    """Chosen by the gateway; idempotent in every verb"""
    prompt_tokens: Annotated[int, Field(ge=1, le=SAFE)]
    max_new_tokens: Annotated[int, Field(ge=1, le=SAFE)]
    lease_ms: Annotated[int, Field(ge=100, le=SAFE)]
    """Pages are freed when no decode started by then"""
    wait_ms: Annotated[int, Field(ge=0, le=SAFE)] | None = None
    """How long it may wait in line for pages, first come first served; absent: not at all"""
    page_keys: list[Annotated[str, Field(min_length=32, max_length=32)]] | None = None
    """Keys of the prompt's full pages, in order: hashes of all tokens up to the end of each,
    chained from the kvFormat and the salt. Absent: nothing is shared"""


class PagePlace(WireMessage):
    """Where one KV page of a request lives"""

    page: Annotated[int, Field(ge=0, le=SAFE)]
    """Index of the page in the request: tokens [page*pageTokens, (page+1)*pageTokens)"""
    rank_id: str
    """Decode rank that holds it"""
    slot: Annotated[int, Field(ge=0, le=SAFE)]
    """Slot in that rank's KV pool"""


class Reservation(WireMessage):
    """Answer of POST /v1/reserve: the page map that the prefill group pushes KV to"""

    request_id: Annotated[str, Field(min_length=1, max_length=128)]
    """Chosen by the gateway; idempotent in every verb"""
    epoch: Annotated[int, Field(ge=1, le=SAFE)]
    """Epoch of the pool"""
    home_rank: str
    """Rank that runs the dense layers and samples for this request"""
    holders: Annotated[list[RankRef], Field(min_length=1)]
    """Every rank named in pages"""
    pages: Annotated[list[PagePlace], Field(min_length=1)]
    """Of the prompt, in order; pages for new tokens are assigned while decoding"""
    page_tokens: Annotated[int, Field(ge=1, le=SAFE)]
    kv_format: str
    page_keys: list[Annotated[str, Field(min_length=32, max_length=32)]] | None = None
    """Keys of the prompt's full pages, in order: hashes of all tokens up to the end of each,
    chained from the kvFormat and the salt. Absent: nothing is shared"""
    shared_pages: Annotated[int, Field(ge=0, le=SAFE)] | None = None
    """Leading pages whose KV is there already: it is read, and nobody pushes it. Absent: 0"""


class PrefillRequest(WireMessage):
    """POST /v1/prefill, gateway to group coordinator; answered by NDJSON of PrefillEvent"""

    request_id: Annotated[str, Field(min_length=1, max_length=128)]
    """Chosen by the gateway; idempotent in every verb"""
    token_ids: Annotated[list[Annotated[int, Field(ge=0, le=SAFE)]], Field(min_length=1)]
    sampling: Sampling
    attention: Literal["auto", "dense", "sparse"] | None = None
    """dense: exact, whatever the deployment allows; sparse: wherever it is allowed; auto: where
    it is allowed and foreseen to pay. Default: auto"""
    degree: Annotated[int, Field(ge=0, le=SAFE)] | None = None
    """Ranks of the group that should compute it; fewer do when not so many are free and it ends
    sooner so. Absent or 0: as many as pay by the group's own costs"""
    reservation: Reservation
    cache_salt: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Mixed into the start of the chain of reservation.pageKeys: only prompts with the same one
    share pages. Absent: none"""
    ttft_ms: Annotated[int, Field(ge=1, le=SAFE)] | None = None
    """Within so long of its arrival the prompt should have its first token: one that can't any
    more stands back for a while. Absent: it never stands back"""
    waited_ms: Annotated[int, Field(ge=0, le=SAFE)] | None = None
    """Between its arrival at the gateway and this message. Absent: 0"""
    deadline_ms: Annotated[int, Field(ge=1, le=SAFE)]
    """From receipt; then the request ends with deadline_exceeded"""


class TokenLogprob(WireMessage):
    """A token and its log-probability"""

    token_id: Annotated[int, Field(ge=0, le=SAFE)]
    logprob: Annotated[float, Field(allow_inf_nan=False)]


class TokenEvent(WireMessage):
    """One produced token of a prefill or decode stream"""

    type: Literal["token"]
    index: Annotated[int, Field(ge=0, le=SAFE)]
    """0 for the first token after the prompt of this prefill"""
    token_id: Annotated[int, Field(ge=0, le=SAFE)]
    logprob: Annotated[float, Field(allow_inf_nan=False)] | None = None
    top_logprobs: list[TokenLogprob] | None = None


class ErrorEvent(WireMessage):
    """Last event of a stream that failed"""

    type: Literal["error"]
    error: Failure


class PrefillProgress(WireMessage):
    """Layers of the prompt that are done; sent while a prefill runs"""

    type: Literal["progress"]
    layers_done: Annotated[int, Field(ge=0, le=SAFE)]
    layers: Annotated[int, Field(ge=1, le=SAFE)]


class SparseDecodeSummary(WireMessage):
    """What steps that choose blocks read and covered of one request"""

    read_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    """Keys of full pages that steps read, of all there were"""
    mass_mean: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    """Mean share of attention that was covered, taken exactly in one layer of each step"""
    left_bound: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    """Mean over layers of the most that could have been left out, as digests tell"""


class PrefillDone(WireMessage):
    """Last event of a prefill: its KV lies acknowledged in the reserved pages"""

    type: Literal["done"]
    degree: Annotated[int, Field(ge=1, le=SAFE)]
    """SP degree that served it"""
    ranks: list[str]
    compute_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    kv_bytes_pushed: Annotated[int, Field(ge=0, le=SAFE)]
    reused_tokens: Annotated[int, Field(ge=0, le=SAFE)] | None = None
    """Prompt tokens whose KV was read from the pool instead of computed. Absent: 0"""
    sparse: SparseSummary | None = None
    """Absent when attention was exact"""


PrefillEvent: TypeAlias = Annotated[
    PrefillProgress | TokenEvent | PrefillDone | ErrorEvent,
    Field(discriminator="type"),
]
PREFILL_EVENT: TypeAdapter[PrefillEvent] = TypeAdapter(PrefillEvent)


class DecodeRequest(WireMessage):
    """POST /v1/decode, gateway to pool coordinator; answered by NDJSON of DecodeEvent"""

    request_id: Annotated[str, Field(min_length=1, max_length=128)]
    """Chosen by the gateway; idempotent in every verb"""
    prompt_tokens: Annotated[int, Field(ge=1, le=SAFE)]
    """Tokens whose KV the prefill pushed"""
    first_token: Annotated[int, Field(ge=0, le=SAFE)]
    """Sampled by the prefill group; its KV is written by the first decode step"""
    sampling: Sampling
    max_new_tokens: Annotated[int, Field(ge=0, le=SAFE)]
    """Tokens still wanted after firstToken"""
    stop_token_ids: list[Annotated[int, Field(ge=0, le=SAFE)]]
    """The stream ends after one of these is produced; it is reported"""
    shareable: bool | None = None
    """The prompt's KV is exact: its full pages may serve other prompts that begin alike.
    Absent: no"""


class DecodeDone(WireMessage):
    """Last event of a decode stream that ended as asked"""

    type: Literal["done"]
    reason: Literal["stop", "length", "cancelled"]
    tokens: Annotated[int, Field(ge=0, le=SAFE)]
    ranks: list[str]
    """Holders that took part"""
    sparse: SparseDecodeSummary | None = None
    """Absent when every step was exact"""


DecodeEvent: TypeAlias = Annotated[
    TokenEvent | DecodeDone | ErrorEvent,
    Field(discriminator="type"),
]
DECODE_EVENT: TypeAdapter[DecodeEvent] = TypeAdapter(DecodeEvent)


class CancelRequest(WireMessage):
    """POST /v1/cancel, gateway to any rank of a group: end a request and free its pages,
    wherever it is coordinated"""

    request_id: Annotated[str, Field(min_length=1, max_length=128)]
    """Chosen by the gateway; idempotent in every verb"""
    passed_on: bool | None = None
    """From a rank that does not coordinate: whoever doesn't either refuses it, where it would
    pass on another's. Absent: no"""


class PageShard(WireMessage):
    """Consecutive pages of one request that lie on one rank"""

    rank_id: Annotated[str, Field(min_length=1)]
    first_page: Annotated[int, Field(ge=0, le=SAFE)]
    pages: Annotated[int, Field(ge=1, le=SAFE)]


class InventoryRank(WireMessage):
    """A rank of a pool and what it holds"""

    rank_id: Annotated[str, Field(min_length=1)]
    incarnation: Annotated[str, Field(min_length=1)]
    pages_total: Annotated[int, Field(ge=0, le=SAFE)]
    pages_free: Annotated[int, Field(ge=0, le=SAFE)]
    """Neither held by a request nor leased to a move"""
    scan_bytes_per_step: Annotated[int, Field(ge=0, le=SAFE)]
    """Bytes of KV that the next decode step reads on this rank"""
    age_ms: Annotated[int, Field(ge=0, le=SAFE)]
    """Since the incarnation joined the pool"""
    draining: bool
    """It gets no new pages"""
    keyed_pages: Annotated[int, Field(ge=0, le=SAFE)] | None = None
    """Pages that prompts may share; those that no request holds count as free, for they give
    way"""


class InventoryRequest(WireMessage):
    """A request of a pool and where its pages lie"""

    request_id: Annotated[str, Field(min_length=1, max_length=128)]
    home: Annotated[str, Field(min_length=1)]
    """Rank that runs the dense layers and samples"""
    map_version: Annotated[int, Field(ge=0, le=SAFE)]
    """Grows with every change of the request's page map; what a commit compares"""
    prompt_tokens: Annotated[int, Field(ge=1, le=SAFE)]
    written_pages: Annotated[int, Field(ge=0, le=SAFE)]
    """Pages that hold KV, the partly filled last one included"""
    remaining_tokens: Annotated[int, Field(ge=0, le=SAFE)]
    """Tokens that may still be produced"""
    decoding: bool
    """False while it waits for its decode"""
    settled: bool
    """False while its prompt's KV may still be pushed: such pages don't move"""
    shards: Annotated[list[PageShard], Field(min_length=1)]
    """In page order, without a gap, to the last reserved page"""


MovePhase: TypeAlias = Literal["copying", "committed", "refused", "cancelled", "failed"]


class MoveOrder(WireMessage):
    """POST /v1/move, operator to pool coordinator: move pages of a live request; answered by
    MoveState"""

    move_id: Annotated[str, Field(min_length=1, max_length=128)]
    """Chosen by the caller; idempotent"""
    fence: Annotated[int, Field(ge=0, le=SAFE)]
    """Fencing number of the caller's leadership; a lower one is refused"""
    request_id: Annotated[str, Field(min_length=1, max_length=128)]
    map_version: Annotated[int, Field(ge=0, le=SAFE)]
    """Grows with every change of the request's page map; what a commit compares"""
    from_: Annotated[Annotated[str, Field(min_length=1)], Field(alias="from")]
    """rankId that holds the pages"""
    from_incarnation: Annotated[str, Field(min_length=1)]
    to: Annotated[str, Field(min_length=1)]
    """rankId that gets them"""
    to_incarnation: Annotated[str, Field(min_length=1)]
    first_page: Annotated[int, Field(ge=0, le=SAFE)]
    pages: Annotated[int, Field(ge=0, le=SAFE)]
    """0 when only the home moves"""
    bytes_per_second: Annotated[int, Field(ge=0, le=SAFE)]
    """Limit of the copy; 0: none"""
    takes_home: bool
    """The target becomes the request's home at the commit"""
    deadline_ms: Annotated[int, Field(ge=1, le=SAFE)]
    """From receipt; then the move ends as failed"""


class MoveCancel(WireMessage):
    """POST /v1/move/cancel, operator to pool coordinator; a committed move stays committed"""

    move_id: Annotated[str, Field(min_length=1, max_length=128)]
    """Chosen by the caller; idempotent"""
    fence: Annotated[int, Field(ge=0, le=SAFE)]
    """Fencing number of the caller's leadership; a lower one is refused"""


class MoveState(WireMessage):
    """How far a move is, or how it ended; kept for ten minutes after its end"""

    move_id: Annotated[str, Field(min_length=1, max_length=128)]
    """Chosen by the caller; idempotent"""
    request_id: Annotated[str, Field(min_length=1, max_length=128)]
    from_: Annotated[Annotated[str, Field(min_length=1)], Field(alias="from")]
    to: Annotated[str, Field(min_length=1)]
    first_page: Annotated[int, Field(ge=0, le=SAFE)]
    pages: Annotated[int, Field(ge=0, le=SAFE)]
    takes_home: bool
    bytes_per_second: Annotated[int, Field(ge=0, le=SAFE)]
    phase: MovePhase
    reason: str
    """Why it ended without a commit; a sentence, empty when copying or committed"""
    map_version: Annotated[int, Field(ge=0, le=SAFE)]
    """Of the order; after the commit the request's new one"""
    copied_bytes: Annotated[int, Field(ge=0, le=SAFE)]
    """Acknowledged by the target"""
    total_bytes: Annotated[int, Field(ge=0, le=SAFE)]
    """Of the pages that hold KV"""
    age_ms: Annotated[int, Field(ge=0, le=SAFE)]
    """Since it was received"""
    stall_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Added to the step in which it was committed; 0 before"""


class PoolInventory(WireMessage):
    """GET /v1/inventory, operator to pool coordinator: who holds which pages, and the moves"""

    group: Annotated[str, Field(min_length=1)]
    epoch: Annotated[int, Field(ge=1, le=SAFE)]
    coordinator: RankRef
    page_tokens: Annotated[int, Field(ge=1, le=SAFE)]
    page_bytes: Annotated[int, Field(ge=1, le=SAFE)]
    """K and V of a page over all layers"""
    step_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Moving average of a decode step; 0 before the first"""
    scan_bytes_per_second: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """KV that the busiest rank read in a step by the step's time; 0 unknown"""
    ranks: Annotated[list[InventoryRank], Field(min_length=1)]
    requests: list[InventoryRequest]
    moves: list[MoveState]
    """Under way, and those that ended in the last ten minutes"""


class RankEnvironment(EnvironmentVariables):
    """Environment of a rank's container: the operator sets it, the engine reads it"""

    namespace: str
    deployment: str
    group: str
    """Name of the SPGroup or DecodePool"""
    role: Literal["prefill", "decode"]
    rank_id: str
    """<group>-<ordinal>"""
    incarnation: str
    """Pod UID, by the downward API"""
    address: str
    """Pod IP, by the downward API"""
    control_port: str
    """Default 9000"""
    transfer_port: str
    """Default 9001"""
    control_token_file: str
    """File with the bearer token of the control API"""
    redis_url_file: str
    """File with the Redis URL of the deployment; empty or absent: no Redis"""
    model_path: str
    """Folder with *.gguf, or config.json + *.safetensors + tokenizer.json"""
    model_name: str
    context_length: str
    backend: Literal["cpu", "cuda"]
    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    tensor_parallel: str
    """Degree; default 1"""
    sp_mode: Literal["auto", "allToAll", "kvGather"]
    sparse_attention: Literal["disabled", "enabled"]
    sparse_min_tokens: str
    """Shorter prompts, and in decode shorter requests, are computed exactly"""
    sparse_budget_percent: str
    """Prefill: of the keys of other ranks, fetched at most while the floor holds"""
    sparse_quality_floor_percent: str
    """Prefill: mean attention mass covered, below which ranks fetch more"""
    sparse_threshold_percent: str
    """Decode: what blocks that are left out may be expected to weigh together, of the
    weightiest block"""
    kv_bytes: str
    """Bytes of this rank for KV pages; empty: 512 MiB on cpu, what is left on cuda"""
    drain_grace_ms: str
    """Time after SIGTERM for handing over KV; shorter than the pod's grace period"""
    log_level: Literal["debug", "info", "warn", "error"]


class GatewayEnvironment(EnvironmentVariables):
    """Environment of the gateway's container"""

    namespace: str
    deployment: str
    model_name: str
    port: str
    """Default 8000"""
    ranks_host: str
    """Headless Service that resolves to every rank's pod IP"""
    control_port: str
    control_token_file: str
    redis_url_file: str
    api_keys_dir: str
    """Folder whose files each hold an accepted API key; empty: no key is asked for"""
    length_classes: str
    """Length classes of prompts, as short:4096:2000,long:65536:5000: name, most tokens and,
    where there is one, the objective in ms until the first token. Empty: one class without"""
    wake_ms: str
    """How long a request waits for ranks of a deployment scaled to zero; 0: not at all"""
    wake_max_waiting: str
    """Requests that wait so at once; more are refused"""
    log_level: Literal["debug", "info", "warn", "error"]
