import { readFileSync } from 'node:fs';

import { FlowherdError } from './errors';

/** Tables, views and saved queries for Athena, as `flowherd sql --dialect glue` prints them. */
export interface TableDefinitions {
  readonly tables: readonly StoredTable[];
  readonly views: readonly View[];
  readonly queries: readonly SavedQuery[];
}

export interface Column {
  readonly name: string;
  /** Hive's name of the type. */
  readonly type: string;
}

/** A table over files. Locations are relative to the results bucket. */
export interface StoredTable {
  readonly name: string;
  readonly description: string;
  readonly location: string;
  /** Location of a partition's files, for partition projection. */
  readonly location_template: string | null;
  readonly columns: readonly Column[];
  readonly partitions: readonly Column[];
  readonly serde: string;
  readonly serde_parameters: Readonly<Record<string, string>>;
  readonly parameters: Readonly<Record<string, string>>;
}

export interface View {
  readonly name: string;
  readonly description: string;
  readonly columns: readonly (Column & { readonly trino_type: string })[];
  readonly sql: string;
}

export interface SavedQuery {
  readonly name: string;
  readonly description: string;
  readonly sql: string;
}

export const NO_TABLES: TableDefinitions = { tables: [], views: [], queries: [] };

/**
 * Reads the output of `flowherd sql --dialect glue` from a file.
 *
 * Throws a `FlowherdError` if the file is missing or has other content.
 */
export function readTableDefinitions(path: string): TableDefinitions {
  let definitions: unknown;
  try {
    definitions = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new FlowherdError(error instanceof Error ? error.message : String(error));
  }
  if (!isTableDefinitions(definitions)) throw new FlowherdError('must be the output of `flowherd sql --dialect glue`');
  return definitions;
}

// Glue stores names of databases, tables and columns in lower case. A name in another case would change at deployment:
// https://docs.aws.amazon.com/athena/latest/ug/tables-databases-columns-names.html
const NAME = /^[a-z_][a-z0-9_]*$/;

function isTableDefinitions(value: unknown): value is TableDefinitions {
  const { tables, views, queries } = (value ?? {}) as Partial<TableDefinitions>;
  return (
    Array.isArray(tables) && tables.every(isTable) &&
    Array.isArray(views) && views.every(isView) &&
    Array.isArray(queries)
  );
}

function isTable(table: StoredTable): boolean {
  return (
    NAME.test(table.name) && typeof table.location === 'string' && typeof table.serde === 'string' &&
    areColumns(table.columns) && areColumns(table.partitions) &&
    typeof table.serde_parameters === 'object' && typeof table.parameters === 'object'
  );
}

function isView(view: View): boolean {
  return NAME.test(view.name) && typeof view.sql === 'string' && areColumns(view.columns);
}

function areColumns(columns: readonly Column[]): boolean {
  return Array.isArray(columns) && columns.every(({ name, type }) => NAME.test(name) && typeof type === 'string');
}
