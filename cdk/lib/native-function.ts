import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { type Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { type IGrantable, type IPrincipal, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { type Architecture, Code, Function, LoggingFormat, Runtime } from 'aws-cdk-lib/aws-lambda';
import { LogGroup, type RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';

import { FunctionNotBuiltError } from './errors';

export interface NativeFunctionProps {
  readonly description: string;
  /** Directory that holds the executable `bootstrap`. */
  readonly directory: string;
  readonly architecture: Architecture;
  readonly memoryMb: number;
  readonly timeout: Duration;
  readonly logRetention: RetentionDays;
  readonly environment: Readonly<Record<string, string>>;
}

/** A Lambda function in Rust with its own role and log group. Without further grants it may only write its log. */
export class NativeFunction extends Construct implements IGrantable {
  readonly function: Function;
  readonly logGroup: LogGroup;
  readonly grantPrincipal: IPrincipal;

  constructor(scope: Construct, id: string, props: NativeFunctionProps) {
    super(scope, id);
    this.logGroup = new LogGroup(this, 'Log', {
      retention: props.logRetention,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    // With an explicit role, the CDK leaves out AWS's managed policy, which allows writing to every log group.
    const role = new Role(this, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    this.grantPrincipal = role;
    this.logGroup.grantWrite(role);
    this.function = new Function(this, 'Function', {
      description: props.description,
      runtime: Runtime.PROVIDED_AL2023,
      handler: 'bootstrap',
      code: this.code(resolve(props.directory)),
      architecture: props.architecture,
      memorySize: props.memoryMb,
      timeout: props.timeout,
      role,
      logGroup: this.logGroup,
      loggingFormat: LoggingFormat.JSON,
      environment: { ...props.environment },
    });
  }

  private code(directory: string): Code {
    // `cdk ls` and `cdk destroy` bundle nothing, so they do not need the binary. Any directory can take its place.
    if (!Stack.of(this).bundlingRequired) return Code.fromAsset(__dirname);
    const bootstrap = join(directory, 'bootstrap');
    if (!existsSync(bootstrap)) throw new FunctionNotBuiltError(bootstrap);
    return Code.fromAsset(directory);
  }
}
