import { Stack, Validations } from 'aws-cdk-lib';
import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import type { IConstruct } from 'constructs';

/**
 * Grants exactly these actions on the objects whose keys match the patterns.
 *
 * `IBucket.grantRead` and its siblings would add actions with wildcards, such as `s3:GetObject*`, and `s3:List*` on the
 * bucket.
 */
export function grantOnObjects(
  grantee: IGrantable & IConstruct,
  bucket: Pick<IBucket, 'arnForObjects'>,
  actions: readonly string[],
  keyPatterns: readonly string[],
): void {
  const resourceArns = keyPatterns.map((pattern) => bucket.arnForObjects(pattern));
  Grant.addToPrincipal({ grantee, actions: [...actions], resourceArns });
  for (const arn of resourceArns.filter((arn) => arn.includes('*'))) {
    acknowledgeWildcard(grantee, arn, 'The objects below one prefix: their keys are not known at deployment.');
  }
}

/** Acknowledges the finding of cdk-nag on a resource with a wildcard. */
export function acknowledgeWildcard(grantee: IConstruct, arn: string, reason: string): void {
  Validations.of(grantee).acknowledge({ id: `AwsSolutions-IAM5[Resource::${findingName(grantee, arn)}]`, reason });
}

/** The ARN as cdk-nag writes it into the ID of a finding. */
function findingName(scope: IConstruct, arn: string): string {
  const resolved: unknown = Stack.of(scope).resolve(arn);
  if (typeof resolved === 'string') return resolved;
  const parts = (resolved as { 'Fn::Join': [string, unknown[]] })['Fn::Join'][1];
  return parts
    .map((part) => {
      if (typeof part === 'string') return part;
      const token = part as { Ref?: string; 'Fn::GetAtt'?: string[] };
      return `<${token.Ref ?? token['Fn::GetAtt']?.join('.')}>`;
    })
    .join('');
}
