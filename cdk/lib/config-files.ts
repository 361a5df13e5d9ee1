import { readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

import { parse } from 'smol-toml';

import { S3_URL, S3_URL_PROBLEM } from './s3-url';

/** The files that the `[[enrich]]` entries of a `flowherd.toml` name, each once, in the order of the entries. */
export interface EnrichmentFiles {
  /** Paths relative to the directory of the `flowherd.toml`. */
  readonly local: readonly string[];
  /** `s3://bucket/key` of each file on S3. */
  readonly urls: readonly string[];
}

/** Characters that a policy or a key of S3 gives another meaning. */
const RESERVED = /[*?$\\\p{Cc}]/u;

/** Reads a `flowherd.toml`. Throws if it is not valid TOML; the coordinator checks everything else when it begins a run. */
export function enrichmentFiles(configFile: string): EnrichmentFiles {
  // As many digits as the coordinator accepts.
  const { enrich } = parse(readFileSync(configFile, 'utf8'), { integersAsBigInt: 'asNeeded' });
  const entries: readonly unknown[] = Array.isArray(enrich) ? enrich : [];
  const named = entries.map((entry) => (entry as { file?: unknown } | null)?.file).filter((file) => typeof file === 'string');
  const files = [...new Set(named)];
  return {
    local: files.filter((file) => !file.startsWith('s3://')),
    urls: files.filter((file) => file.startsWith('s3://')),
  };
}

/** Returns why the stack cannot use a `flowherd.toml`: one text for each problem. */
export function configProblems(configFile: string): string[] {
  let files: EnrichmentFiles;
  try {
    files = enrichmentFiles(configFile);
  } catch (error) {
    return [`not valid TOML: ${error instanceof Error ? error.message.trimEnd() : String(error)}`];
  }
  const problem = (file: string, why: string | undefined) => (why === undefined ? [] : [`enrich: file = ${JSON.stringify(file)}: ${why}`]);
  return [
    ...files.local.flatMap((file) => problem(file, localProblem(dirname(configFile), file))),
    ...files.urls.flatMap((url) => problem(url, S3_URL.test(url) ? undefined : S3_URL_PROBLEM)),
  ];
}

function localProblem(directory: string, file: string): string | undefined {
  // The coordinator appends the path to the key of the configuration's directory, and S3 resolves no dots.
  if (file.split('/').some((part) => part === '' || part === '.' || part === '..')) {
    return 'must be a path below the directory of the configuration, without ., .. or a leading slash, or an s3:// URL';
  }
  if (RESERVED.test(file)) return 'must not contain *, ?, $, a backslash or a control character; rename the file';
  const isFile = statSync(join(directory, file), { throwIfNoEntry: false })?.isFile() === true;
  return isFile ? undefined : `no such file: ${resolve(directory, file)}`;
}
