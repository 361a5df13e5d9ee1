import { Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { BlockPublicAccess, Bucket, BucketEncryption, ObjectOwnership } from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';

/** Where outputs and the ledger go: `csv/`, `rejects/`, `runs/`, `active/`, and what Athena answers below `athena/`. */
export class ResultsBucket extends Construct {
  readonly bucket: Bucket;

  constructor(scope: Construct, id: string) {
    super(scope, id);
    this.bucket = new Bucket(this, 'Bucket', {
      // Receipts name outputs by etag. With KMS the etag of equal bytes is another each time they are written:
      // https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
      encryption: BucketEncryption.S3_MANAGED,
      enforceSSL: true,
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      // No access by lists on single objects, only by policies.
      objectOwnership: ObjectOwnership.BUCKET_OWNER_ENFORCED,
      // Results outlive the stack. Only a first deployment that rolls back deletes the bucket: it is still empty, and a
      // retained one would remain after every failed attempt.
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
        'No server access log: the ledger says what was written, CloudTrail data events can say who read it, ' +
        'and a log bucket would get several entries an object.',
    });
  }
}

/** What both functions are told of it: were it deleted and made anew by somebody else, S3 would refuse them. */
export function resultsEnvironment(results: Bucket): Record<string, string> {
  return {
    FLOWHERD_RESULTS_BUCKET: results.bucketName,
    FLOWHERD_RESULTS_BUCKET_OWNER: Stack.of(results).account,
  };
}
