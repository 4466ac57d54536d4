"""The six dialects' official SDKs, and what their objects say, summed up as in `expect.py`.

Each client has `ask(model, stream)`. An SDK's own error becomes its message and status; any other exception is a
failure.
"""

import json

import anthropic
import boto3
import botocore.exceptions
import cohere
import cohere.core
import httpx
import openai
from botocore.config import Config
from google import genai
from google.genai import errors as genai_errors

from expect import counted, openai_text, stop, summary, told
from support import GATEWAY, KEY

HELLO = [{"role": "user", "content": "Hello there"}]
TIMEOUT = 30


def field(of, *names):
    """What an SDK's object has under these names; None if there is none."""
    for name in names:
        of = getattr(of, name, None)
    return of


class Client:
    """`whole` and `stream` give a summary and raise one of `errors`."""

    def ask(self, model, stream):
        try:
            return self.stream(model) if stream else self.whole(model)
        except self.errors as error:
            return {"error": str(error), "status": self.status(error)}

    def status(self, error):
        return getattr(error, "status_code", None)


class OpenAiChat(Client):
    errors = openai.APIError

    def __init__(self):
        self.sdk = openai.OpenAI(base_url=f"{GATEWAY}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT)

    def whole(self, model):
        answer = self.sdk.chat.completions.create(model=model, messages=HELLO)
        choice = answer.choices[0]
        message = choice.message
        calls = [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or []]
        return self.summary(message, message.content or message.refusal, calls, choice.finish_reason, answer.usage)

    def stream(self, model):
        options = {"include_usage": True}
        with self.sdk.chat.completions.stream(model=model, messages=HELLO, stream_options=options) as stream:
            reasoning, usages, ended = "", 0, None
            for event in stream:
                if event.type == "chunk":
                    usages += event.chunk.usage is not None
                    for choice in event.chunk.choices:
                        reasoning += getattr(choice.delta, "reasoning_content", None) or ""
                        ended = choice.finish_reason or ended
            snapshot = stream.current_completion_snapshot
        assert usages <= 1, f"{usages} chunks have a usage"
        message = snapshot.choices[0].message
        message.reasoning_content = reasoning
        calls = [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or []]
        return self.summary(message, message.content or message.refusal, calls, ended, snapshot.usage)

    def summary(self, message, text, calls, ended, usage):
        heard = field(usage, "prompt_tokens_details")
        counts = counted(
            field(usage, "prompt_tokens"),
            field(usage, "completion_tokens"),
            cached=field(heard, "cached_tokens"),
            cache_write=field(heard, "cache_write_tokens"),
            reasoning=field(usage, "completion_tokens_details", "reasoning_tokens"),
        )
        counts = told("openai-chat", counts)
        return summary(text or "", getattr(message, "reasoning_content", None) or "", calls, stop(ended), counts)


class OpenAiResponses(Client):
    errors = openai.APIError

    def __init__(self):
        self.sdk = openai.OpenAI(base_url=f"{GATEWAY}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT)

    def whole(self, model):
        return self.summary(self.sdk.responses.create(model=model, input="Hello there"))

    def stream(self, model):
        deltas = {}
        with self.sdk.responses.stream(model=model, input="Hello there") as stream:
            final = None
            for event in stream:
                if event.type in ("response.output_text.delta", "response.function_call_arguments.delta"):
                    deltas[event.output_index] = deltas.get(event.output_index, "") + event.delta
                elif event.type in ("response.completed", "response.incomplete"):
                    final = event.response
                elif event.type == "response.failed":
                    return {"error": event.response.error.message, "status": None}
        for place, item in enumerate(final.output):
            text = item_text(item) if item.type == "message" else getattr(item, "arguments", "")
            assert text == deltas.get(place, ""), f"item {place} says {text!r}, its deltas {deltas.get(place)!r}"
        return self.summary(final)

    def summary(self, answer):
        items = answer.output
        text = "".join(item_text(item) for item in items if item.type == "message")
        thoughts = [item for item in items if item.type == "reasoning"]
        reasoning = "".join(p.text for item in thoughts for p in [*(item.summary or []), *(item.content or [])])
        calls = [(item.call_id, item.name, item.arguments) for item in items if item.type == "function_call"]
        word = answer.incomplete_details.reason if answer.incomplete_details else answer.status
        heard = field(answer.usage, "input_tokens_details")
        counts = counted(
            field(answer.usage, "input_tokens"),
            field(answer.usage, "output_tokens"),
            cached=field(heard, "cached_tokens"),
            cache_write=field(heard, "cache_write_tokens"),
            reasoning=field(answer.usage, "output_tokens_details", "reasoning_tokens"),
        )
        return summary(text, reasoning, calls, stop(word), told("openai-responses", counts))


def item_text(item):
    return "".join(part.refusal if part.type == "refusal" else part.text for part in item.content)


class Anthropic(Client):
    errors = anthropic.APIError

    def __init__(self):
        self.sdk = anthropic.Anthropic(base_url=GATEWAY, api_key=KEY, max_retries=0, timeout=TIMEOUT)

    def whole(self, model):
        return self.summary(self.sdk.messages.create(model=model, max_tokens=1000, messages=HELLO))

    def stream(self, model):
        with self.sdk.messages.stream(model=model, max_tokens=1000, messages=HELLO) as stream:
            return self.summary(stream.get_final_message())

    def summary(self, answer):
        text = "".join(block.text for block in answer.content if block.type == "text")
        reasoning = "".join(block.thinking for block in answer.content if block.type == "thinking")
        calls = [(block.id, block.name, block.input) for block in answer.content if block.type == "tool_use"]
        usage = answer.usage
        given = usage.input_tokens + (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
        counts = counted(
            given,
            usage.output_tokens,
            cached=usage.cache_read_input_tokens,
            cache_write=usage.cache_creation_input_tokens,
            reasoning=field(usage, "output_tokens_details", "thinking_tokens"),
        )
        return summary(text, reasoning, calls, stop(answer.stop_reason), told("anthropic", counts))


class Gemini(Client):
    errors = genai_errors.APIError

    def __init__(self):
        options = {"base_url": GATEWAY, "timeout": TIMEOUT * 1000, "retry_options": {"attempts": 1}}
        self.sdk = genai.Client(api_key=KEY, vertexai=False, http_options=options)

    def whole(self, model):
        return self.summary([self.sdk.models.generate_content(model=model, contents="Hello there")])

    def stream(self, model):
        return self.summary(list(self.sdk.models.generate_content_stream(model=model, contents="Hello there")))

    def summary(self, answers):
        text, reasoning, calls, ended, usage = "", "", [], None, None
        for answer in answers:
            usage = answer.usage_metadata or usage
            if answer.prompt_feedback and answer.prompt_feedback.block_reason:
                ended = "SAFETY"
            for candidate in answer.candidates or []:
                ended = candidate.finish_reason.value if candidate.finish_reason else ended
                for part in (candidate.content and candidate.content.parts) or []:
                    if part.thought:
                        reasoning += part.text or ""
                    elif part.text:
                        text += part.text
                    if call := part.function_call:
                        calls.append((call.id, call.name, call.args or {}))
        count = lambda *names: sum(field(usage, name) or 0 for name in names)
        counts = counted(
            count("prompt_token_count", "tool_use_prompt_token_count"),
            count("candidates_token_count", "thoughts_token_count"),
            cached=count("cached_content_token_count"),
            reasoning=count("thoughts_token_count"),
        )
        return summary(text, reasoning, calls, stop(ended), told("gemini", counts))

    def status(self, error):
        return error.code


class Bedrock(Client):
    errors = (botocore.exceptions.ClientError, botocore.exceptions.EventStreamError)

    def __init__(self):
        # It sends bearer tokens over TLS only: here the key is in a header, beside a signature that means nothing.
        config = Config(retries={"total_max_attempts": 1}, read_timeout=TIMEOUT)
        session = boto3.Session(aws_access_key_id="any", aws_secret_access_key="any", region_name="us-east-1")
        self.sdk = session.client("bedrock-runtime", endpoint_url=GATEWAY, config=config)
        add_key = lambda params, **_: params["headers"].update({"x-api-key": KEY})
        self.sdk.meta.events.register("before-call.bedrock-runtime", add_key)
        self.messages = [{"role": "user", "content": [{"text": "Hello there"}]}]

    def whole(self, model):
        answer = self.sdk.converse(modelId=model, messages=self.messages)
        return self.summary(answer["output"]["message"]["content"], answer["stopReason"], answer.get("usage"))

    def stream(self, model):
        blocks, ended, usage = {}, None, None
        for event in self.sdk.converse_stream(modelId=model, messages=self.messages)["stream"]:
            if start := event.get("contentBlockStart"):
                use = start["start"].get("toolUse")
                blocks[start["contentBlockIndex"]] = {"toolUse": {**use, "input": ""}} if use else {}
            if more := event.get("contentBlockDelta"):
                block, delta = blocks.setdefault(more["contentBlockIndex"], {}), more["delta"]
                if "text" in delta:
                    block["text"] = block.get("text", "") + delta["text"]
                if thought := delta.get("reasoningContent", {}).get("text"):
                    said = block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})["reasoningText"]
                    said["text"] += thought
                if "toolUse" in delta:
                    block["toolUse"]["input"] += delta["toolUse"]["input"]
            if end := event.get("messageStop"):
                ended = end["stopReason"]
            if metadata := event.get("metadata"):
                usage = metadata.get("usage")
        return self.summary(blocks.values(), ended, usage)

    def summary(self, blocks, ended, usage):
        cited = lambda block: block.get("citationsContent", {}).get("content", [])
        text = "".join(block.get("text", "") + "".join(part["text"] for part in cited(block)) for block in blocks)
        thoughts = [block.get("reasoningContent", {}).get("reasoningText", {}) for block in blocks]
        uses = [block["toolUse"] for block in blocks if "toolUse" in block]
        calls = [(use["toolUseId"], use["name"], use["input"]) for use in uses]
        usage = usage or {}
        given = ["inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"]
        counts = counted(
            sum(usage.get(name, 0) for name in given),
            usage.get("outputTokens"),
            cached=usage.get("cacheReadInputTokens"),
            cache_write=usage.get("cacheWriteInputTokens"),
        )
        reasoning = "".join(thought.get("text", "") for thought in thoughts)
        return summary(text, reasoning, calls, stop(ended), told("bedrock", counts))

    def status(self, error):
        return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")


class Cohere(Client):
    errors = cohere.core.ApiError

    def __init__(self):
        http = httpx.Client(timeout=TIMEOUT)
        self.sdk = cohere.ClientV2(KEY, base_url=GATEWAY, timeout=TIMEOUT, max_retries=0, httpx_client=http)

    def whole(self, model):
        answer = self.sdk.chat(model=model, messages=HELLO)
        message = answer.message
        parts = message.content or []
        text = "".join(part.text for part in parts if part.type == "text") + (message.tool_plan or "")
        reasoning = "".join(part.thinking for part in parts if part.type == "thinking")
        calls = [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or []]
        return self.summary(text, reasoning, calls, answer.finish_reason, answer.usage)

    def stream(self, model):
        text, reasoning, calls, ended, usage = "", "", {}, None, None
        for event in self.sdk.chat_stream(model=model, messages=HELLO):
            message = event.delta.message if getattr(event, "delta", None) and hasattr(event.delta, "message") else None
            if event.type in ("content-start", "content-delta"):
                text += message.content.text or ""
                reasoning += message.content.thinking or ""
            elif event.type == "tool-plan-delta":
                text += message.tool_plan
            elif event.type == "tool-call-start":
                call = message.tool_calls
                calls[event.index] = [call.id, call.function.name, call.function.arguments or ""]
            elif event.type == "tool-call-delta":
                calls[event.index][2] += message.tool_calls.function.arguments
            elif event.type == "message-end":
                if event.delta.error:
                    return {"error": event.delta.error, "status": None}
                ended, usage = event.delta.finish_reason, event.delta.usage
        return self.summary(text, reasoning, calls.values(), ended, usage)

    def summary(self, text, reasoning, calls, ended, usage):
        billed = field(usage, "billed_units")
        counts = counted(
            field(billed, "input_tokens"), field(billed, "output_tokens"), cached=field(usage, "cached_tokens")
        )
        return summary(text, reasoning, calls, stop(ended), told("cohere", counts))


def all_clients():
    return {
        "openai-chat": OpenAiChat(),
        "openai-responses": OpenAiResponses(),
        "anthropic": Anthropic(),
        "gemini": Gemini(),
        "bedrock": Bedrock(),
        "cohere": Cohere(),
    }
