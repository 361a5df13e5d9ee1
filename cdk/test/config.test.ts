// The files of the coordinator's configuration: `flowherd.toml`, the files of its `[[enrich]]`, `names.json`.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';

import { readSettings, SettingsError } from '../bin/settings';
import { file, REQUIRED, synth, text } from './stack';

type Synthesized = ReturnType<typeof synth>;

/** Writes a configuration whose `[[enrich]]` names two local files and one on S3, and returns its path. */
function enriched(threats = 'indicator,list\n'): string {
  file('enriched/threats.csv', threats);
  file('enriched/lists/bad.domains.txt.gz', 'domains');
  const names = ['threats.csv', 'lists/bad.domains.txt.gz', 's3://my-lists/country.mmdb', 'threats.csv'];
  const entries = names.map((name) => `[[enrich]]\nfile = ${JSON.stringify(name)}\n`);
  return file('enriched/flowherd.toml', `${entries.join('')}[[enrich]]\nsource = "names"\n`);
}

function configUrl(template: Synthesized): string {
  return text(template.only('AWS::Lambda::Function', 'PlanningCoordinator').Properties.Environment.Variables.FLOWHERD_CONFIG);
}

/** The contents of the files that the deployment uploads, by URL, as the manifest of assets has them. */
function uploads(template: Synthesized): Map<string, string> {
  const { files } = JSON.parse(readFileSync(join(template.outdir, `${template.stack.stackName}.assets.json`), 'utf8')) as {
    files: Record<string, { source: { path: string; packaging: string }; destinations: Record<string, { bucketName: string; objectKey: string }> }>;
  };
  const single = Object.values(files).filter(({ source }) => source.packaging === 'file');
  return new Map(
    single.map(({ source, destinations }) => {
      const [destination] = Object.values(destinations);
      const bucket = destination?.bucketName.replaceAll(/\$\{([^}]+)\}/g, '<$1>');
      return [`s3://${bucket}/${destination?.objectKey}`, readFileSync(join(template.outdir, source.path), 'utf8')];
    }),
  );
}

function problems(settings: Readonly<Record<string, unknown>>): readonly string[] {
  try {
    readSettings({ ...REQUIRED, ...settings });
  } catch (error) {
    if (error instanceof SettingsError) return error.problems;
    throw error;
  }
  return [];
}

test('the coordinator reads the configuration files as S3 assets, and its code does not depend on them', () => {
  const template = synth({ configFile: file('my-rules.toml', '# mine\n'), namesFile: file('my-names.json', '{"vpcs": {}}') });
  const { Environment, Code } = template.only('AWS::Lambda::Function', 'PlanningCoordinator').Properties;
  for (const [variable, key, content] of [
    ['CONFIG', /\/[0-9a-f]{64}\/my-rules\.toml$/, '# mine\n'],
    ['NAMES', /\/[0-9a-f]{64}\.json$/, '{"vpcs": {}}'],
  ] as const) {
    const url = text(Environment.Variables[`FLOWHERD_${variable}`]);
    assert.match(url, key);
    assert.equal(uploads(template).get(url), content);
    assert.equal(text(Environment.Variables[`FLOWHERD_${variable}_BUCKET_OWNER`]), '<AWS::AccountId>');
  }
  assert.deepEqual(Code, synth().only('AWS::Lambda::Function', 'PlanningCoordinator').Properties.Code);
});

test('enrichment files are uploaded beside the configuration, where the coordinator reads them', () => {
  const template = synth({ configFile: enriched() });
  const config = configUrl(template);
  const beside = (name: string) => config.replace(/[^/]*$/, name);
  const uploaded = uploads(template);
  assert.equal(uploaded.get(beside('threats.csv')), 'indicator,list\n');
  assert.equal(uploaded.get(beside('lists/bad.domains.txt.gz')), 'domains');
});

test('the coordinator may read exactly the files of its configuration, and its names', () => {
  const template = synth({ configFile: enriched(), namesFile: file('my-names.json', '{"vpcs": {}}') });
  const config = configUrl(template);
  const { Variables } = template.only('AWS::Lambda::Function', 'PlanningCoordinator').Properties.Environment;
  const { Statement } = template.only('AWS::IAM::Policy', 'PlanningCoordinatorRole').Properties.PolicyDocument;
  const readable = (Statement as { Action: string; Resource: unknown }[])
    .filter(({ Action }) => Action === 's3:GetObject')
    .flatMap(({ Resource }) => (Array.isArray(Resource) ? (Resource as unknown[]) : [Resource]).map(text))
    .filter((arn) => !arn.startsWith('<ResultsBucket>'));
  const named = [
    config, ...['threats.csv', 'lists/bad.domains.txt.gz'].map((name) => config.replace(/[^/]*$/, name)),
    's3://my-lists/country.mmdb', text(Variables.FLOWHERD_NAMES),
  ];
  assert.deepEqual(readable.sort(), named.map((url) => url.replace('s3://', 'arn:<AWS::Partition>:s3:::')).sort());
});

test('a changed configuration file changes the environment of the coordinator', () => {
  const url = (content: string) => {
    const { Properties } = synth({ configFile: file('changing.toml', content) }).only('AWS::Lambda::Function', 'PlanningCoordinator');
    return text(Properties.Environment.Variables.FLOWHERD_CONFIG);
  };
  assert.notEqual(url('# one\n'), url('# two\n'));
});

test('a changed enrichment file changes the environment of the coordinator', () => {
  const before = configUrl(synth({ configFile: enriched() }));
  assert.equal(configUrl(synth({ configFile: enriched() })), before);
  assert.notEqual(configUrl(synth({ configFile: enriched('indicator,list\n192.0.2.1,bad\n') })), before);
});

test('a configuration whose enrichment files the stack cannot upload is refused, with each problem', () => {
  const refused = ['missing.csv', '../threats.csv', './threats.csv', '/threats.csv', 'lists//threats.csv', 'a*.csv', 's3://my-lists', 's3://my-lists/$x.csv'];
  const entries = (names: readonly string[]) => names.map((name) => `[[enrich]]\nfile = ${JSON.stringify(name)}\n`).join('');
  file('config/threats.csv', 'indicator\n');
  const configFile = file('config/flowherd.toml', entries(['threats.csv', ...refused]));
  const path = 'must be a path below the directory of the configuration, without ., .. or a leading slash, or an s3:// URL';
  const url = 'must be s3://bucket/key, without *, ? or $';
  const reasons = [
    `no such file: ${dirname(configFile)}/missing.csv`, path, path, path, path,
    'must not contain *, ?, $, a backslash or a control character; rename the file', url, url,
  ];
  assert.deepEqual(
    problems({ configFile }),
    refused.map((name, number) => `configFile=${JSON.stringify(configFile)}: enrich: file = ${JSON.stringify(name)}: ${reasons[number]}; example: configFile=flowherd.toml`),
  );
  const [invalid, ...others] = problems({ configFile: file('invalid.toml', 'enrich = [\n') });
  assert.match(invalid ?? '', /^configFile="[^"]*invalid\.toml": not valid TOML: /);
  assert.deepEqual(others, []);
});

test('the configurations that Flowherd reads are valid TOML for the stack', () => {
  const root = resolve(__dirname, '../..');
  const found = ['shared/presets', 'examples'].flatMap((below) =>
    readdirSync(join(root, below), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('flowherd.toml') || (below === 'shared/presets' && name.endsWith('.toml')))
      .map((name) => join(root, below, name)),
  );
  assert.ok(found.length > 5, found.join());
  for (const configFile of found) assert.deepEqual(problems({ configFile }), [], configFile);
});
