import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { Stack } from 'aws-cdk-lib';
import { Platform } from 'aws-cdk-lib/aws-ecr-assets';
import { ContainerImage } from 'aws-cdk-lib/aws-ecs';
import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import type { Construct } from 'constructs';

import { FlowherdError } from './errors';

/** The worker's binary for the container is missing. */
export class WorkerNotBuiltError extends FlowherdError {
  constructor(readonly path: string) {
    super(`no worker binary at ${path}: run \`make container-binary\`, or set image to the URI of an image that you pushed`);
  }
}

/** An image in a private ECR repository: account, region, partition's domain and repository. */
const ECR = /^(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?\/([^:@]+)(?:[:@].+)?$/;

/** Returns whether a URI names an image in a private ECR repository. */
export function isEcrImage(uri: string): boolean {
  return ECR.test(uri);
}

/** Returns the given image, and grants its pull if it is in ECR. Other registries need a route to the internet. */
export function givenImage(uri: string, executionRole: IGrantable, stack: Stack): ContainerImage {
  const [, account, region, repository] = ECR.exec(uri) ?? [];
  if (account !== undefined && region !== undefined && repository !== undefined) {
    const resource = stack.formatArn({ service: 'ecr', region, account, resource: 'repository', resourceName: repository });
    // https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-pull.html
    const actions = ['ecr:BatchCheckLayerAvailability', 'ecr:GetDownloadUrlForLayer', 'ecr:BatchGetImage'];
    Grant.addToPrincipal({ grantee: executionRole, actions, resourceArns: [resource] });
    // It has no resources: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html
    Grant.addToPrincipal({ grantee: executionRole, actions: ['ecr:GetAuthorizationToken'], resourceArns: ['*'] });
  }
  return ContainerImage.fromRegistry(uri);
}

/** Returns the image that the deployment builds with docker from the directory of `make container-binary`. */
export function builtImage(scope: Construct, directory: string, architecture: Architecture): ContainerImage {
  // `cdk ls` and `cdk destroy` build nothing, so they do not need the binary. Any image can take its place.
  if (!Stack.of(scope).bundlingRequired) return ContainerImage.fromRegistry('scratch');
  const binary = join(directory, 'flowherd-worker');
  if (!existsSync(binary)) throw new WorkerNotBuiltError(binary);
  const platform = architecture.name === Architecture.ARM_64.name ? Platform.LINUX_ARM64 : Platform.LINUX_AMD64;
  return ContainerImage.fromAsset(directory, { platform });
}
