import { Stack, Validations } from 'aws-cdk-lib';
import type { IConstruct } from 'constructs';

/** Says why policies below `scope` may name objects with `*`: whole prefixes, never a whole bucket. */
export function acknowledgeObjects(scope: IConstruct, resources: readonly string[]): void {
  for (const resource of resources) {
    Validations.of(scope).acknowledge({
      id: `AwsSolutions-IAM5[Resource::${finding(scope, resource)}]`,
      reason: 'The objects below one prefix; keys are not known when the stack is deployed.',
    });
  }
}

/** The ARN as cdk-nag writes it into the name of a finding. */
function finding(scope: IConstruct, resource: string): string {
  const resolved: unknown = Stack.of(scope).resolve(resource);
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
