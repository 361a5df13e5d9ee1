import { Stack } from 'aws-cdk-lib';
import { CfnWorkGroup } from 'aws-cdk-lib/aws-athena';
import { CfnDatabase, CfnTable } from 'aws-cdk-lib/aws-glue';
import type { Bucket } from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';

import type { TextTable } from './tables';

export interface QueryProps {
  readonly results: Bucket;
  readonly tables: readonly TextTable[];
}

/** Where Athena finds tables, and where it puts answers. */
export class Query extends Construct {
  readonly database: CfnDatabase;
  readonly workgroup: CfnWorkGroup;

  constructor(scope: Construct, id: string, { results, tables }: QueryProps) {
    super(scope, id);
    const { stackName, account } = Stack.of(this);
    this.database = new CfnDatabase(this, 'Database', {
      catalogId: account,
      // Glue folds upper case, and Athena wants no hyphens.
      databaseInput: { name: stackName.toLowerCase().replaceAll('-', '_'), description: 'Flowherd: rows and ledger' },
    });
    for (const table of tables) {
      const glue = new CfnTable(this, `Table-${table.name}`, {
        catalogId: account,
        databaseName: this.database.ref,
        tableInput: {
          name: table.name,
          description: 'Rows as text; the CSV of every object',
          tableType: 'EXTERNAL_TABLE',
          // Each file has one header line.
          parameters: { EXTERNAL: 'TRUE', classification: 'csv', 'skip.header.line.count': '1' },
          storageDescriptor: {
            location: `s3://${results.bucketName}/${table.prefix}`,
            columns: table.columns.map((name) => ({ name, type: 'string' })),
            inputFormat: 'org.apache.hadoop.mapred.TextInputFormat',
            outputFormat: 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat',
            serdeInfo: { serializationLibrary: table.serde, parameters: table.serde_parameters },
          },
        },
      });
      glue.addDependency(this.database);
    }
    this.workgroup = new CfnWorkGroup(this, 'Workgroup', {
      name: stackName,
      description: 'Flowherd: queries on rows and ledger',
      workGroupConfiguration: {
        enforceWorkGroupConfiguration: true,
        publishCloudWatchMetricsEnabled: true,
        engineVersion: { selectedEngineVersion: 'Athena engine version 3' },
        resultConfiguration: {
          outputLocation: `s3://${results.bucketName}/athena/`,
          encryptionConfiguration: { encryptionOption: 'SSE_S3' },
        },
      },
    });
  }
}
