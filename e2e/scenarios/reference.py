"""Greedy continuations by transformers, the independent reference of the scenarios.

usage: reference.py MODEL.gguf < prompts.json > answers.json
Input: {"prompts": {name: text}, "chats": {name: [messages]}, "tokens": n}. Output: {name: {"prompt_tokens": n,
"tokens": [ids], "text": continuation}}. Exact fp32 on one process; text is decoded without special tokens.
"""

import json
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    folder, name = os.path.split(sys.argv[1])
    torch.set_num_threads(2)
    request = json.load(sys.stdin)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    prompts = {key: tokenizer.encode(text, add_special_tokens=False) for key, text in request["prompts"].items()}
    for key, messages in request["chats"].items():
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompts[key] = tokenizer.encode(text, add_special_tokens=False)
    stop = {tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")}
    answers = {}
    for key, ids in prompts.items():
        print(f"reference for {key}: {len(ids)} tokens", file=sys.stderr, flush=True)
        with torch.inference_mode():
            out = model(torch.tensor([ids]), use_cache=True, logits_to_keep=1)
            tokens = [int(out.logits[0, -1].argmax())]
            while len(tokens) < request["tokens"] and tokens[-1] not in stop:
                out = model(torch.tensor([tokens[-1:]]), past_key_values=out.past_key_values, use_cache=True)
                tokens.append(int(out.logits[0, -1].argmax()))
        answers[key] = {
            "prompt_tokens": len(ids),
            "tokens": tokens,
            "text": tokenizer.decode(tokens, skip_special_tokens=True),
        }
    json.dump(answers, sys.stdout)


main()
