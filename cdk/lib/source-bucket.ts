import { Stack } from 'aws-cdk-lib';
import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import { Bucket, type IBucket } from 'aws-cdk-lib/aws-s3';
import { Construct, type IConstruct } from 'constructs';

import { grantOnObjects } from './object-grants';

export interface SourceBucketProps {
  readonly bucketName: string;
  /** Key prefixes that the coordinator may list. */
  readonly prefixes: readonly string[];
  /** @default - the stack's account */
  readonly account?: string | undefined;
  /** @default - the stack's region */
  readonly region?: string | undefined;
  /** @default - no KMS permissions */
  readonly kmsKeyArn?: string | undefined;
}

/** The existing bucket that holds the logs. The functions only read it, and only below the prefixes. */
export class SourceBucket extends Construct {
  readonly bucket: IBucket;
  /** The account that must own the bucket: S3 refuses requests to a bucket of the same name in another account. */
  readonly owner: string;
  /** Environment variables of both functions. */
  readonly environment: Readonly<Record<string, string>>;
  private readonly prefixes: readonly string[];
  private readonly kmsKeyArn: string | undefined;

  constructor(scope: Construct, id: string, { bucketName, prefixes, account, region, kmsKeyArn }: SourceBucketProps) {
    super(scope, id);
    this.bucket = Bucket.fromBucketName(this, 'Bucket', bucketName);
    this.owner = account ?? Stack.of(this).account;
    this.environment = {
      FLOWHERD_SOURCE_BUCKET: bucketName,
      FLOWHERD_SOURCE_BUCKET_OWNER: this.owner,
      ...(region === undefined ? {} : { FLOWHERD_SOURCE_BUCKET_REGION: region }),
    };
    this.prefixes = prefixes;
    this.kmsKeyArn = kmsKeyArn;
  }

  /** Grants listing of the prefixes, by default of all. Only the coordinator and maps list objects. */
  grantList(grantee: IGrantable, prefixes = this.prefixes): void {
    Grant.addToPrincipal({
      grantee,
      actions: ['s3:ListBucket'],
      resourceArns: [this.bucket.bucketArn],
      conditions: { StringLike: { 's3:prefix': prefixes.map(keyPattern) } },
    });
  }

  /**
   * Grants reading of the objects below these prefixes.
   *
   * Without `s3:ListBucket`, S3 answers 403 instead of 404 for a key that does not exist:
   * https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
   */
  grantRead(grantee: IGrantable & IConstruct, prefixes: readonly string[]): void {
    grantOnObjects(grantee, this.bucket, ['s3:GetObject'], prefixes.map(keyPattern));
    if (this.kmsKeyArn === undefined) return;
    // Through S3 only, so that the key decrypts nothing but the objects above. The key is in the bucket's region:
    // https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
    Grant.addToPrincipal({
      grantee,
      actions: ['kms:Decrypt'],
      resourceArns: [this.kmsKeyArn],
      conditions: { StringLike: { 'kms:ViaService': [`s3.${this.kmsKeyArn.split(':')[3]}.amazonaws.com*`] } },
    });
  }
}

const keyPattern = (prefix: string) => `${prefix}*`;
