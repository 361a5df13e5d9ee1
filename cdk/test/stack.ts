import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { App, Validations } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { AwsSolutionsChecks } from 'cdk-nag';

import { FlowherdStack } from '../lib/flowherd-stack';
import { readSettings } from '../lib/settings';

const directory = mkdtempSync(join(tmpdir(), 'flowherd-cdk-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

/** Functions that do nothing, for stacks that are only looked at. */
export const artifacts = join(directory, 'artifacts');
for (const name of ['flowherd-coordinator', 'flowherd-worker']) {
  mkdirSync(join(artifacts, name), { recursive: true });
  writeFileSync(join(artifacts, name, 'bootstrap'), '#!/bin/sh\n', { mode: 0o755 });
}

/** A file for a setting that names one. */
export function file(name: string, content: string): string {
  writeFileSync(join(directory, name), content);
  return join(directory, name);
}

export const REQUIRED = { sourceBucket: 'my-archive', prefixes: 'firehose/,waf/', artifacts };

export interface Resource {
  readonly Type: string;
  readonly DeletionPolicy?: string;
  readonly UpdateReplacePolicy?: string;
  // Whatever CloudFormation takes; the assertions say what is expected of it.
  readonly Properties: any;
}

/** Lets cdk-nag look at what is synthesised. */
export function look(app: App): void {
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
}

/** The stack's template. cdk-nag has looked at it: what it finds and nobody has acknowledged throws. */
export function synth(more: Readonly<Record<string, unknown>> = {}) {
  const outdir = mkdtempSync(join(directory, 'cdk.out-'));
  const app = new App({ outdir });
  const stack = new FlowherdStack(app, readSettings({ ...REQUIRED, ...more }));
  look(app);
  app.synth();
  const template = Template.fromStack(stack);
  const resources = template.toJSON()['Resources'] as Record<string, Resource>;
  const all = (type: string) => Object.entries(resources).filter(([, resource]) => resource.Type === type);
  const only = (type: string, id: string): Resource => {
    const found = all(type).filter(([logical]) => logical.startsWith(id));
    if (found.length !== 1) throw new Error(`${found.length} of ${type} ${id}`);
    return found[0]![1];
  };
  return { stack, template, resources, all, only, outdir, file: join(outdir, `${stack.stackName}.template.json`) };
}

/** A value of the template as text: references in <>. */
export function text(value: unknown): string {
  if (typeof value === 'string') return value;
  const { Ref, 'Fn::GetAtt': attribute, 'Fn::Join': join } = value as {
    Ref?: string;
    'Fn::GetAtt'?: [string, string];
    'Fn::Join'?: [string, unknown[]];
  };
  if (join !== undefined) return join[1].map(text).join(join[0]);
  // Logical ids end in a hash of the path.
  return `<${(Ref ?? attribute?.[0] ?? JSON.stringify(value)).replace(/[0-9A-F]{8}$/, '')}>`;
}
