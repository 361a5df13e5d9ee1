import { Stack } from 'aws-cdk-lib';
import type { Construct } from 'constructs';

import type { NativeFunction } from './native-function';
import type { Settings } from './settings';

/** The bucket that holds the logs. It is there already, and is only read, and only below the prefixes. */
export class Source {
  readonly bucketArn: string;
  /** What both functions are told of it. */
  readonly environment: Readonly<Record<string, string>>;
  private readonly partition: string;

  constructor(scope: Construct, private readonly settings: Settings) {
    this.partition = Stack.of(scope).partition;
    this.bucketArn = `arn:${this.partition}:s3:::${settings.sourceBucket}`;
    this.environment = {
      FLOWHERD_SOURCE_BUCKET: settings.sourceBucket,
      ...(settings.sourceBucketAccount === undefined
        ? {}
        : { FLOWHERD_SOURCE_BUCKET_OWNER: settings.sourceBucketAccount }),
    };
  }

  /**
   * Lets a function list the prefixes. GetObject has no prefix to match, so a key that is gone may still be answered
   * with 403 and not 404: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
   */
  allowListing(reader: NativeFunction): void {
    reader.allow(['s3:ListBucket'], [this.bucketArn], {
      StringLike: { 's3:prefix': this.settings.prefixes.map((prefix) => `${prefix}*`) },
    });
  }

  /** Lets a function read the objects below the prefixes. */
  allowReading(reader: NativeFunction): void {
    reader.allow(['s3:GetObject'], this.settings.prefixes.map((prefix) => `${this.bucketArn}/${prefix}*`));
    if (this.settings.sourceKmsKeyArn !== undefined) {
      reader.allow(['kms:Decrypt'], [this.settings.sourceKmsKeyArn]);
    }
  }

  /** Those resources of policies that end in `*`, for the acknowledgements. */
  objects(): string[] {
    return this.settings.prefixes.map((prefix) => `${this.bucketArn}/${prefix}*`);
  }
}
