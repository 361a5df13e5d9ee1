import { readFileSync } from 'node:fs';

type Check = readonly [isValid: (value: unknown) => boolean, expected: string];

const TEXT: Check = [(value) => value === null || typeof value === 'string', 'text'];
const TEXTS: Check = [(value) => Array.isArray(value) && value.every((item) => typeof item === 'string'), 'a list of text'];

const FLAG: Check = [(value) => typeof value === 'boolean', 'true or false'];

const EVERY = { source: TEXT, reader: TEXT, from: TEXT, until: TEXT };

/** Sections of a `names.json`, with the keys of their entries. */
const SECTIONS: Readonly<Record<string, Readonly<Record<string, Check>>>> = {
  interfaces: { description: TEXT, subnet_id: TEXT, vpc_id: TEXT, provisional: FLAG, ...EVERY },
  subnets: { name: TEXT, vpc_id: TEXT, cidrs: TEXTS, ...EVERY },
  vpcs: { name: TEXT, ...EVERY },
};

/**
 * Returns why the file is not a `names.json`, or `undefined` if it has the right shape.
 *
 * The coordinator also checks ids and CIDR blocks when it begins a run. This check finds a wrong file before the
 * deployment instead of in the first run after it.
 */
export function namesProblem(path: string): string | undefined {
  let names: unknown;
  try {
    names = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    return `not valid JSON: ${error instanceof Error ? error.message : String(error)}`;
  }
  const problem = shapeProblem(names);
  return problem === undefined ? undefined : `not a names.json: ${problem}`;
}

function shapeProblem(names: unknown): string | undefined {
  if (!isObject(names)) return 'must be a JSON object';
  for (const [section, entries] of Object.entries(names)) {
    const keys = SECTIONS[section];
    if (keys === undefined) return `unknown key "${section}"; valid keys are ${Object.keys(SECTIONS).join(', ')}`;
    if (!isObject(entries)) return `${section} must be a JSON object`;
    for (const [id, entry] of Object.entries(entries)) {
      const where = `${section}["${id}"]`;
      const problem = Array.isArray(entry)
        ? entry.map((one, number) => entryProblem(one, `${where}[${number}]`, keys)).find((found) => found !== undefined)
        : entryProblem(entry, where, keys);
      if (problem !== undefined) return problem;
    }
  }
  return undefined;
}

function entryProblem(entry: unknown, where: string, keys: Readonly<Record<string, Check>>): string | undefined {
  if (!isObject(entry)) return `${where} must be a JSON object`;
  for (const [key, value] of Object.entries(entry)) {
    const check = keys[key];
    if (check === undefined) return `unknown key "${key}" in ${where}; valid keys are ${Object.keys(keys).join(', ')}`;
    const [isValid, expected] = check;
    if (!isValid(value)) return `${where}.${key} must be ${expected}`;
  }
  return undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
