import { Stack } from 'aws-cdk-lib';
import type { Construct } from 'constructs';

import type { NativeFunction } from './native-function';
import type { Settings } from './settings';

/** The bucket that holds the logs. It exists before the stack; the fleet only reads it, and only below the prefixes. */
export class Source {
  readonly bucketArn: string;
  /** The account that it must belong to: a bucket of the same name that another one owns is refused. */
  readonly owner: string;
  /** Environment variables of both functions. */
  readonly environment: Readonly<Record<string, string>>;
  private readonly partition: string;

  constructor(scope: Construct, private readonly settings: Settings) {
    this.partition = Stack.of(scope).partition;
    this.bucketArn = `arn:${this.partition}:s3:::${settings.sourceBucket}`;
    this.owner = settings.sourceBucketAccount ?? Stack.of(scope).account;
    this.environment = {
      FLOWHERD_SOURCE_BUCKET: settings.sourceBucket,
      FLOWHERD_SOURCE_BUCKET_OWNER: this.owner,
      ...(settings.sourceBucketRegion === undefined ? {} : { FLOWHERD_SOURCE_BUCKET_REGION: settings.sourceBucketRegion }),
    };
  }

  /** Lets a function list the prefixes. Only the coordinator lists. */
  allowListing(reader: NativeFunction): void {
    reader.allow(['s3:ListBucket'], [this.bucketArn], {
      StringLike: { 's3:prefix': this.settings.prefixes.map((prefix) => `${prefix}*`) },
    });
  }

  /** Lets a function read the objects below the prefixes. */
  allowReading(reader: NativeFunction): void {
    reader.allow(['s3:GetObject'], this.settings.prefixes.map((prefix) => `${this.bucketArn}/${prefix}*`));
    const key = this.settings.sourceKmsKeyArn;
    if (key !== undefined) {
      // Through S3 only, so of no more than may be read there. A bucket's key is of its own region:
      // https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
      reader.allow(['kms:Decrypt'], [key], {
        StringLike: { 'kms:ViaService': [`s3.${key.split(':')[3]}.amazonaws.com*`] },
      });
    }
  }

  /** Those resources of policies that end in `*`, for the acknowledgements. */
  objects(): string[] {
    return this.settings.prefixes.map((prefix) => `${this.bucketArn}/${prefix}*`);
  }
}
