"""The official client from PyPI against the gateway. usage: client.py URL MODEL; prints `all good` at the end."""

import sys

import openai


def main() -> None:
    url, model = sys.argv[1:]
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none asked for", max_retries=0, timeout=240)
    assert [entry.id for entry in client.models.list()] == [model]
    messages = [{"role": "user", "content": "Say hello."}]
    whole = client.chat.completions.create(model=model, messages=messages, max_tokens=24, temperature=0)
    parts = client.chat.completions.create(model=model, messages=messages, max_tokens=24, temperature=0, stream=True)
    streamed = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert streamed == whole.choices[0].message.content, (streamed, whole)
    assert streamed and whole.usage.completion_tokens > 0, whole
    done = client.completions.create(model=model, prompt="1, 2, 3,", max_tokens=8, temperature=0, logprobs=2)
    assert len(done.choices[0].logprobs.tokens) == done.usage.completion_tokens, done
    for attempt, expected in (
        (lambda: client.models.retrieve("no-such-model"), openai.NotFoundError),
        (lambda: client.completions.create(model=model, prompt=""), openai.BadRequestError),
    ):
        try:
            attempt()
        except expected as error:
            print(type(error).__name__, error.code)
        else:
            raise AssertionError(f"{expected.__name__} was expected")
    print("all good")


main()
