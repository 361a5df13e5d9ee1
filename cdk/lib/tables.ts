import { readFileSync } from 'node:fs';

/** What Athena is to have, as `flowherd sql --dialect glue` prints it. */
export interface Schema {
  readonly tables: readonly StoredTable[];
  readonly views: readonly View[];
  readonly queries: readonly SavedQuery[];
}

export interface Column {
  readonly name: string;
  /** Hive's name. */
  readonly type: string;
}

/** A table over files; places are within the results. */
export interface StoredTable {
  readonly name: string;
  readonly description: string;
  readonly location: string;
  /** Where the files of one partition are. */
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

export const NO_TABLES: Schema = { tables: [], views: [], queries: [] };

/** Reads what `flowherd sql --dialect glue` has printed. Throws with the reason if it is anything else. */
export function readTables(path: string): Schema {
  const schema = JSON.parse(readFileSync(path, 'utf8')) as Schema | null;
  const lists = [schema?.tables, schema?.views, schema?.queries];
  if (!lists.every(Array.isArray) || !schema?.tables.every(isTable) || !schema.views.every(isView)) {
    throw new Error('not what flowherd sql --dialect glue prints');
  }
  return schema;
}

// Glue stores names of databases, tables and columns in lower case; another case would differ from what was deployed:
// https://docs.aws.amazon.com/athena/latest/ug/tables-databases-columns-names.html
const NAME = /^[a-z_][a-z0-9_]*$/;

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
