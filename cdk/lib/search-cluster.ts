// The search cluster of a fleet with job `index`: its settings for the functions, and the rights on it.

import { Stack } from 'aws-cdk-lib';
import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IConstruct } from 'constructs';

import type { PropProblem } from './errors';
import { acknowledgeWildcard } from './object-grants';
import { arnOfObject, S3_URL } from './s3-url';

/** The search cluster of a fleet: OpenSearch, or Elasticsearch with the same API. */
export interface SearchClusterProps {
  /** Its address, such as `https://search.example.com:9200`. The functions must reach it. */
  readonly url: string;
  /**
   * How requests authenticate.
   * @default 'none'
   */
  readonly auth?: 'none' | 'basic' | 'api-key' | 'sigv4';
  /**
   * With `auth: 'sigv4'`: `es`, or `aoss` for OpenSearch Serverless.
   * @default 'es'
   */
  readonly service?: 'es' | 'aoss';
  /**
   * With `auth: 'sigv4'`: the region of the domain or collection.
   * @default - the stack's region
   */
  readonly region?: string;
  /** With `auth: 'sigv4'`: the ARN of the domain or collection. The functions may use it alone. */
  readonly resourceArn?: string;
  /** With `auth: 'basic'` or `'api-key'`: the ARN of a secret in the stack's account, with its six random characters. */
  readonly secret?: string;
  /**
   * The KMS key of the secret.
   * @default - the key aws/secretsmanager, which needs no right
   */
  readonly secretKmsKeyArn?: string;
  /**
   * Certificates of authorities in PEM form, as `s3://bucket/key`.
   * @default - the authorities of the system
   */
  readonly ca?: string;
  /**
   * Allows an address with `http`.
   * @default false
   */
  readonly insecure?: boolean;
  /**
   * The names of indices. Excludes `dataStream`.
   * @default 'flowherd-{table}-{yyyy.MM.dd}'
   */
  readonly indexName?: string;
  /** The name of a data stream for each table, such as `flowherd-{table}`. Excludes `indexName`. */
  readonly dataStream?: string;
  /**
   * The names of fields: those of the columns, or of the Elastic Common Schema.
   * @default 'columns'
   */
  readonly naming?: 'columns' | 'ecs';
  /**
   * Maximum concurrent requests of a worker, 1 to 64.
   * @default 4
   */
  readonly requests?: number;
  /**
   * Maximum bytes of the documents of one request, 1024 to 10485760.
   * @default 5242880
   */
  readonly bulkBytes?: number;
}

/** The members that only the stack reads. */
const STACK_ONLY: readonly string[] = ['resourceArn', 'secretKmsKeyArn'] satisfies (keyof SearchClusterProps)[];

/** The members, each with the values that it may have. */
const MEMBERS: Readonly<Record<keyof SearchClusterProps, { readonly is: (value: unknown) => boolean; readonly why: string }>> = {
  url: matching(/^https?:\/\/[^@?#]+$/, 'must be an address such as https://search.example.com, without user, password and query'),
  auth: oneOf('none', 'basic', 'api-key', 'sigv4'),
  service: oneOf('es', 'aoss'),
  region: matching(/^[a-z]{2,4}(-[a-z]+)+-\d$/, 'must be the name of a region'),
  resourceArn: matching(/^arn:[\w-]+:(es|aoss):[\w-]+:\d{12}:(domain|collection)\/[\w-]+$/, 'must be the ARN of a domain or of a collection'),
  secret: matching(/^arn:[\w-]+:secretsmanager:[\w-]+:\d{12}:secret:[\w/+=.@-]+$/, 'must be the ARN of a secret'),
  secretKmsKeyArn: matching(/^arn:[\w-]+:kms:[\w-]+:\d{12}:key\/[\w-]+$/, 'must be the ARN of a KMS key'),
  ca: matching(S3_URL, 'must be s3://BUCKET/KEY'),
  insecure: { is: (value) => typeof value === 'boolean', why: 'must be true or false' },
  indexName: matching(/^[^A-Z]*\{table\}/, 'must have {table}, and no upper-case letter before it; example: flowherd-{table}-{yyyy.MM.dd}'),
  dataStream: matching(/^[^A-Z]*\{table\}/, 'must have {table}, and no upper-case letter before it; example: flowherd-{table}'),
  naming: oneOf('columns', 'ecs'),
  requests: range(1, 64),
  bulkBytes: range(1024, 10_485_760),
};

function matching(pattern: RegExp, why: string) {
  return { is: (value: unknown) => typeof value === 'string' && pattern.test(value), why };
}

function oneOf(...values: string[]) {
  return { is: (value: unknown) => typeof value === 'string' && values.includes(value), why: `must be one of ${values.join(', ')}` };
}

function range(from: number, to: number) {
  const is = (value: unknown) => typeof value === 'number' && Number.isInteger(value) && value >= from && value <= to;
  return { is, why: `must be a whole number from ${from} to ${to}` };
}

/** Returns all problems of a cluster. */
export function clusterProblems(cluster: SearchClusterProps): PropProblem<'cluster'>[] {
  const problem = (value: unknown, why: string): PropProblem<'cluster'> => ({ prop: 'cluster', value, why });
  const unknown = Object.keys(cluster).filter((key) => !(key in MEMBERS));
  if (unknown.length > 0) return unknown.map((key) => problem(key, `is no member of a cluster; its members are ${Object.keys(MEMBERS).join(', ')}`));
  const wrong = Object.entries(MEMBERS).flatMap(([key, { is, why }]) => {
    const value = cluster[key as keyof SearchClusterProps];
    const isMissing = value === undefined && key === 'url';
    return (value !== undefined && !is(value)) || isMissing ? [problem({ [key]: value }, `${key} ${why}`)] : [];
  });
  return wrong.length > 0 ? wrong : clusterConflicts(cluster).map((why) => problem(cluster.url, why));
}

function clusterConflicts({ url, auth = 'none', insecure, service, region, resourceArn, secret, secretKmsKeyArn, indexName, dataStream }: SearchClusterProps): string[] {
  const isSigned = auth === 'sigv4';
  const needsSecret = auth === 'basic' || auth === 'api-key';
  return [
    ...(url.startsWith('http://') && insecure !== true ? ['must be https: credentials and rows would not be encrypted; or set insecure'] : []),
    ...(!isSigned && (service ?? region ?? resourceArn) !== undefined ? ['service, region and resourceArn need auth sigv4'] : []),
    ...(isSigned && resourceArn === undefined ? ['needs resourceArn with auth sigv4, so that the functions may use one domain or collection'] : []),
    ...(needsSecret && secret === undefined ? [`needs secret with auth ${auth}`] : []),
    ...(!needsSecret && secret !== undefined ? ['secret needs auth basic or api-key'] : []),
    ...(secretKmsKeyArn !== undefined && secret === undefined ? ['secretKmsKeyArn needs secret'] : []),
    ...(indexName !== undefined && dataStream !== undefined ? ['indexName and dataStream cannot be combined; leave one out'] : []),
  ];
}

/** The cluster as coordinator, workers and command read it. Holds no credentials. */
export function clusterOptions(cluster: SearchClusterProps): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(cluster).filter(([key, value]) => value !== undefined && !STACK_ONLY.includes(key)));
}

/** Requests of a worker: bulks. */
const WORKER_METHODS = ['Post'] as const;
/** Requests of the coordinator: it reads and installs templates and indices. */
const COORDINATOR_METHODS = ['Get', 'Post', 'Put'] as const;

/** Grants reading of the secret and the CA file, and signed requests to the domain or collection. */
export function grantCluster(grantee: IGrantable & IConstruct, cluster: SearchClusterProps, role: 'worker' | 'coordinator'): void {
  const { secret, secretKmsKeyArn, ca, resourceArn, service = 'es' } = cluster;
  if (secret !== undefined) Grant.addToPrincipal({ grantee, actions: ['secretsmanager:GetSecretValue'], resourceArns: [secret] });
  if (secretKmsKeyArn !== undefined) {
    // https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
    Grant.addToPrincipal({
      grantee,
      actions: ['kms:Decrypt'],
      resourceArns: [secretKmsKeyArn],
      conditions: { StringEquals: { 'kms:ViaService': `secretsmanager.${Stack.of(grantee).region}.amazonaws.com` } },
    });
  }
  if (ca !== undefined) Grant.addToPrincipal({ grantee, actions: ['s3:GetObject'], resourceArns: [arnOfObject(grantee, ca.replace('s3://', ''))] });
  if (resourceArn === undefined) return;
  if (service === 'aoss') {
    // The data access policy of the collection decides on indices:
    // https://docs.aws.amazon.com/opensearch-service/latest/developerguide/serverless-data-access.html
    Grant.addToPrincipal({ grantee, actions: ['aoss:APIAccessAll'], resourceArns: [resourceArn] });
    return;
  }
  // Actions by method: https://docs.aws.amazon.com/service-authorization/latest/reference/list_es.html
  const methods = role === 'worker' ? WORKER_METHODS : COORDINATOR_METHODS;
  const arn = `${resourceArn}/*`;
  Grant.addToPrincipal({ grantee, actions: methods.map((method) => `es:ESHttp${method}`), resourceArns: [arn] });
  acknowledgeWildcard(grantee, arn, 'The indices and APIs of one domain: the names of indices have the days of the rows.');
}
