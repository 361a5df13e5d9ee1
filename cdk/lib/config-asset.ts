import { createHash } from 'node:crypto';
import { basename, dirname, extname, join } from 'node:path';

import { AssetStaging, type FileAssetLocation, FileAssetPackaging, Stack } from 'aws-cdk-lib';
import { Grant } from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';

import { enrichmentFiles } from './config-files';
import type { NativeFunction } from './native-function';
import { arnOfObject } from './s3-url';

/**
 * A `flowherd.toml` and the local files of its `[[enrich]]`. The deployment uploads them to the CDK's asset bucket, with the
 * same paths relative to each other as on disk, so that the coordinator finds them.
 */
export class ConfigAsset extends Construct {
  /** `s3://bucket/HASH/flowherd.toml`. HASH is that of all files, so a changed file changes the function's environment. */
  readonly url: string;
  /** ARNs of the uploaded objects, and of the enrichment files on S3. */
  private readonly arns: readonly string[];

  constructor(scope: Construct, id: string, path: string) {
    super(scope, id);
    const { local, urls } = enrichmentFiles(path);
    const staged = [basename(path), ...local].map((name, number) => {
      const staging = new AssetStaging(this, `File${number}`, { sourcePath: join(dirname(path), name) });
      return { name, staging };
    });
    const hash = createHash('sha256');
    for (const { name, staging } of staged) hash.update(JSON.stringify([name, staging.assetHash]));
    const directory = hash.digest('hex');
    const uploaded = staged.map(({ name, staging }) => this.upload(`${directory}/${name}`, staging));
    this.url = uploaded[0]?.s3ObjectUrl ?? '';
    // Each object by its key: `cdk gc` keeps only objects that a template names
    // (https://docs.aws.amazon.com/cdk/v2/guide/ref-cli-cmd-gc.html).
    const objects = [...uploaded.map(({ bucketName, objectKey }) => `${bucketName}/${objectKey}`), ...urls.map((url) => url.replace('s3://', ''))];
    this.arns = objects.map((object) => arnOfObject(this, object));
  }

  /** Adds a file to the assets of the stack. The synthesizer appends the extension of the staged file to the key. */
  private upload(key: string, staging: AssetStaging): FileAssetLocation {
    const stack = Stack.of(this);
    const fileName = staging.relativeStagedPath(stack);
    const extension = extname(fileName);
    return stack.synthesizer.addFileAsset({
      packaging: FileAssetPackaging.FILE,
      sourceHash: extension === '' ? key : key.slice(0, -extension.length),
      fileName,
    });
  }

  /**
   * Grants reading of these files only. A file on S3 under a KMS key of its own also needs a grant in the policy of that key.
   *
   * During an update, CloudFormation changes the policy before the function. In the seconds between, the function still
   * names the former files, and the coordinator refuses to begin a run.
   */
  grantRead(grantee: NativeFunction): void {
    Grant.addToPrincipal({ grantee, actions: ['s3:GetObject'], resourceArns: [...this.arns] });
  }
}
