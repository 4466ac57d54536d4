// The official SDKs for Node and Vercel's AI SDK, and what their objects say, summed up as in `../python/expect.py`.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The SDKs are installed beside the suite's other tools, not beside this file.
const require = createRequire(`${process.env.SDK_HOME}/`);
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const [openai, anthropic, google, ai, compatible, aiOpenai, aiAnthropic, aiGoogle] = await Promise.all(
  [
    "openai",
    "@anthropic-ai/sdk",
    "@google/genai",
    "ai",
    "@ai-sdk/openai-compatible",
    "@ai-sdk/openai",
    "@ai-sdk/anthropic",
    "@ai-sdk/google",
  ].map(load),
);

globalThis.AI_SDK_LOG_WARNINGS = false;
const { GATEWAY_URL, GATEWAY_KEY } = process.env;
const TIMEOUT = 30_000;
const hello = "Hello there";
const messages = [{ role: "user", content: hello }];
const sdk = (path) => ({ baseURL: `${GATEWAY_URL}${path}`, apiKey: GATEWAY_KEY, maxRetries: 0, timeout: TIMEOUT });

const STOPS = {
  end: ["stop", "completed", "end_turn", "stop_sequence", "STOP"],
  length: ["length", "max_output_tokens", "max_tokens", "MAX_TOKENS"],
  tool_calls: ["tool_calls", "tool-calls", "tool_use"],
  refused: ["content_filter", "content-filter", "refusal", "SAFETY", "MODEL_ARMOR"],
};
const stopOf = (word) => Object.keys(STOPS).find((reason) => STOPS[reason].includes(word)) ?? "other";
const parsed = (text) => (typeof text === "string" ? JSON.parse(text || "{}") : text);
const sum = (...counts) => counts.reduce((all, count) => all + (count ?? 0), 0);

/** A usage with what the client has words for; what it does not tell is 0. */
const counted = (counts) => Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, count ?? 0]));

function summary(text, reasoning, calls, word, usage) {
  const all = calls.map(([id, name, text]) => ({ id, name, arguments: parsed(text) }));
  const stop = all.length > 0 && stopOf(word) === "end" ? "tool_calls" : stopOf(word);
  // Where parts of the reasoning are set apart is not compared.
  const joined = reasoning.replace(/[\r\n]+/g, "");
  return { text, reasoning: joined, calls: all, stop, usage: counted(usage) };
}

const joined = (list, kind, field) => list.filter((block) => block.type === kind).map((block) => block[field]).join("");

function openAiChat() {
  const { completions } = new openai.default(sdk("/v1")).chat;
  const sumUp = ({ choices: [{ message, finish_reason }], usage }, reasoning) => {
    const calls = (message.tool_calls ?? []).map((call) => [call.id, call.function.name, call.function.arguments]);
    const text = message.content ?? message.refusal ?? "";
    return summary(text, reasoning ?? "", calls, finish_reason, {
      input: usage?.prompt_tokens,
      output: usage?.completion_tokens,
      cached: usage?.prompt_tokens_details?.cached_tokens,
      cache_write: usage?.prompt_tokens_details?.cache_write_tokens,
      reasoning: usage?.completion_tokens_details?.reasoning_tokens,
    });
  };
  return {
    error: openai.APIError,
    whole: async (model) => {
      const answer = await completions.create({ model, messages });
      return sumUp(answer, answer.choices[0].message.reasoning_content);
    },
    stream: async (model) => {
      const runner = completions.stream({ model, messages, stream_options: { include_usage: true } });
      let reasoning = "";
      runner.on("chunk", (chunk) => {
        reasoning += chunk.choices[0]?.delta.reasoning_content ?? "";
      });
      return sumUp(await runner.finalChatCompletion(), reasoning);
    },
  };
}

function openAiResponses() {
  const { responses } = new openai.default(sdk("/v1"));
  const sumUp = ({ output, usage, status, incomplete_details }) => {
    const parts = output.filter((item) => item.type === "message").flatMap((item) => item.content);
    const text = parts.map((part) => part.text ?? part.refusal).join("");
    const thoughts = output.filter((item) => item.type === "reasoning");
    const reasoning = thoughts.flatMap((item) => [...item.summary, ...(item.content ?? [])]).map((part) => part.text);
    const calls = output.filter((item) => item.type === "function_call");
    const uses = calls.map((call) => [call.call_id, call.name, call.arguments]);
    const word = incomplete_details?.reason ?? status;
    return summary(text, reasoning.join(""), uses, word, {
      input: usage?.input_tokens,
      output: usage?.output_tokens,
      cached: usage?.input_tokens_details?.cached_tokens,
      cache_write: usage?.input_tokens_details?.cache_write_tokens,
      reasoning: usage?.output_tokens_details?.reasoning_tokens,
    });
  };
  return {
    error: openai.APIError,
    whole: async (model) => sumUp(await responses.create({ model, input: hello })),
    stream: async (model) => sumUp(await responses.stream({ model, input: hello }).finalResponse()),
  };
}

function anthropicMessages() {
  const client = new anthropic.default(sdk("")).messages;
  const sumUp = ({ content, usage, stop_reason }) => {
    const calls = content.filter((block) => block.type === "tool_use").map(({ id, name, input }) => [id, name, input]);
    const input = sum(usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens);
    const [text, reasoning] = [joined(content, "text", "text"), joined(content, "thinking", "thinking")];
    return summary(text, reasoning, calls, stop_reason, {
      input,
      output: usage.output_tokens,
      cached: usage.cache_read_input_tokens,
      cache_write: usage.cache_creation_input_tokens,
      reasoning: usage.output_tokens_details?.thinking_tokens,
    });
  };
  const request = (model) => ({ model, messages, max_tokens: 1000 });
  return {
    error: anthropic.APIError,
    whole: async (model) => sumUp(await client.create(request(model))),
    stream: async (model) => sumUp(await client.stream(request(model)).finalMessage()),
  };
}

function gemini() {
  const httpOptions = { baseUrl: GATEWAY_URL, timeout: TIMEOUT, retryOptions: { attempts: 1 } };
  const { models } = new google.GoogleGenAI({ apiKey: GATEWAY_KEY, vertexai: false, httpOptions });
  const sumUp = (answers) => {
    const candidates = answers.flatMap((answer) => answer.candidates ?? []);
    const parts = candidates.flatMap((candidate) => candidate.content?.parts ?? []);
    const texts = (thought) => parts.filter((part) => !!part.thought === thought).map((part) => part.text ?? "");
    const calls = parts.filter((part) => part.functionCall).map(({ functionCall: f }) => [f.id, f.name, f.args ?? {}]);
    const blocked = answers.some((answer) => answer.promptFeedback?.blockReason);
    const word = blocked ? "SAFETY" : candidates.findLast((candidate) => candidate.finishReason)?.finishReason;
    const usage = answers.findLast((answer) => answer.usageMetadata)?.usageMetadata ?? {};
    const input = sum(usage.promptTokenCount, usage.toolUsePromptTokenCount);
    const output = sum(usage.candidatesTokenCount, usage.thoughtsTokenCount);
    const [cached, reasoning] = [usage.cachedContentTokenCount, usage.thoughtsTokenCount];
    return summary(texts(false).join(""), texts(true).join(""), calls, word, { input, output, cached, reasoning });
  };
  return {
    error: google.ApiError,
    whole: async (model) => sumUp([await models.generateContent({ model, contents: hello })]),
    stream: async (model) => {
      const answers = [];
      for await (const answer of await models.generateContentStream({ model, contents: hello })) answers.push(answer);
      return sumUp(answers);
    },
  };
}

/** Vercel's `ai` with one of its providers, and which parts of a usage that tells. It knows only calls of tools that it was given. */
function vercel(provider, parts) {
  const sumUp = async (answer) => {
    const [text, reasoning, uses, word, usage] = await Promise.all([
      answer.text,
      answer.reasoningText,
      answer.toolCalls,
      answer.finishReason,
      answer.usage,
    ]);
    const calls = uses.filter((use) => !use.providerExecuted).map((use) => [use.toolCallId, use.toolName, use.input]);
    const told = {
      cached: usage.inputTokenDetails.cacheReadTokens,
      cache_write: usage.inputTokenDetails.cacheWriteTokens,
      reasoning: usage.outputTokenDetails.reasoningTokens,
    };
    const counts = Object.fromEntries(parts.map((name) => [name, told[name]]));
    return summary(text, reasoning ?? "", calls, word, {
      input: usage.inputTokens,
      output: usage.outputTokens,
      ...counts,
    });
  };
  const request = (model, names) => {
    const inputSchema = ai.jsonSchema({ type: "object", properties: {} });
    const tools = Object.fromEntries(names.map((name) => [name, ai.tool({ inputSchema })]));
    return { model: provider(model), prompt: hello, tools, maxRetries: 0, abortSignal: AbortSignal.timeout(TIMEOUT) };
  };
  return {
    error: ai.AISDKError,
    whole: async (model, names) => sumUp(await ai.generateText(request(model, names))),
    stream: async (model, names) => {
      let failure;
      const answer = ai.streamText({ ...request(model, names), onError: ({ error }) => (failure ??= error) });
      await answer.consumeStream();
      if (failure) throw failure;
      return sumUp(answer);
    },
  };
}

const { baseURL, apiKey } = sdk("/v1");
const vercelProviders = {
  "openai-chat": [
    compatible.createOpenAICompatible({ name: "gateway", baseURL, apiKey, includeUsage: true }),
    ["cached", "reasoning"],
  ],
  "openai-responses": [aiOpenai.createOpenAI({ baseURL, apiKey }).responses, ["cached", "cache_write", "reasoning"]],
  anthropic: [aiAnthropic.createAnthropic({ baseURL, apiKey }), ["cached", "cache_write", "reasoning"]],
  gemini: [
    aiGoogle.createGoogleGenerativeAI({ baseURL: `${GATEWAY_URL}/v1beta`, apiKey }),
    ["cached", "reasoning"],
  ],
};

/** Name of the client, its dialect, and its two ways to ask. */
export const clients = [
  ["openai", "openai-chat", openAiChat()],
  ["openai", "openai-responses", openAiResponses()],
  ["anthropic", "anthropic", anthropicMessages()],
  ["google", "gemini", gemini()],
  ...Object.entries(vercelProviders).map(([dialect, [provider, parts]]) => ["ai", dialect, vercel(provider, parts)]),
];

/** The summary, or message and status of the SDK's own error; anything else is thrown. */
export async function ask(client, model, stream, toolNames) {
  try {
    return await (stream ? client.stream : client.whole)(model, toolNames);
  } catch (error) {
    if (error instanceof client.error) return { error: error.message, status: error.status ?? error.statusCode };
    throw error;
  }
}
