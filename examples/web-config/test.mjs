// Feeds the packed module the recorded inputs of the repository, and the loader some files: `node test.mjs PACKAGE RECORDED`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";

const [directory, recorded] = process.argv.slice(2).map((path) => resolve(path));
const from = (name) => import(pathToFileURL(join(directory, name)));
const core = await from("web_config.js");
const loader = await from("config.mjs");
const wasm = readFileSync(join(directory, "web_config_bg.wasm"));
await core.default({ module_or_path: wasm });

const DIR = "/home/u/.myownllm/conversations";
const lines = readFileSync(recorded, "utf8").trimEnd().split("\n");
// The text of each input as it was recorded: JSON.parse would round its numbers.
const vectors = lines.map((line) => ({ ...JSON.parse(line), line }));

function inputOf({ input, line }) {
  if (input.text !== undefined) return input.text;
  if (input.bytes_b64 !== undefined) return new Uint8Array(Buffer.from(input.bytes_b64, "base64"));
  const key = input.net === undefined ? '"raw":' : '"net":';
  const at = line.indexOf(key, line.indexOf('"input":')) + key.length;
  return valueAt(line, at);
}

/** The JSON value that begins at an offset. */
function valueAt(text, at) {
  let depth = 0;
  let quoted = false;
  for (let end = at; end < text.length; end += 1) {
    const sign = text[end];
    if (quoted) {
      if (sign === "\\") end += 1;
      else if (sign === '"') quoted = false;
    } else if (sign === '"') quoted = true;
    else if ("{[".includes(sign)) depth += 1;
    else if ("}]".includes(sign) && (depth -= 1) <= 0) return text.slice(at, depth < 0 ? end : end + 1);
    else if (depth === 0 && sign === ",") return text.slice(at, end);
  }
  throw new Error(`no value at ${at}`);
}

/** The first difference; `@generated-id` stands for any string, `@now` for any number. */
function difference(want, got, path = "") {
  const no = () => `at ${path || "/"}: wanted ${JSON.stringify(want)}, got ${JSON.stringify(got)}`;
  if (want === "@generated-id") return typeof got === "string" && got ? undefined : no();
  if (want === "@now") return typeof got === "number" ? undefined : no();
  if (want === null || typeof want !== "object") return want === got ? undefined : no();
  if (got === null || typeof got !== "object" || Array.isArray(want) !== Array.isArray(got)) return no();
  const keys = new Set([...Object.keys(want), ...Object.keys(got)]);
  for (const key of keys) {
    if (!Object.hasOwn(want, key) || !Object.hasOwn(got, key)) return `at ${path}/${key}: one side lacks it`;
    const found = difference(want[key], got[key], `${path}/${key}`);
    if (found) return found;
  }
  return undefined;
}

const filters = {
  load: (input) => core.normalize(input, DIR).text,
  salvage: (input) => core.salvage(input).app,
  to_daemon: core.toDaemon,
  export: (input) => core.toEnvelope(input, true),
  import: core.parseEnvelope,
};

test("the filters answer as recorded", () => {
  let run = 0;
  for (const vector of vectors.filter(({ op, input }) => filters[op] && !input.missing)) {
    const answer = () => filters[vector.op](inputOf(vector));
    if (vector.contract.refuses) {
      assert.throws(answer, (error) => error instanceof Error && /^[a-z-]+\.[a-z-]+$/.test(error.code), vector.id);
    } else {
      assert.equal(difference(vector.contract, JSON.parse(answer())), undefined, `${vector.id} ${vector.category}`);
    }
    run += 1;
  }
  assert.equal(run, 379);
});

test("a load completes what it gave once, and check says so", () => {
  for (const vector of vectors.filter(({ op, input }) => op === "load" && !input.missing)) {
    const input = inputOf(vector);
    const found = core.check(input);
    assert.equal(found.ok, !vector.contract.refuses, vector.id);
    if (!found.ok) {
      assert.equal(found.diagnostics.length, 1);
      assert.throws(() => core.normalize(input, DIR), { code: found.diagnostics[0].code });
      continue;
    }
    const { text } = core.normalize(input, DIR);
    assert.deepEqual({ ...core.normalize(text, "/elsewhere"), diagnostics: 0, report: 0 }, {
      text, changed: false, diagnostics: 0, report: 0,
    });
    assert.equal(core.check(text).changed, false, vector.id);
  }
});

test("operations on networks do as recorded", () => {
  let run = 0;
  for (const vector of vectors.filter(({ op }) => op === "network_ops")) {
    const loaded = core.normalize(inputOf(vector), DIR);
    // Recorded with both entries under one id, which a load tells apart.
    if (loaded.diagnostics.some(({ code }) => code === "network.duplicate-id")) continue;
    let { text } = loaded;
    for (const [n, step] of vector.input.steps.entries()) {
      const expected = vector.expected.steps[n];
      const name = step.id ?? step.id_of ?? step.network_id;
      const operations = {
        add: () => core.addNetwork(text, name, step.activate === true),
        remove: () => core.removeNetwork(text, name),
        set_active: () => core.setActiveNetwork(text, name ?? undefined),
        update: () => core.updateNetwork(text, name, JSON.stringify(step.patch)),
        import_text: () => core.importNetwork(text, step.text, step.activate === true),
        export: () => ({ text, envelope: JSON.parse(core.exportNetwork(text, name, true)) }),
      };
      if (step.op === "import_text" && expected.created === undefined) expected.ok = false;
      if (!expected.ok) {
        assert.throws(operations[step.op], (error) => Boolean(error.code), `${vector.id} step ${n}`);
        continue;
      }
      const done = operations[step.op]();
      if (expected.created !== undefined) assert.equal(done.created, expected.created, vector.id);
      if (done.envelope) assert.equal(difference(expected.envelope, done.envelope), undefined, vector.id);
      ({ text } = done);
    }
    assert.equal(difference(vector.expected.file, JSON.parse(text)), undefined, vector.id);
    const active = core.activeNetwork(text);
    assert.equal(active === undefined ? null : JSON.parse(active).network_id, vector.expected.active, vector.id);
    run += 1;
  }
  assert.equal(run, 27);
});

test("the active network in the daemon's words is what a reconcile pushed", () => {
  let pushed = 0;
  for (const vector of vectors.filter(({ op }) => op === "reconcile")) {
    const { text } = core.normalize(inputOf(vector), DIR);
    for (const call of vector.expected.calls.filter(({ cmd }) => cmd === "mesh_daemon_network_add")) {
      const converted = JSON.parse(core.toDaemon(core.activeNetwork(text)));
      assert.equal(difference(call.args.config, converted), undefined, vector.id);
      pushed += 1;
    }
  }
  assert.ok(pushed > 3);
});

test("a repair takes the backup and says what it did", () => {
  const daemon = '{"version": 3, "daemon": {}, "networks": [{"id": "net-a", "network_id": "office"}]}';
  const { app, daemon: half, report } = core.salvage(daemon, '{"providers": [], "active_family": "qwen3"}');
  assert.equal(JSON.parse(app).active_family, "qwen3");
  assert.deepEqual(JSON.parse(half).networks, []);
  assert.deepEqual([report.shape, report.recovered_networks], ["daemon", ["office"]]);
  assert.throws(() => core.salvage("[]"), { code: "config.not-an-object" });
});

/** A file in memory. */
async function file(content) {
  const disk = { content, writes: 0 };
  const read = async () => disk.content;
  const write = async (text) => Object.assign(disk, { content: text, writes: disk.writes + 1 });
  await loader.connect({ read, write }, DIR, wasm);
  return disk;
}

test("the loader makes a new config, and reads it from then on", async () => {
  const disk = await file(null);
  const config = await loader.loadConfig();
  assert.deepEqual([config.active_family, config.conversation_dir], ["gemma4", DIR]);
  assert.equal(await loader.loadConfig(), config);
  loader.invalidateConfigCache();
  assert.deepEqual(await loader.loadConfig(), config);
  assert.equal(disk.writes, 1);
});

test("the loader leaves a file alone that is no JSON", async () => {
  const disk = await file('{"active_family": ');
  await assert.rejects(loader.loadConfig(), { code: "config.syntax", line: 1 });
  await assert.rejects(loader.updateConfig({ active_family: "x" }), { code: "config.syntax" });
  await assert.rejects(loader.saveConfig({}), { code: "config.syntax" });
  assert.deepEqual(disk, { content: '{"active_family": ', writes: 0 });
});

test("an edit changes its own bytes, and keeps what others wrote since", async () => {
  const { text } = core.normalize('{"active_family": "qwen3", "unknown": [1e400, 12345678901234567890]}', DIR);
  const disk = await file(text);
  const config = await loader.loadConfig();
  disk.content = text.replace("14", "\t14").replace("qwen3", "gemma4");
  config.api.enabled = false;
  delete config.mic;
  await loader.saveConfig(config);
  assert.match(disk.content, /\[1e400, 12345678901234567890\]/);
  const saved = await loader.loadConfig();
  assert.deepEqual([saved.api.enabled, saved.active_family, saved.mic], [false, "gemma4", undefined]);
  const [one, two] = await Promise.all([
    loader.updateConfig({ active_mode: "text" }), loader.updateConfig({ model_cleanup_days: 7 }),
  ]);
  assert.deepEqual([one.active_mode, two.active_mode, two.model_cleanup_days], ["text", "text", 7]);
});

test("the loader's networks are added, changed, activated and removed", async () => {
  await file(null);
  const { cloud_mesh } = await loader.addNetwork({ network_id: "Home-Mesh" }, { activate: true, locked: true });
  const [{ id, network_id, locked }] = cloud_mesh.networks;
  assert.deepEqual([network_id, locked, cloud_mesh.active_network_id], ["home-mesh", true, id]);
  assert.equal(loader.activeNetwork(await loader.addNetwork({ network_id: "home-mesh" })).id, id);
  assert.equal((await loader.updateNetwork(id, { accepting: "busy" })).cloud_mesh.networks[0].accepting, "busy");
  assert.equal(loader.activeNetwork(await loader.setActiveNetwork(null)), null);
  await assert.rejects(loader.setActiveNetwork("net-none"), { code: "network.unknown" });
  assert.deepEqual((await loader.removeNetwork(id)).cloud_mesh.networks, []);
  assert.match(loader.newNetworkInternalId(), /^net-[0-9a-z]+-[0-9a-z]{6}$/);
});

test("a config that a daemon overwrote is repaired at the first load", async () => {
  const { line } = vectors.find(({ category }) => category === "load-daemon-v3");
  const disk = await file(inputOf({ input: { raw: {} }, line }));
  const config = await loader.loadConfig();
  assert.ok(!("daemon" in config) && config.cloud_mesh.networks.length > 0 && disk.writes === 1);
});
