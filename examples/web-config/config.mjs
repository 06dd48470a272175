// The functions of MyOwnLLM's own loader (`src/config.ts`) over the WebAssembly module, with the same names, arguments and
// results. It differs where the app's loader loses data: a file that is no JSON stays as it is and the call fails, a config that
// a daemon overwrote is repaired, an edit starts from the file as it is now, and edits come one after the other.

import init, * as core from "./web_config.js";

let storage;
let conversationDir;
/** The text of the last load or edit, and the same as an object, which callers may have changed. */
let text;
let config;
let queue = Promise.resolve();

/**
 * Names the file. To be called once, before everything else.
 * @param {{ read(): Promise<string | Uint8Array | null>, write(text: string): Promise<void> }} file `read` returns null if there
 *   is no file
 * @param {string} directory the default of `conversation_dir`
 * @param {BufferSource | WebAssembly.Module} [module] the WebAssembly; by default it is fetched from beside this module
 */
export async function connect(file, directory, module) {
  await init(module && { module_or_path: module });
  storage = file;
  conversationDir = directory;
  invalidateConfigCache();
}

export function invalidateConfigCache() {
  text = config = undefined;
}

export async function loadConfig() {
  return config ?? inTurn(async () => config ?? keep(await load()));
}

/** Saves what differs from the last load. */
export async function saveConfig(wanted) {
  await edit((now, before) => core.applyChanges(now, JSON.stringify(before), JSON.stringify(wanted)));
}

export async function updateConfig(patch) {
  return edit((now, before) => core.applyChanges(now, JSON.stringify(before), JSON.stringify({ ...before, ...patch })));
}

export function activeNetwork(cfg) {
  const active = cfg.cloud_mesh.active_network_id;
  return (active && cfg.cloud_mesh.networks.find((network) => network.id === active)) || null;
}

export async function addNetwork({ network_id, ...members }, { activate = false, locked } = {}) {
  if (locked !== undefined) members.locked = locked;
  return edit((now) => {
    const added = core.addNetwork(now, network_id, activate);
    return added.created ? core.updateNetwork(added.text, added.id, JSON.stringify(members)) : added;
  });
}

export async function updateNetwork(id, patch) {
  return edit((now) => core.updateNetwork(now, id, JSON.stringify(patch)));
}

export async function removeNetwork(id) {
  return edit((now) => core.removeNetwork(now, id));
}

export async function setActiveNetwork(id) {
  return edit((now) => core.setActiveNetwork(now, id ?? undefined));
}

export const newNetworkInternalId = core.newNetworkInternalId;

/** Reads the file, and saves it if it was repaired or completed. Returns its text. */
async function load() {
  const found = await storage.read();
  if (found === null) {
    const fresh = core.defaults(conversationDir);
    await storage.write(fresh);
    return fresh;
  }
  const loaded = core.normalize(found, conversationDir);
  if (loaded.changed) await storage.write(loaded.text);
  return loaded.text;
}

/** Edits the file as it is now. `change` gets its text, and the config of the last load. */
function edit(change) {
  return inTurn(async () => {
    const now = await load();
    // Not `config`, which the caller may have changed.
    const edited = change(now, JSON.parse(text ?? now));
    if (edited.text !== now) await storage.write(edited.text);
    return keep(edited.text);
  });
}

function keep(saved) {
  text = saved;
  config = JSON.parse(saved);
  return config;
}

function inTurn(work) {
  queue = queue.then(work, work);
  return queue;
}
