import { Stack } from 'aws-cdk-lib';
import type { IConstruct } from 'constructs';

/** `s3://bucket/key` that a policy can name exactly: in a policy `*` and `?` match any key, and `$` begins a variable. */
export const S3_URL = /^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\/[^*?$]+$/;

/** The problem of a text that `S3_URL` does not match. */
export const S3_URL_PROBLEM = 'must be s3://bucket/key, without *, ? or $';

/** The ARN of an object, given as `bucket/key`. */
export function arnOfObject(scope: IConstruct, object: string): string {
  return `arn:${Stack.of(scope).partition}:s3:::${object}`;
}
