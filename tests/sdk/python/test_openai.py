"""The official OpenAI SDK against the gateway."""

import asyncio
import base64
import json
import unittest

import httpx2
import openai
from openai import AsyncOpenAI, AzureOpenAI, OpenAI

from support import GATEWAY, KEY, LONG_PROMPT, PNG, WEATHER

HELLO = [{"role": "user", "content": "Hello there"}]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": WEATHER}}]


def client(**options):
    return OpenAI(**{"base_url": f"{GATEWAY}/v1", "api_key": KEY, "max_retries": 0, "timeout": 60, **options})


class Chat(unittest.TestCase):
    def test_answer(self):
        answer = client().chat.completions.create(model="mock/echo", messages=HELLO)
        self.assertEqual(answer.choices[0].message.content, "Hello there")
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertGreater(answer.usage.total_tokens, 0)
        self.assertTrue(answer._request_id)

    def test_stream(self):
        chunks = list(client().chat.completions.create(model="mock/lorem-100", messages=HELLO, stream=True))
        texts = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
        self.assertEqual(len(texts), 100)
        self.assertEqual(chunks[-1].choices[0].finish_reason, "stop")
        # The usage that the gateway asks for is not shown to a client that did not.
        self.assertTrue(all(c.usage is None and c.choices for c in chunks))

    def test_stream_with_usage(self):
        options = {"include_usage": True}
        chunks = list(
            client().chat.completions.create(model="mock/echo", messages=HELLO, stream=True, stream_options=options)
        )
        self.assertEqual(chunks[-1].choices, [])
        self.assertGreater(chunks[-1].usage.completion_tokens, 0)

    def test_stream_helper(self):
        with client().chat.completions.stream(model="mock/echo", messages=HELLO) as stream:
            events = [event.type for event in stream]
            final = stream.get_final_completion()
        self.assertIn("content.delta", events)
        self.assertEqual(final.choices[0].message.content, "Hello there")

    def test_multi_byte_text_survives(self):
        stream = client().chat.completions.create(model="mock/split-utf8", messages=HELLO, stream=True)
        text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
        whole = client().chat.completions.create(model="mock/split-utf8", messages=HELLO)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertNotIn("\ufffd", text)

    def test_tools(self):
        answer = client().chat.completions.create(model="mock/tool-call", messages=HELLO, tools=TOOLS)
        self.assertEqual(answer.choices[0].finish_reason, "tool_calls")
        call = answer.choices[0].message.tool_calls[0]
        self.assertEqual(call.function.name, "get_weather")
        self.assertEqual(set(json.loads(call.function.arguments)), {"city", "days"})
        result = {"role": "tool", "tool_call_id": call.id, "content": "sunny and warm"}
        messages = [*HELLO, answer.choices[0].message, result]
        answer = client().chat.completions.create(model="mock/tool-call", messages=messages, tools=TOOLS)
        self.assertIn("sunny and warm", answer.choices[0].message.content)

    def test_streamed_tool_deltas(self):
        stream = client().chat.completions.create(model="mock/tool-calls-2", messages=HELLO, tools=TOOLS, stream=True)
        calls = {}
        deltas = 0
        for chunk in stream:
            for choice in chunk.choices:
                for part in choice.delta.tool_calls or []:
                    call = calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
                    call["id"] += part.id or ""
                    call["name"] += part.function.name or ""
                    call["arguments"] += part.function.arguments or ""
                    deltas += 1
        self.assertEqual(len(calls), 2)
        self.assertGreater(deltas, 4)
        for call in calls.values():
            self.assertEqual(call["name"], "get_weather")
            self.assertTrue(call["id"])
            self.assertEqual(set(json.loads(call["arguments"])), {"city", "days"})

    def test_vision(self):
        content = [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        ]
        answer = client().chat.completions.create(model="mock/echo", messages=[{"role": "user", "content": content}])
        self.assertEqual(answer.choices[0].message.content, "What is this? [1 image]")

    def test_long_prompt(self):
        messages = [{"role": "user", "content": LONG_PROMPT}]
        for stream in (False, True):
            answer = client().chat.completions.create(model="mock/inspect", messages=messages, stream=stream)
            if stream:
                text = "".join(c.choices[0].delta.content or "" for c in answer if c.choices)
            else:
                text = answer.choices[0].message.content
            self.assertGreater(json.loads(text)["body_len"], len(LONG_PROMPT))

    def test_http2(self):
        with httpx2.Client(http1=False, http2=True) as http:
            h2 = client(http_client=http)
            raw = h2.chat.completions.with_raw_response.create(model="mock/echo", messages=HELLO)
            self.assertEqual(raw.http_response.http_version, "HTTP/2")
            stream = h2.chat.completions.create(model="mock/lorem-50", messages=HELLO, stream=True)
            self.assertEqual(sum(bool(c.choices and c.choices[0].delta.content) for c in stream), 50)
            messages = [{"role": "user", "content": LONG_PROMPT}]
            text = h2.chat.completions.create(model="mock/inspect", messages=messages).choices[0].message.content
            self.assertGreater(json.loads(text)["body_len"], len(LONG_PROMPT))

    def test_many_at_once(self):
        async def run():
            async with AsyncOpenAI(base_url=f"{GATEWAY}/v1", api_key=KEY, max_retries=0) as c:
                async def one(i):
                    messages = [{"role": "user", "content": f"number {i}"}]
                    stream = await c.chat.completions.create(model="mock/echo", messages=messages, stream=True)
                    text = ""
                    async for chunk in stream:
                        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                    return text

                return await asyncio.gather(*(one(i) for i in range(50)))

        self.assertEqual(asyncio.run(run()), [f"number {i}" for i in range(50)])

    def test_a_stream_left_early_frees_the_connection(self):
        c = client()
        for _ in range(5):
            stream = c.chat.completions.create(model="mock/never-ends", messages=HELLO, stream=True)
            next(iter(stream))
            stream.close()
        self.assertTrue(c.chat.completions.create(model="mock/echo", messages=HELLO).choices)

    def test_legacy_completions(self):
        answer = client().completions.create(model="mock/echo", prompt="Once upon a time")
        self.assertEqual(answer.choices[0].text, "Once upon a time")

    def test_azure_client(self):
        azure = AzureOpenAI(azure_endpoint=GATEWAY, api_key=KEY, api_version="2024-10-21", max_retries=0)
        answer = azure.chat.completions.create(model="mock/echo", messages=HELLO)
        self.assertEqual(answer.choices[0].message.content, "Hello there")


class Responses(unittest.TestCase):
    def test_answer(self):
        answer = client().responses.create(model="mock/echo", input="Hello there")
        self.assertEqual(answer.output_text, "Hello there")
        self.assertEqual(answer.status, "completed")
        self.assertGreater(answer.usage.output_tokens, 0)

    def test_stream(self):
        events = list(client().responses.create(model="mock/lorem-20", input="Hello", stream=True))
        deltas = [e.delta for e in events if e.type == "response.output_text.delta"]
        self.assertEqual(len(deltas), 20)
        self.assertEqual(events[-1].type, "response.completed")
        self.assertEqual(events[-1].response.output_text, "".join(deltas))

    def test_stream_helper(self):
        with client().responses.stream(model="mock/echo", input="Hello there") as stream:
            for _ in stream:
                pass
            self.assertEqual(stream.get_final_response().output_text, "Hello there")

    def test_tools(self):
        tools = [{"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": False}]
        answer = client().responses.create(model="mock/tool-call", input="Hello", tools=tools)
        call = next(item for item in answer.output if item.type == "function_call")
        self.assertEqual(call.name, "get_weather")
        self.assertEqual(set(json.loads(call.arguments)), {"city", "days"})
        events = list(client().responses.create(model="mock/tool-call", input="Hello", tools=tools, stream=True))
        arguments = "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta")
        self.assertEqual(json.loads(arguments), json.loads(call.arguments))

    def test_vision(self):
        content = [
            {"type": "input_text", "text": "What is this?"},
            {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
        ]
        answer = client().responses.create(model="mock/echo", input=[{"role": "user", "content": content}])
        self.assertEqual(answer.output_text, "What is this? [1 image]")


class OtherOperations(unittest.TestCase):
    def test_embeddings(self):
        for encoding in (openai.NOT_GIVEN, "float", "base64"):
            answer = client().embeddings.create(
                model="mock/embed", input=["one", "two", "one"], dimensions=16, encoding_format=encoding
            )
            self.assertEqual([d.index for d in answer.data], [0, 1, 2])
            self.assertEqual(answer.data[0].embedding, answer.data[2].embedding)
            self.assertNotEqual(answer.data[0].embedding, answer.data[1].embedding)
            self.assertGreater(answer.usage.prompt_tokens, 0)

    def test_models(self):
        models = list(client().models.list())
        self.assertIn("assistant", [m.id for m in models])
        self.assertEqual(client().models.retrieve("assistant").object, "model")
        with self.assertRaises(openai.NotFoundError):
            client().models.retrieve("no-such-model")

    def test_images(self):
        answer = client().images.generate(model="mock/image", prompt="a cat", response_format="b64_json")
        self.assertEqual(base64.b64decode(answer.data[0].b64_json)[:4], b"\x89PNG")
        answer = client().images.edit(
            model="mock/image", image=("a.png", base64.b64decode(PNG), "image/png"), prompt="a dog"
        )
        self.assertEqual(len(answer.data), 1)

    def test_audio(self):
        audio = b"RIFF" + bytes(range(256)) * 4000
        text = client().audio.transcriptions.create(model="mock/whisper", file=("a.wav", audio, "audio/wav"))
        self.assertTrue(text.text)
        text = client().audio.translations.create(model="mock/whisper", file=("a.wav", audio, "audio/wav"))
        self.assertTrue(text.text)
        speech = client().audio.speech.create(model="mock/tts", voice="alloy", input="Hello")
        self.assertTrue(speech.read())

    def test_moderations(self):
        answer = client().moderations.create(model="mock/moderation", input="Hello")
        self.assertIsNotNone(answer.results[0].flagged)


class Errors(unittest.TestCase):
    def failure(self, kind, model="mock/echo", **options):
        with self.assertRaises(kind) as caught:
            client(**options).chat.completions.create(model=model, messages=HELLO)
        self.assertTrue(caught.exception.request_id)
        self.assertTrue(caught.exception.message)
        return caught.exception

    def test_wrong_key(self):
        error = self.failure(openai.AuthenticationError, api_key="wrong")
        self.assertEqual(error.code, "invalid_api_key")

    def test_unknown_model(self):
        error = self.failure(openai.NotFoundError, "no-such-model")
        self.assertEqual((error.code, error.param), ("model_not_found", "model"))

    def test_unknown_path(self):
        with self.assertRaises(openai.NotFoundError):
            client().get("/no/such/path", cast_to=object)

    def test_bad_request(self):
        error = self.failure(openai.BadRequestError, "mock/context-length")
        self.assertEqual(error.code, "context_length_exceeded")
        with self.assertRaises(openai.BadRequestError):
            client().post("/chat/completions", cast_to=object, body=["not an object"])

    def test_rate_limit(self):
        error = self.failure(openai.RateLimitError, "mock/status-429-retry-2s")
        self.assertEqual(error.response.headers["retry-after"], "2")

    def test_rate_limit_is_waited_for(self):
        # The SDK's own retries read the header: two attempts, at least a second apart, then the error.
        with self.assertRaises(openai.RateLimitError):
            client(max_retries=1).chat.completions.create(model="mock/status-429-retry-1s", messages=HELLO)

    def test_server_errors(self):
        for model in ("mock/status-500", "mock/status-503", "mock/cut-header", "mock/garbage"):
            error = self.failure(openai.InternalServerError, model)
            self.assertGreaterEqual(error.status_code, 500)

    def test_refused_provider_key(self):
        # The account behind the gateway is refused: not the caller's authentication.
        error = self.failure(openai.InternalServerError, "refusing/status-401")
        self.assertEqual(error.status_code, 502)

    def test_other_statuses(self):
        error = self.failure(openai.APIStatusError, "mock/status-422")
        self.assertEqual(error.status_code, 422)

    def test_too_large(self):
        with self.assertRaises(openai.APIStatusError) as caught:
            messages = [{"role": "user", "content": LONG_PROMPT * 4}]
            client().chat.completions.create(model="mock/echo", messages=messages)
        self.assertEqual(caught.exception.status_code, 413)

    def test_error_in_a_stream(self):
        for model in ("mock/error-after-3", "mock/cut-after-3", "mock/end-early-after-3", "mock/half-chunk"):
            with self.subTest(model), self.assertRaises(openai.APIError):
                for _ in client().chat.completions.create(model=model, messages=HELLO, stream=True):
                    pass
        # In the Responses API an error is an event like the others; the SDK hands it over and raises nothing.
        for model in ("mock/error-after-3", "mock/cut-after-3", "mock/end-early-after-3"):
            with self.subTest(f"responses {model}"):
                events = list(client().responses.create(model=model, input="Hello", stream=True))
                self.assertIn(events[-1].type, ("error", "response.failed"))
                numbers = [e.sequence_number for e in events]
                self.assertEqual(numbers, list(range(len(numbers))))

    def test_timeout(self):
        with self.assertRaises(openai.APITimeoutError):
            client(timeout=0.5).chat.completions.create(model="mock/stall-header", messages=HELLO)


if __name__ == "__main__":
    unittest.main()
