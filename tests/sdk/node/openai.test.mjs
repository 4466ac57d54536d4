// The official OpenAI SDK for Node against the gateway; run by `node --test`.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { test } from "node:test";

// The SDK is installed beside the suite's other tools, not beside this file.
const require = createRequire(`${process.env.SDK_HOME}/`);
const { default: OpenAI, toFile } = await import(pathToFileURL(require.resolve("openai")).href);

const { GATEWAY_URL, GATEWAY_KEY } = process.env;
const make = (options = {}) =>
  new OpenAI({ baseURL: `${GATEWAY_URL}/v1`, apiKey: GATEWAY_KEY, maxRetries: 0, timeout: 60_000, ...options });
const client = make();
const messages = [{ role: "user", content: "Hello there" }];
const parameters = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
};
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";

const failure = async (kind, promise) => {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof kind, `${error?.constructor?.name}: ${error}`);
    return error;
  }
  assert.fail(`no ${kind.name}`);
};

test("chat", async () => {
  const answer = await client.chat.completions.create({ model: "mock/echo", messages });
  assert.equal(answer.choices[0].message.content, "Hello there");
  assert.ok(answer.usage.total_tokens > 0);
  assert.ok(answer._request_id);
});

test("stream", async () => {
  const stream = await client.chat.completions.create({ model: "mock/lorem-100", messages, stream: true });
  let texts = 0;
  for await (const chunk of stream) {
    assert.ok(chunk.choices.length > 0, "the hidden usage chunk");
    if (chunk.choices[0].delta.content) texts += 1;
  }
  assert.equal(texts, 100);
});

test("stream helper with usage", async () => {
  const runner = client.chat.completions.stream({
    model: "mock/echo",
    messages,
    stream_options: { include_usage: true },
  });
  assert.equal(await runner.finalContent(), "Hello there");
  assert.ok((await runner.totalUsage()).completion_tokens > 0);
});

test("tools", async () => {
  const answer = await client.chat.completions.create({ model: "mock/tool-call", messages, tools });
  const [call] = answer.choices[0].message.tool_calls;
  assert.equal(call.function.name, "get_weather");
  assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)).sort(), ["city", "days"]);
  const result = { role: "tool", tool_call_id: call.id, content: "sunny and warm" };
  const next = await client.chat.completions.create({
    model: "mock/tool-call",
    messages: [...messages, answer.choices[0].message, result],
    tools,
  });
  assert.match(next.choices[0].message.content, /sunny and warm/);
});

test("streamed tool deltas", async () => {
  const runner = client.chat.completions.stream({ model: "mock/tool-calls-2", messages, tools });
  const message = await runner.finalMessage();
  assert.equal(message.tool_calls.length, 2);
  for (const call of message.tool_calls) {
    assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)).sort(), ["city", "days"]);
  }
});

test("vision", async () => {
  const content = [
    { type: "text", text: "What is this?" },
    { type: "image_url", image_url: { url: `data:image/png;base64,${PNG}` } },
  ];
  const answer = await client.chat.completions.create({ model: "mock/echo", messages: [{ role: "user", content }] });
  assert.equal(answer.choices[0].message.content, "What is this? [1 image]");
});

test("10 MiB prompt", async () => {
  const content = "All work and no play. ".repeat(500_000);
  const answer = await client.chat.completions.create({ model: "mock/inspect", messages: [{ role: "user", content }] });
  assert.ok(JSON.parse(answer.choices[0].message.content).body_len > 10 * 1024 * 1024);
});

test("responses", async () => {
  const answer = await client.responses.create({ model: "mock/echo", input: "Hello there" });
  assert.equal(answer.output_text, "Hello there");
  const stream = await client.responses.create({ model: "mock/lorem-20", input: "Hello", stream: true });
  let deltas = 0;
  let last;
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") deltas += 1;
    last = event.type;
  }
  assert.deepEqual([deltas, last], [20, "response.completed"]);
});

test("embeddings", async () => {
  const answer = await client.embeddings.create({ model: "mock/embed", input: ["one", "two", "one"] });
  assert.equal(answer.data.length, 3);
  assert.deepEqual(answer.data[0].embedding, answer.data[2].embedding);
  assert.equal(typeof answer.data[0].embedding[0], "number");
});

test("models", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes("assistant"), ids.join());
  assert.equal((await client.models.retrieve("assistant")).id, "assistant");
});

test("images and audio", async () => {
  const image = await client.images.generate({ model: "mock/image", prompt: "a cat" });
  assert.equal(image.data.length, 1);
  const file = await toFile(Buffer.alloc(1_000_000, 7), "a.wav", { type: "audio/wav" });
  const text = await client.audio.transcriptions.create({ model: "mock/whisper", file });
  assert.ok(text.text);
  const speech = await client.audio.speech.create({ model: "mock/tts", voice: "alloy", input: "Hello" });
  assert.ok((await speech.arrayBuffer()).byteLength > 0);
});

test("errors", async () => {
  const chat = (model, options) => make(options).chat.completions.create({ model, messages });
  let error = await failure(OpenAI.AuthenticationError, chat("mock/echo", { apiKey: "wrong" }));
  assert.equal(error.code, "invalid_api_key");
  error = await failure(OpenAI.NotFoundError, chat("no-such-model"));
  assert.equal(error.code, "model_not_found");
  error = await failure(OpenAI.BadRequestError, chat("mock/context-length"));
  assert.equal(error.code, "context_length_exceeded");
  error = await failure(OpenAI.RateLimitError, chat("mock/status-429-retry-2s"));
  assert.equal(error.headers.get("retry-after"), "2");
  error = await failure(OpenAI.InternalServerError, chat("refusing/status-401"));
  assert.equal(error.status, 502);
  await failure(OpenAI.InternalServerError, chat("mock/status-500"));
  await failure(OpenAI.APIConnectionTimeoutError, chat("mock/stall-header", { timeout: 500 }));
});

test("errors inside a stream", async () => {
  for (const model of ["mock/error-after-3", "mock/cut-after-3", "mock/end-early-after-3"]) {
    const drain = async () => {
      for await (const _ of await client.chat.completions.create({ model, messages, stream: true }));
    };
    await failure(OpenAI.APIError, drain());
  }
});

test("a stream that is aborted leaves the client usable", async () => {
  for (let i = 0; i < 5; i += 1) {
    const stream = await client.chat.completions.create({ model: "mock/never-ends", messages, stream: true });
    for await (const _ of stream) break;
  }
  const answer = await client.chat.completions.create({ model: "mock/echo", messages });
  assert.equal(answer.choices[0].message.content, "Hello there");
});
