import { readFileSync } from 'node:fs';

/** A table over the CSV files, as `flowherd sql --dialect glue` prints it. */
export interface TextTable {
  readonly name: string;
  /** Where its files are, within the results. */
  readonly prefix: string;
  readonly columns: readonly string[];
  readonly serde: string;
  readonly serde_parameters: Readonly<Record<string, string>>;
}

/** Reads what `flowherd sql --dialect glue` has printed. Throws with the reason if it is anything else. */
export function readTables(path: string): readonly TextTable[] {
  const tables: unknown = JSON.parse(readFileSync(path, 'utf8'));
  if (!Array.isArray(tables) || !tables.every(isTable)) {
    throw new Error('not what flowherd sql --dialect glue prints');
  }
  return tables;
}

function isTable(value: unknown): value is TextTable {
  const table = value as TextTable;
  return (
    typeof value === 'object' && value !== null && /^[a-z_][a-z0-9_]*$/.test(table.name) &&
    typeof table.prefix === 'string' && typeof table.serde === 'string' &&
    Array.isArray(table.columns) && table.columns.every((name) => typeof name === 'string') &&
    typeof table.serde_parameters === 'object'
  );
}
