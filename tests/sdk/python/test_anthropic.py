"""The official Anthropic SDK against the gateway."""

import asyncio
import json
import unittest

import anthropic
import httpx2
from anthropic import Anthropic, AsyncAnthropic

from support import GATEWAY, KEY, LONG_PROMPT, PNG, WEATHER

HELLO = [{"role": "user", "content": "Hello there"}]
TOOLS = [{"name": "get_weather", "description": "Weather", "input_schema": WEATHER}]


def client(**options):
    return Anthropic(**{"base_url": GATEWAY, "api_key": KEY, "max_retries": 0, "timeout": 60, **options})


def create(c=None, **options):
    return (c or client()).messages.create(**{"model": "claude/echo", "max_tokens": 1000, "messages": HELLO, **options})


class Messages(unittest.TestCase):
    def test_answer(self):
        answer = create()
        self.assertEqual(answer.content[0].text, "Hello there")
        self.assertEqual(answer.stop_reason, "end_turn")
        self.assertGreater(answer.usage.output_tokens, 0)

    def test_base_url_with_prefix(self):
        self.assertEqual(create(client(base_url=f"{GATEWAY}/anthropic")).content[0].text, "Hello there")

    def test_bearer_token(self):
        c = Anthropic(base_url=GATEWAY, auth_token=KEY, max_retries=0)
        self.assertEqual(create(c).content[0].text, "Hello there")

    def test_stream(self):
        events = list(create(model="claude/lorem-100", stream=True))
        texts = [e.delta.text for e in events if e.type == "content_block_delta" and e.delta.type == "text_delta"]
        self.assertEqual(len(texts), 100)
        self.assertEqual((events[0].type, events[-1].type), ("message_start", "message_stop"))

    def test_stream_helper(self):
        with client().messages.stream(model="claude/echo", max_tokens=100, messages=HELLO) as stream:
            self.assertEqual("".join(stream.text_stream), "Hello there")
            final = stream.get_final_message()
        self.assertEqual(final.stop_reason, "end_turn")
        self.assertGreater(final.usage.output_tokens, 0)

    def test_tools(self):
        answer = create(model="claude/tool-call", tools=TOOLS)
        self.assertEqual(answer.stop_reason, "tool_use")
        use = next(b for b in answer.content if b.type == "tool_use")
        self.assertEqual((use.name, set(use.input)), ("get_weather", {"city", "days"}))
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny and warm"}
        messages = [*HELLO, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
        answer = create(model="claude/tool-call", tools=TOOLS, messages=messages)
        self.assertIn("sunny and warm", answer.content[0].text)

    def test_streamed_tool_deltas(self):
        events = list(create(model="claude/tool-call", tools=TOOLS, stream=True))
        deltas = [e.delta for e in events if e.type == "content_block_delta" and e.delta.type == "input_json_delta"]
        self.assertGreater(len(deltas), 1)
        self.assertEqual(set(json.loads("".join(d.partial_json for d in deltas))), {"city", "days"})
        with client().messages.stream(model="claude/tool-call", max_tokens=100, messages=HELLO, tools=TOOLS) as stream:
            final = stream.get_final_message()
        self.assertEqual(set(next(b for b in final.content if b.type == "tool_use").input), {"city", "days"})

    def test_reasoning(self):
        with client().messages.stream(
            model="claude/reasoning",
            max_tokens=5000,
            messages=HELLO,
            thinking={"type": "enabled", "budget_tokens": 1024},
        ) as stream:
            final = stream.get_final_message()
        self.assertEqual([b.type for b in final.content], ["thinking", "text"])
        self.assertTrue(final.content[0].signature)

    def test_vision(self):
        content = [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
            {"type": "text", "text": "What is this?"},
        ]
        answer = create(messages=[{"role": "user", "content": content}])
        self.assertEqual(answer.content[0].text, "What is this? [1 image]")

    def test_count_tokens(self):
        counted = client().messages.count_tokens(model="claude/echo", messages=HELLO)
        self.assertGreater(counted.input_tokens, 0)

    def test_models(self):
        models = list(client().models.list())
        self.assertIn("assistant", [m.id for m in models])
        self.assertEqual(client().models.retrieve("assistant").type, "model")

    def test_long_prompt(self):
        answer = create(model="claude/inspect", messages=[{"role": "user", "content": LONG_PROMPT}])
        self.assertGreater(json.loads(answer.content[0].text)["body_len"], len(LONG_PROMPT))

    def test_http2(self):
        with httpx2.Client(http1=False, http2=True) as http:
            c = client(http_client=http)
            raw = c.messages.with_raw_response.create(model="claude/echo", max_tokens=10, messages=HELLO)
            self.assertEqual(raw.http_response.http_version, "HTTP/2")
            events = list(create(c, model="claude/lorem-50", stream=True))
            self.assertEqual(sum(e.type == "content_block_delta" for e in events), 50)

    def test_many_at_once(self):
        async def run():
            async with AsyncAnthropic(base_url=GATEWAY, api_key=KEY, max_retries=0) as c:
                async def one(i):
                    messages = [{"role": "user", "content": f"number {i}"}]
                    async with c.messages.stream(model="claude/echo", max_tokens=100, messages=messages) as stream:
                        return await stream.get_final_text()

                return await asyncio.gather(*(one(i) for i in range(50)))

        self.assertEqual(asyncio.run(run()), [f"number {i}" for i in range(50)])


class Errors(unittest.TestCase):
    def failure(self, kind, model="claude/echo", **options):
        with self.assertRaises(kind) as caught:
            create(client(**options), model=model)
        body = caught.exception.body
        self.assertEqual(body["type"], "error")
        self.assertTrue(body["error"]["message"])
        return caught.exception, body["error"]["type"]

    def test_wrong_key(self):
        _, kind = self.failure(anthropic.AuthenticationError, api_key="wrong")
        self.assertEqual(kind, "authentication_error")

    def test_unknown_model(self):
        _, kind = self.failure(anthropic.NotFoundError, "no-such-model")
        self.assertEqual(kind, "not_found_error")

    def test_bad_request(self):
        _, kind = self.failure(anthropic.BadRequestError, "claude/context-length")
        self.assertEqual(kind, "invalid_request_error")

    def test_rate_limit(self):
        error, kind = self.failure(anthropic.RateLimitError, "claude/status-429-retry-2s")
        self.assertEqual((error.response.headers["retry-after"], kind), ("2", "rate_limit_error"))

    def test_server_errors(self):
        for model in ("claude/status-500", "claude/status-529", "claude/cut-header", "claude/garbage"):
            error, _ = self.failure(anthropic.InternalServerError, model)
            self.assertGreaterEqual(error.status_code, 500)

    def test_refused_provider_key(self):
        error, _ = self.failure(anthropic.InternalServerError, "refusing-claude/status-401")
        self.assertEqual(error.status_code, 502)

    def test_too_large(self):
        with self.assertRaises(anthropic.APIStatusError) as caught:
            create(messages=[{"role": "user", "content": LONG_PROMPT * 4}])
        self.assertEqual(caught.exception.status_code, 413)
        self.assertEqual(caught.exception.body["error"]["type"], "request_too_large")

    def test_error_in_a_stream(self):
        for model in ("claude/error-after-3", "claude/cut-after-3", "claude/end-early-after-3"):
            with self.subTest(model), self.assertRaises(anthropic.APIError):
                for _ in create(model=model, stream=True):
                    pass


if __name__ == "__main__":
    unittest.main()
