import { Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import { BlockPublicAccess, Bucket, BucketEncryption, ObjectOwnership } from 'aws-cdk-lib/aws-s3';
import { Construct, type IConstruct } from 'constructs';

import { grantOnObjects } from './object-grants';

/** The names that the coordinator refreshes. */
export const NAMES_KEY = 'names/names.json';

/** Holds outputs (`csv/`, `rejects/`), the ledger (`runs/`, `active/`), Athena's results (`athena/`) and names (`names/`). */
export class ResultsBucket extends Construct {
  readonly bucket: Bucket;
  /** Environment variables of both functions. With the owner, S3 refuses a bucket of this name in another account. */
  readonly environment: Readonly<Record<string, string>>;

  constructor(scope: Construct, id: string) {
    super(scope, id);
    this.bucket = new Bucket(this, 'Bucket', {
      // A receipt names each output by its ETag. With KMS, equal bytes get a different ETag at each write:
      // https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
      encryption: BucketEncryption.S3_MANAGED,
      enforceSSL: true,
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      objectOwnership: ObjectOwnership.BUCKET_OWNER_ENFORCED,
      // Results outlive the stack. Only a first deployment that rolls back deletes the bucket, which is still empty:
      // https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-deletionpolicy.html
      removalPolicy: RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
      lifecycleRules: [
        { id: 'abandoned-uploads', abortIncompleteMultipartUploadAfter: Duration.days(1) },
        { id: 'query-answers', prefix: 'athena/', expiration: Duration.days(7) },
      ],
    });
    Validations.of(this.bucket).acknowledge({
      id: 'AwsSolutions-S1',
      reason:
        'No server access log: the ledger records every write, CloudTrail data events can record reads, ' +
        'and a log bucket would get several entries per object.',
    });
    this.environment = {
      FLOWHERD_RESULTS_BUCKET: this.bucket.bucketName,
      FLOWHERD_RESULTS_BUCKET_OWNER: Stack.of(this).account,
    };
  }

  /** Grants actions on the objects whose keys match the patterns. */
  grantOnObjects(grantee: IGrantable & IConstruct, actions: readonly string[], keyPatterns: readonly string[]): void {
    grantOnObjects(grantee, this.bucket, actions, keyPatterns);
  }

  /**
   * Grants listing. Without it, S3 answers 403 instead of 404 for a key that does not exist, such as a receipt that is
   * not written yet: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
   */
  grantList(grantee: IGrantable): void {
    Grant.addToPrincipal({ grantee, actions: ['s3:ListBucket'], resourceArns: [this.bucket.bucketArn] });
  }
}
