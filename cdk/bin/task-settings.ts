// The setting `tasks`: an object in the settings file, or JSON text with -c.

import { FlowherdError } from '../lib';
import { TASK_DEFAULTS, type TaskProps } from '../lib/worker-props';

/** A valid value, which error messages show. */
export const TASKS_EXAMPLE = '{"max":10,"vcpu":1,"memoryMb":2048}';

/** Parses the setting, or throws with the reason. */
export function parseTasks(value: unknown): TaskProps {
  const tasks = typeof value === 'string' ? parseJson(value) : value;
  if (typeof tasks !== 'object' || tasks === null || Array.isArray(tasks)) throw new FlowherdError('must be a JSON object');
  const known = Object.keys(TASK_DEFAULTS);
  for (const [key, value] of Object.entries(tasks)) {
    if (!known.includes(key)) throw new FlowherdError(`has the unknown key ${key}; its keys are ${known.join(', ')}`);
    if (typeof value !== 'number') throw new FlowherdError(`${key} must be a number`);
  }
  return tasks as TaskProps;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new FlowherdError('must be a JSON object');
  }
}
