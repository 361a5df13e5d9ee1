import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { App, Validations } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { AwsSolutionsChecks } from 'cdk-nag';

import { readSettings, SettingsError } from '../bin/settings';
import { FlowherdStack } from '../lib';

const directory = mkdtempSync(join(tmpdir(), 'flowherd-cdk-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

/** Functions that do nothing, for stacks that are never deployed. */
export const artifacts = join(directory, 'artifacts');
for (const name of ['flowherd-coordinator', 'flowherd-worker']) {
  mkdirSync(join(artifacts, name), { recursive: true });
  writeFileSync(join(artifacts, name, 'bootstrap'), '#!/bin/sh\n', { mode: 0o755 });
}

/** Writes a file for a setting that takes a path. */
export function file(name: string, content: string): string {
  mkdirSync(dirname(join(directory, name)), { recursive: true });
  writeFileSync(join(directory, name), content);
  return join(directory, name);
}

export const REQUIRED = { sourceBucket: 'my-archive', prefixes: 'firehose/,waf/', artifacts };

export interface Resource {
  readonly Type: string;
  readonly DeletionPolicy?: string;
  readonly UpdateReplacePolicy?: string;
  // Any CloudFormation value; the assertions define what they expect.
  readonly Properties: any;
}

/** Makes cdk-nag check the app when it is synthesized. */
export function addChecks(app: App): void {
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
}

export function temporaryDirectory(): string {
  return mkdtempSync(join(directory, 'cdk.out-'));
}

/** Synthesizes the stack. Throws if cdk-nag finds something that is not acknowledged. */
export function synth(settings: Readonly<Record<string, unknown>> = {}) {
  const outdir = temporaryDirectory();
  const app = new App({ outdir });
  const props = readSettings({ ...REQUIRED, ...settings });
  const stack = new FlowherdStack(app, props.stackName ?? 'Flowherd', props);
  addChecks(app);
  app.synth();
  return inspect(stack, outdir);
}

/** The problems of these settings. */
export function problemsOf(settings: Readonly<Record<string, unknown>>): readonly string[] {
  try {
    synth(settings);
  } catch (error) {
    if (error instanceof SettingsError) return error.problems;
    throw error;
  }
  return [];
}

/** The values of a member that a template may give as one value or as a list. */
export const listed = <T>(value: T | T[]): T[] => (Array.isArray(value) ? value : [value]);

export function inspect(stack: FlowherdStack, outdir: string) {
  const template = Template.fromStack(stack);
  const resources = template.toJSON()['Resources'] as Record<string, Resource>;
  const all = (type: string) => Object.entries(resources).filter(([, resource]) => resource.Type === type);
  const only = (type: string, id: string): Resource => {
    const found = all(type).filter(([logical]) => logical.startsWith(id));
    if (found.length !== 1) throw new Error(`found ${found.length} resources of type ${type} and ID ${id}`);
    return found[0]![1];
  };
  return { stack, template, resources, all, only, outdir, file: join(outdir, `${stack.stackName}.template.json`) };
}

/** A value of the template as text, with references in <>. */
export function text(value: unknown): string {
  if (typeof value === 'string') return value;
  const { Ref, 'Fn::GetAtt': attribute, 'Fn::Join': join, 'Fn::Sub': substitute } = value as {
    Ref?: string;
    'Fn::GetAtt'?: [string, string];
    'Fn::Join'?: [string, unknown[]];
    'Fn::Sub'?: string;
  };
  if (join !== undefined) return join[1].map(text).join(join[0]);
  if (substitute !== undefined) return substitute.replaceAll(/\$\{([^}]+)\}/g, '<$1>');
  // Logical IDs end in a hash of the path.
  return `<${(Ref ?? attribute?.[0] ?? JSON.stringify(value)).replace(/[0-9A-F]{8}$/, '')}>`;
}
