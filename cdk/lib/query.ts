import { Stack } from 'aws-cdk-lib';
import { CfnWorkGroup } from 'aws-cdk-lib/aws-athena';
import { CfnDatabase } from 'aws-cdk-lib/aws-glue';
import type { Bucket } from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';

export interface QueryProps {
  readonly results: Bucket;
}

/** Where Athena finds tables, and where it puts answers. The tables are not there yet. */
export class Query extends Construct {
  readonly database: CfnDatabase;
  readonly workgroup: CfnWorkGroup;

  constructor(scope: Construct, id: string, { results }: QueryProps) {
    super(scope, id);
    const { stackName, account } = Stack.of(this);
    this.database = new CfnDatabase(this, 'Database', {
      catalogId: account,
      // Glue folds upper case, and Athena wants no hyphens.
      databaseInput: { name: stackName.toLowerCase().replaceAll('-', '_'), description: 'Flowherd: rows and ledger' },
    });
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
