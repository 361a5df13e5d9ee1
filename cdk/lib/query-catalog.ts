import { Stack } from 'aws-cdk-lib';
import { CfnNamedQuery, CfnWorkGroup } from 'aws-cdk-lib/aws-athena';
import { CfnDatabase, CfnTable } from 'aws-cdk-lib/aws-glue';
import { Construct } from 'constructs';

import type { ResultsBucket } from './results-bucket';
import { NO_TABLES, type StoredTable, type TableDefinitions, type View } from './table-definitions';

/** The name under which Athena knows the Glue Data Catalog. */
const CATALOG = 'awsdatacatalog';

export interface QueryCatalogProps {
  readonly results: ResultsBucket;
  /** @default - an empty database */
  readonly tables?: TableDefinitions | undefined;
  /** In GB (10⁹ bytes). */
  readonly queryLimitGb: number;
  /** Leaves out saved queries. */
  readonly localCloud: boolean;
}

/** The Glue database with tables and views, and the Athena workgroup with its limit, saved queries and result location. */
export class QueryCatalog extends Construct {
  readonly database: CfnDatabase;
  readonly workgroup: CfnWorkGroup;
  private readonly databaseName: string;

  constructor(scope: Construct, id: string, { results, tables: definitions, queryLimitGb, localCloud }: QueryCatalogProps) {
    super(scope, id);
    const { bucketName } = results.bucket;
    const { stackName, account } = Stack.of(this);
    const { tables, views, queries } = definitions ?? NO_TABLES;
    // Glue stores names in lower case, and a hyphen would have to be quoted in every statement.
    this.databaseName = stackName.toLowerCase().replaceAll('-', '_');
    this.database = new CfnDatabase(this, 'Database', {
      catalogId: account,
      databaseInput: { name: this.databaseName, description: 'Flowherd: rows and ledger' },
    });
    for (const table of tables) this.addTable(table.name, storedTable(table, bucketName));
    for (const view of views) this.addTable(view.name, prestoView(view, this.databaseName));
    this.workgroup = new CfnWorkGroup(this, 'Workgroup', {
      name: stackName,
      description: 'Flowherd: queries on rows and ledger',
      // Otherwise Athena refuses to delete a workgroup that has query executions, and `cdk destroy` fails:
      // https://docs.aws.amazon.com/athena/latest/APIReference/API_DeleteWorkGroup.html
      recursiveDeleteOption: true,
      workGroupConfiguration: {
        enforceWorkGroupConfiguration: true,
        publishCloudWatchMetricsEnabled: true,
        bytesScannedCutoffPerQuery: queryLimitGb * 1_000_000_000,
        engineVersion: { selectedEngineVersion: 'Athena engine version 3' },
        resultConfiguration: {
          outputLocation: `s3://${bucketName}/athena/`,
          expectedBucketOwner: account,
          encryptionConfiguration: { encryptionOption: 'SSE_S3' },
        },
      },
    });
    // The deployment of a saved query fails on the local AWS.
    for (const { name, description, sql } of localCloud ? [] : queries) {
      const query = new CfnNamedQuery(this, name, {
        database: this.databaseName, name, description, queryString: sql, workGroup: this.workgroup.name,
      });
      query.addResourceDependency(this.workgroup);
      query.addResourceDependency(this.database);
    }
  }

  private addTable(name: string, tableInput: CfnTable.TableInputProperty): void {
    const { account } = Stack.of(this);
    const table = new CfnTable(this, `Table-${name}`, { catalogId: account, databaseName: this.database.ref, tableInput });
    table.addResourceDependency(this.database);
  }
}

function storedTable(table: StoredTable, bucket: string): CfnTable.TableInputProperty {
  const template = table.location_template;
  return {
    name: table.name,
    description: table.description,
    tableType: 'EXTERNAL_TABLE',
    partitionKeys: [...table.partitions],
    parameters: {
      EXTERNAL: 'TRUE',
      ...table.parameters,
      ...(template === null ? {} : { 'storage.location.template': `s3://${bucket}/${template}` }),
    },
    storageDescriptor: {
      location: `s3://${bucket}/${table.location}`,
      columns: [...table.columns],
      inputFormat: 'org.apache.hadoop.mapred.TextInputFormat',
      outputFormat: 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat',
      serdeInfo: { serializationLibrary: table.serde, parameters: table.serde_parameters },
    },
  };
}

/** Returns a view as Athena stores its own views in Glue: the statement and Trino's types, in base64. */
function prestoView(view: View, schema: string): CfnTable.TableInputProperty {
  const columns = view.columns.map(({ name, trino_type: type }) => ({ name, type }));
  const definition = JSON.stringify({ originalSql: view.sql, catalog: CATALOG, schema, columns });
  return {
    name: view.name,
    description: view.description,
    tableType: 'VIRTUAL_VIEW',
    parameters: { presto_view: 'true', comment: 'Presto View' },
    viewOriginalText: `/* Presto View: ${Buffer.from(definition).toString('base64')} */`,
    viewExpandedText: '/* Presto View */',
    storageDescriptor: { columns: view.columns.map(({ name, type }) => ({ name, type })), serdeInfo: {} },
  };
}
