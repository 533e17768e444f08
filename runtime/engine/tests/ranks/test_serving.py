from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from gateway_part import Request
from rank_process import Group
from tiny_model import Oracle, prompt_of


def test_tokens_equal_those_of_a_single_process(prefill: Group, decode: Group, oracle: Oracle) -> None:
    prompt = prompt_of(330, seed=1)
    tokens = Request(prompt, 20).run(prefill.wait_serving(), decode.wait_serving())
    assert tokens == oracle.greedy(prompt, 20)


def test_eight_requests_at_once_are_batched_and_right(prefill: Group, decode: Group, oracle: Oracle) -> None:
    prompts = [prompt_of(40 + 60 * i, seed=i) for i in range(8)]
    group, pool = prefill.wait_serving(), decode.wait_serving()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda prompt: Request(prompt, 12).run(group, pool), prompts))
    assert answers == [oracle.greedy(prompt, 12) for prompt in prompts]
