import { Grant } from 'aws-cdk-lib/aws-iam';
import { Asset } from 'aws-cdk-lib/aws-s3-assets';
import { Construct } from 'constructs';

import type { NativeFunction } from './native-function';

/** A `names.json` that the deployment uploads to the CDK's asset bucket, and a function reads from there. */
export class SettingsAsset extends Construct {
  /** `s3://bucket/key`. The key contains a hash of the file, so a changed file changes the function's environment. */
  readonly url: string;
  private readonly asset: Asset;

  constructor(scope: Construct, id: string, path: string) {
    super(scope, id);
    this.asset = new Asset(this, 'Asset', { path });
    this.url = this.asset.s3ObjectUrl;
  }

  /**
   * Grants reading of this file only. `Asset.grantRead` would grant the whole asset bucket, which other stacks use too.
   * A bucket that `cdk bootstrap --bootstrap-customer-key` encrypts needs no more: the policy of its key allows
   * decryption through S3 to the account.
   *
   * During an update, CloudFormation changes the policy before the function. In the seconds between, the function still
   * names the former file, and the coordinator refuses to begin a run.
   */
  grantRead(grantee: NativeFunction): void {
    const { bucket, s3ObjectKey } = this.asset;
    Grant.addToPrincipal({ grantee, actions: ['s3:GetObject'], resourceArns: [bucket.arnForObjects(s3ObjectKey)] });
  }
}
