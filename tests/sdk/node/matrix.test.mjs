// Every recorded answer and stream, read through each other client dialect by SDKs for Node. What they must read was
// written by `../python/expect.py` into the file EXPECTATIONS. `ONLY=text` runs the recordings whose names contain it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { test } from "node:test";

import { ask, clients } from "./clients.mjs";

const only = process.env.ONLY ?? "";
// The Python suite asks for a stream of every whole answer, this one for every third.
const SAMPLE = 3;
const AT_ONCE = 4;

const shown = (value) => {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length < 400 ? text : `${text.slice(0, 200)} … ${text.slice(-190)}`;
};

function differences(want, got) {
  if ("error" in want || "error" in got) {
    const same = "error" in want && "error" in got && got.error.includes(want.error);
    return same && (want.status ?? got.status) === got.status ? [] : [`expected ${shown(want)}, got ${shown(got)}`];
  }
  // A client that has no word for a part of the usage does not tell it.
  const usage = Object.fromEntries(Object.keys(got.usage).map((name) => [name, want.usage[name]]));
  want = { ...want, usage };
  const ids = got.calls.map((call) => call.id);
  const calls = got.calls.map((call, i) => ({ ...call, id: want.calls[i]?.id ? call.id : null }));
  const found = Object.keys(want)
    .map((field) => [field, want[field], field === "calls" ? calls : got[field]])
    .filter(([, wanted, found]) => !isDeepStrictEqual(wanted, found))
    .map(([field, wanted, found]) => `${field}: expected ${shown(wanted)}, got ${shown(found)}`);
  return ids.every(Boolean) && new Set(ids).size === ids.length ? found : [...found, `calls: ids ${ids}`];
}

test("every pair", async () => {
  const all = JSON.parse(readFileSync(process.env.EXPECTATIONS, "utf8"));
  const recordings = all.filter(({ name }) => name.includes(only));
  const jobs = [];
  for (const [number, recording] of recordings.entries()) {
    const ways = recording.stream ? [true] : number % SAMPLE === 0 || only ? [false, true] : [false];
    for (const [sdk, dialect, client] of clients) {
      if (dialect === recording.dialect) continue;
      for (const stream of ways) jobs.push({ recording, sdk, dialect, client, stream });
    }
  }
  const counts = {};
  const failures = [];
  const work = async () => {
    for (let job = jobs.shift(); job; job = jobs.shift()) {
      const { recording, sdk, dialect, client, stream } = job;
      const want = recording.expected[dialect][stream ? "stream" : "whole"];
      const names = (want.calls ?? []).map((call) => call.name);
      // A target that refuses rests: each request for a refusal has one of its own.
      const own = "error" in want ? `~${sdk.replace(/\W/g, "")}-${dialect}-${stream}` : "";
      const found = await ask(client, `${recording.dialect}/${recording.name}${own}`, stream, names).then(
        (got) => differences(want, got),
        (error) => [`${error?.constructor?.name}: ${String(error?.message ?? error).slice(0, 400)}`],
      );
      const count = ((counts[recording.dialect] ??= {})[`${sdk}: ${dialect}`] ??= { right: 0, all: 0 });
      count.all += 1;
      count.right += found.length === 0;
      if (found.length > 0) {
        const where = `${recording.dialect} -> ${dialect} (${sdk}) ${stream ? "stream" : "whole"} ${recording.name}`;
        failures.push([where, ...found].join("\n    "));
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const mapped = (object, change) => Object.fromEntries(Object.entries(object).map(([key, of]) => [key, change(of)]));
  console.table(mapped(counts, (row) => mapped(row, ({ right, all }) => `${right}/${all}`)));
  assert.ok(recordings.length > 0);
  assert.equal(failures.length, 0, ["differences:", ...failures].join("\n"));
});
