/** What a repair did; see `SalvageReport` of the crate `myownllm-salvage`. */
export interface SalvageReport {
  shape: "app" | "daemon" | "mixed" | "unknown";
  recovered_networks: string[];
  known_networks: string[];
  odd_networks: number[];
  stripped_keys: string[];
  restored_keys: string[];
  kept_keys: string[];
  reset_keys: string[];
  daemon_keys: string[];
  activate: string | null;
}

/** A fact about the text. `path` is a JSON Pointer; the message holds no secret. */
export interface Diagnostic {
  code: string;
  severity: "info" | "warning" | "problem";
  message: string;
  path: string;
  hint: string | null;
  place?: { line: number; column: number; offset: number };
}

/** `changed`: `text` differs from the input, and wants to be saved. */
export interface Normalized {
  text: string;
  changed: boolean;
  report: SalvageReport;
  diagnostics: Diagnostic[];
}

export interface Salvaged {
  app: string;
  daemon: string | null;
  report: SalvageReport;
  diagnostics: Diagnostic[];
}

/** `changed`: a load would save another text. */
export interface Checked {
  ok: boolean;
  changed: boolean;
  diagnostics: Diagnostic[];
}

/** The config after an edit, and the entry that the edit was about. */
export interface Edited {
  text: string;
  changed: boolean;
  created: boolean;
  id: string | null;
  network_id: string | null;
}

/** Every function here throws this. `code` is explained in docs/errors.md. */
export interface ConfigError extends Error {
  code: string;
  hint?: string;
  line?: number;
  column?: number;
}
