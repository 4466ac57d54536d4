"""What each recorded answer says, read from its raw wire and by no code of the gateway.

A recording is summed up as what every dialect can say:

    {"text": str, "reasoning": str, "calls": [{"id", "name", "arguments"}], "stop": str,
     "usage": {"input", "output", "cached", "cache_write", "reasoning"}}

or, when it is an error or breaks off with one, as `{"error": str}`, its message, with the HTTP `status` if it has one.
`stop` is one of `end`, `length`, `tool_calls`, `refused` and `other`; `usage` has the totals, cache and reasoning included,
and what of them was read from the provider's cache, was written to it, and is reasoning.
A call's id is None where the provider gave none, and then any will do.

`python expect.py FILE` writes all of them for the Node suite.
"""

import base64
import json
import struct
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[4] / "shared/conformance/recordings"
DIALECTS = ["openai-chat", "openai-responses", "anthropic", "gemini", "bedrock", "cohere"]
# What a dialect has words for, beside the totals.
PARTS = {
    "openai-chat": ["cached", "cache_write", "reasoning"],
    "openai-responses": ["cached", "cache_write", "reasoning"],
    "anthropic": ["cached", "cache_write", "reasoning"],
    "gemini": ["cached", "reasoning"],
    "bedrock": ["cached", "cache_write"],
    "cohere": ["cached"],
}


def counted(input=0, output=0, **parts):
    """A usage; what is not told is 0."""
    counts = {"input": input, "output": output, "cached": 0, "cache_write": 0, "reasoning": 0} | parts
    return {name: int(count or 0) for name, count in counts.items()}


def summary(text="", reasoning="", calls=(), stop="other", usage=None):
    # Dialects set parts of the reasoning apart in their own ways; where is not compared.
    reasoning = "".join(reasoning.splitlines())
    parsed = lambda text: json.loads(text or "{}") if isinstance(text, str) else text
    calls = [{"id": id or None, "name": name, "arguments": parsed(text)} for id, name, text in calls]
    if calls and stop == "end":
        stop = "tool_calls"
    return {
        "text": text,
        "reasoning": reasoning,
        "calls": calls,
        "stop": stop,
        "usage": usage or counted(),
    }


# Words of all dialects for why an answer ended.
STOPS = {
    "end": "stop completed complete end_turn stop_sequence STOP COMPLETE STOP_SEQUENCE",
    "length": "length max_output_tokens max_tokens MAX_TOKENS model_context_window_exceeded",
    "tool_calls": "tool_calls function_call tool_use TOOL_CALL",
    "refused": "content_filter refusal SAFETY content_filtered guardrail_intervened MODEL_ARMOR",
}
STOPS = {word: reason for reason, words in STOPS.items() for word in words.split()}


def stop(word):
    return STOPS.get(word, "other")


def events(body):
    """The JSON payloads of an SSE text."""
    data = [line[5:].strip() for line in body.splitlines() if line.startswith("data:")]
    return [json.loads(text) for text in data if text != "[DONE]"]


def openai_usage(usage):
    given, made = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    # xAI and Gemini's OpenAI endpoint leave the reasoning out of the completion but not out of the total.
    hidden = max(0, usage.get("total_tokens", 0) - given - made)
    heard = usage.get("prompt_tokens_details") or {}
    said = usage.get("completion_tokens_details") or {}
    elsewhere = ("prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens")
    cached = heard.get("cached_tokens") or next((usage[name] for name in elsewhere if usage.get(name)), 0)
    reasoning = said.get("reasoning_tokens") or usage.get("reasoning_tokens") or hidden
    return counted(
        given,
        made + hidden,
        cached=min(cached, given),
        cache_write=heard.get("cache_write_tokens"),
        reasoning=min(reasoning, made + hidden),
    )


def openai_text(content):
    """Text and reasoning of a message's `content`; Mistral's is a list."""
    if not isinstance(content, list):
        return content or "", ""
    text = "".join(part["text"] for part in content if part["type"] == "text")
    thoughts = [piece for part in content if part["type"] == "thinking" for piece in part["thinking"]]
    return text, "".join(piece["text"] for piece in thoughts)


def openai_reasoning(message):
    plain = message.get("reasoning_content") or message.get("reasoning")
    details = message.get("reasoning_details") or []
    return plain or "".join(d.get("text") or d.get("summary") or "" for d in details)


def openai_chat(answers, streamed):
    """A stream's chunks, or the whole answer as the only chunk."""
    text, reasoning, calls, ended, usage = "", "", [], None, None
    for answer in answers:
        if answer.get("error"):
            return {"error": answer["error"]["message"]}
        if not streamed and "choices" not in answer:
            return {"error": ""}
        counts = answer.get("usage") or (answer.get("x_groq") or {}).get("usage")
        usage = openai_usage(counts) if counts else usage
        for choice in answer.get("choices") or []:
            message = choice.get("delta" if streamed else "message") or {}
            more, thought = openai_text(message.get("content"))
            text += more
            reasoning += thought or openai_reasoning(message)
            for place, call in enumerate(message.get("tool_calls") or []):
                place = call.get("index", place) if streamed else place
                while len(calls) <= place:
                    calls.append([None, "", ""])
                calls[place][0] = calls[place][0] or call.get("id")
                calls[place][1] += call["function"].get("name") or ""
                calls[place][2] += call["function"].get("arguments") or ""
            ended = choice.get("finish_reason") or ended
    return summary(text, reasoning, calls, stop(ended), usage)


def openai_responses(answer):
    text, reasoning, calls = "", [], []
    for item in answer["output"]:
        if item["type"] == "message":
            text += "".join(part.get("text") or part.get("refusal") or "" for part in item["content"])
        elif item["type"] == "reasoning":
            reasoning += [part["text"] for part in (item.get("summary") or []) + (item.get("content") or [])]
        elif item["type"] == "function_call":
            calls.append((item["call_id"], item["name"], item["arguments"]))
    word = (answer.get("incomplete_details") or {}).get("reason") or answer["status"]
    return summary(text, "".join(reasoning), calls, stop(word), responses_usage(answer.get("usage") or {}))


def responses_usage(usage):
    heard, said = usage.get("input_tokens_details") or {}, usage.get("output_tokens_details") or {}
    return counted(
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        cached=heard.get("cached_tokens"),
        cache_write=heard.get("cache_write_tokens"),
        reasoning=said.get("reasoning_tokens"),
    )


def anthropic(answer):
    said = lambda kind, field: "".join(block[field] for block in answer["content"] if block["type"] == kind)
    calls = [(b["id"], b["name"], b["input"]) for b in answer["content"] if b["type"] == "tool_use"]
    usage = answer["usage"]
    given = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"]
    counts = counted(
        sum(usage.get(name) or 0 for name in given),
        usage["output_tokens"],
        cached=usage.get("cache_read_input_tokens"),
        cache_write=usage.get("cache_creation_input_tokens"),
        reasoning=(usage.get("output_tokens_details") or {}).get("thinking_tokens"),
    )
    return summary(said("text", "text"), said("thinking", "thinking"), calls, stop(answer["stop_reason"]), counts)


def anthropic_stream(all_events):
    answer = {"content": [], "usage": {}}
    for event in all_events:
        if event["type"] == "message_start":
            answer["usage"] |= event["message"]["usage"]
        elif event["type"] == "content_block_start":
            answer["content"].append({**event["content_block"], "json": ""})
        elif event["type"] == "content_block_delta":
            block, delta = answer["content"][event["index"]], event["delta"]
            for field in ("text", "thinking"):
                block[field] = block.get(field, "") + delta.get(field, "")
            block["json"] += delta.get("partial_json", "")
        elif event["type"] == "message_delta":
            answer |= event["delta"]
            answer["usage"] |= event["usage"]
    for block in answer["content"]:
        if block["json"]:
            block["input"] = json.loads(block["json"])
    return anthropic(answer)


def gemini(answers):
    text, reasoning, calls, ended, usage = "", "", [], None, {}
    for answer in answers:
        usage |= answer.get("usageMetadata") or {}
        if (answer.get("promptFeedback") or {}).get("blockReason"):
            ended = "SAFETY"
        for candidate in answer.get("candidates") or []:
            ended = candidate.get("finishReason") or ended
            for part in candidate.get("content", {}).get("parts") or []:
                if part.get("thought"):
                    reasoning += part.get("text", "")
                else:
                    text += part.get("text", "")
                if call := part.get("functionCall"):
                    calls.append((call.get("id"), call["name"], call.get("args") or {}))
    count = lambda *names: sum(usage.get(name) or 0 for name in names)
    counts = counted(
        count("promptTokenCount", "toolUsePromptTokenCount"),
        count("candidatesTokenCount", "thoughtsTokenCount"),
        cached=count("cachedContentTokenCount"),
        reasoning=count("thoughtsTokenCount"),
    )
    return summary(text, reasoning, calls, stop(ended), counts)


def bedrock(answer):
    text, reasoning, calls = "", "", []
    for block in answer["output"]["message"]["content"]:
        text += block.get("text", "")
        reasoning += block.get("reasoningContent", {}).get("reasoningText", {}).get("text", "")
        if use := block.get("toolUse"):
            calls.append((use["toolUseId"], use["name"], use["input"]))
    usage = answer["usage"]
    given = ["inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"]
    counts = counted(
        sum(usage.get(name) or 0 for name in given),
        usage["outputTokens"],
        cached=usage.get("cacheReadInputTokens"),
        cache_write=usage.get("cacheWriteInputTokens"),
    )
    return summary(text, reasoning, calls, stop(answer["stopReason"]), counts)


def bedrock_stream(encoded):
    blocks, answer, rest = {}, {}, base64.b64decode(encoded)
    while rest:
        total, head, _ = struct.unpack(">III", rest[:12])
        names, event, rest = rest[12 : 12 + head], json.loads(rest[12 + head : total - 4]), rest[total:]
        # One of the headers' values is the event's name; the last here stands for all others.
        known = "contentBlockStart", "contentBlockDelta", "messageStop", "metadata", ""
        name = next(name for name in known if name.encode() in names)
        block = blocks.setdefault(event.get("contentBlockIndex"), {"text": "", "thought": "", "use": {}, "json": ""})
        if name == "contentBlockStart":
            block["use"] = event["start"].get("toolUse", {})
        elif name == "contentBlockDelta":
            block["text"] += event["delta"].get("text", "")
            block["thought"] += event["delta"].get("reasoningContent", {}).get("text", "")
            block["json"] += event["delta"].get("toolUse", {}).get("input", "")
        elif name in ("messageStop", "metadata"):
            answer |= event
    content = []
    for block in blocks.values():
        content.append({"text": block["text"], "reasoningContent": {"reasoningText": {"text": block["thought"]}}})
        if block["use"]:
            content.append({"toolUse": {**block["use"], "input": json.loads(block["json"] or "{}")}})
    return bedrock({**answer, "output": {"message": {"content": content}}})


def cohere(answer):
    message, usage = answer["message"], answer["usage"]
    billed, tokens = usage["billed_units"], usage.get("tokens") or {}
    said = lambda kind: "".join(part[kind] for part in message.get("content") or [] if part["type"] == kind)
    calls = [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls") or []]
    text = said("text") + (message.get("tool_plan") or "")
    # What is cached is of all tokens, which has the preamble that is not billed: so much of the billed ones is certain.
    anew = tokens.get("input_tokens", 0) - (usage.get("cached_tokens") or 0)
    cached = max(0, billed["input_tokens"] - anew) if usage.get("cached_tokens") else 0
    counts = counted(billed["input_tokens"], billed["output_tokens"], cached=cached)
    return summary(text, said("thinking"), calls, stop(answer["finish_reason"]), counts)


def said(recording):
    """The summary of a recording."""
    answer, dialect = recording["response"], recording["dialect"]
    body = answer.get("body")
    if answer["status"] >= 300:
        return {"error": body.get("error", body)["message"], "status": answer["status"]}
    if dialect == "bedrock":
        return bedrock_stream(answer["body_base64"]) if recording["stream"] else bedrock(body)
    if dialect == "cohere":
        return cohere(body)
    found = events(body) if recording["stream"] else [body]
    if dialect == "openai-chat":
        return openai_chat(found, recording["stream"])
    if dialect == "openai-responses":
        return openai_responses(found[-1]["response"] if recording["stream"] else body)
    if dialect == "anthropic":
        return anthropic_stream(found) if recording["stream"] else anthropic(body)
    return gemini(found)


def name_of(path):
    return path.stem.removeprefix("tests-models-cassettes-")


def recordings():
    """All chat answers: name, dialect, whether a stream, and what is said."""
    for dialect in DIALECTS:
        for path in sorted((FOLDER / dialect).glob("*.json")):
            recording = json.loads(path.read_text())
            if recording["operation"] == "chat":
                streamed = recording["stream"] and recording["response"]["status"] < 300
                yield {"name": name_of(path), "dialect": dialect, "stream": streamed, "said": said(recording)}


# What a client's dialect cannot say, and what it says instead: (clients, when, instead, why).
# `when` sees the recording, `instead` whether the client streams; it gives the fields that change, or an error.
EXCEPTIONS = [
    (
        ["openai-chat", "anthropic", "bedrock"],
        lambda recording: recording["dialect"] == "openai-responses" and recording["said"]["stop"] == "other",
        lambda stream: {"stop": "length"},
        "a background answer that is still `queued`: these have no word for it, and it must not look complete",
    ),
    (
        ["cohere"],
        lambda recording: recording["said"]["stop"] == "refused",
        lambda stream: {"error": "the provider's filter cut the answer off"} if stream else {"stop": "other"},
        "its only word for an answer that was filtered is `ERROR`, and in streams a text stands beside it",
    ),
]


def told(client, usage):
    """What of a usage the dialect `client` has words for."""
    return {name: usage[name] for name in ["input", "output", *PARTS[client]]}


def expected(recording, client, stream):
    """What a client of dialect `client` must read."""
    result = recording["said"]
    if "usage" in result:
        result = result | {"usage": told(client, result["usage"])}
    for clients, when, instead, _why in EXCEPTIONS:
        if client in clients and "error" not in result and when(recording):
            change = instead(stream)
            result = change if "error" in change else result | change
    return result


def differences(want, got):
    """How what an SDK read differs from what it must read."""
    if "error" in want or "error" in got:
        same = "error" in want and "error" in got and want["error"] in got["error"]
        same = same and want.get("status", got["status"]) == got["status"]
        return [] if same else [f"expected {shown(want)}, got {shown(got)}"]
    wrong = [field for field in want if field != "calls" and want[field] != got[field]]
    found = [f"{field}: expected {shown(want[field])}, got {shown(got[field])}" for field in wrong]
    any_id = lambda calls: [{**c, "id": c["id"] if w["id"] else None} for c, w in zip(calls, want["calls"])]
    ids = [call["id"] for call in got["calls"]]
    if len(got["calls"]) != len(want["calls"]) or any_id(got["calls"]) != want["calls"]:
        found.append(f"calls: expected {shown(want['calls'])}, got {shown(got['calls'])}")
    elif not all(ids) or len(set(ids)) != len(ids):
        found.append(f"calls: ids {ids}")
    return found


def shown(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 400 else f"{text[:200]} … {text[-190:]}"


if __name__ == "__main__":
    both = lambda *of: {"whole": expected(*of, False), "stream": expected(*of, True)}
    rows = [{**r, "expected": {client: both(r, client) for client in DIALECTS}} for r in recordings()]
    Path(sys.argv[1]).write_text(json.dumps(rows))
