import { type ChildProcess, type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { promisify } from 'node:util';

const run = promisify(execFile);
const CDK = resolve(__dirname, '..');
const REGION = 'us-east-1';

/** Waits and retries of the step loop take this fraction of their time. */
export const WAIT_SCALE = 0.02;

/** Path of a program in the project's `.venv`. */
export function tool(name: string): string {
  const path = resolve(CDK, '../.venv/bin', name);
  if (!existsSync(path)) throw new Error(`${path} does not exist: \`make test\` installs it`);
  return path;
}

/** A local AWS without Docker: ministack on a free port of 127.0.0.1. */
export class LocalCloud {
  private constructor(
    private readonly server: ChildProcess,
    private readonly endpoint: string,
    /** A temporary directory, which the functions know as STUB_DIR. */
    readonly directory: string,
  ) {}

  static async start(): Promise<LocalCloud> {
    const directory = mkdtempSync(join(tmpdir(), 'flowherd-cdk-'));
    const server = spawn(tool('python'), ['-B', resolve(CDK, '../tests/servers/local_cloud.py')], {
      cwd: directory,
      // The server ends when its standard input does, so also when this process is killed.
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { ...process.env, SFN_WAIT_SCALE: String(WAIT_SCALE), STUB_DIR: directory },
    });
    // Also when the tests end without calling stop().
    process.once('exit', () => server.kill('SIGKILL'));
    const port = await firstLine(server);
    return new LocalCloud(server, `http://127.0.0.1:${port}`, directory);
  }

  async stop(): Promise<void> {
    if (this.server.exitCode === null) {
      const ended = new Promise((done) => this.server.once('exit', done));
      this.server.kill('SIGKILL');
      await ended;
    }
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Deploys with the CDK's command. Returns the stack's outputs. */
  async deploy(context: Readonly<Record<string, string>>): Promise<Record<string, string>> {
    const switches = Object.entries(context).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const cdk = (cwd: string, ...command: string[]) =>
      run(process.execPath, [join(CDK, 'node_modules/aws-cdk/bin/cdk'), ...command, '--output', join(this.directory, 'cdk.out')], {
        cwd,
        env: {
          PATH: process.env['PATH'],
          // The CDK caches accounts by access key here.
          CDK_HOME: join(this.directory, 'home'),
          HOME: join(this.directory, 'home'),
          CI: 'true',
          AWS_ENDPOINT_URL: this.endpoint,
          AWS_ACCESS_KEY_ID: 'test',
          AWS_SECRET_ACCESS_KEY: 'test',
          AWS_REGION: REGION,
        },
      });
    // Where no app is, the command does not synthesize one first.
    await cdk(this.directory, 'bootstrap', `aws://000000000000/${REGION}`);
    await cdk(CDK, 'deploy', '--all', '--require-approval', 'never', ...switches);
    const described = await this.query('cloudformation', { Action: 'DescribeStacks', StackName: context['stackName'] ?? 'Flowherd', Version: '2010-05-15' });
    const outputs = described.matchAll(/<OutputKey>(.*?)<\/OutputKey>\s*<OutputValue>(.*?)<\/OutputValue>/gs);
    return Object.fromEntries([...outputs].map(([, key, value]) => [key, value]));
  }

  /** Calls Step Functions. */
  async states<T>(action: string, body: Readonly<Record<string, unknown>>): Promise<T> {
    const response = await this.request('/', {
      method: 'POST',
      headers: {
        ...headers('states'),
        'X-Amz-Target': `AWSStepFunctions.${action}`,
        'Content-Type': 'application/x-amz-json-1.0',
      },
      body: JSON.stringify(body),
    });
    return (await response.json()) as T;
  }

  /** Calls a service with a REST API. */
  async rest<T>(method: string, service: string, path: string, body?: unknown): Promise<T> {
    const response = await this.request(path, {
      method,
      headers: { ...headers(service), 'Content-Type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return (await response.json()) as T;
  }

  /** Writes an object, or creates a bucket if the path has no key. */
  async put(path: string, body = ''): Promise<void> {
    await this.request(`/${path}`, { method: 'PUT', headers: headers('s3'), body });
  }

  private async query(service: string, parameters: Readonly<Record<string, string>>): Promise<string> {
    const response = await this.request('/', {
      method: 'POST',
      headers: { ...headers(service), 'Content-Type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams(parameters),
    });
    return response.text();
  }

  private async request(path: string, init: RequestInit): Promise<Response> {
    const response = await fetch(`${this.endpoint}${path}`, init);
    if (!response.ok) throw new Error(`${init.method} ${path}: ${response.status} ${await response.text()}`);
    return response;
  }
}

/** Waits until a condition is true, for at most two minutes. */
export async function until(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 120_000;
  while (!(await isTrue())) {
    if (Date.now() > deadline) throw new Error(`timed out waiting: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** Headers that name service and region. ministack does not check the signature. */
function headers(service: string): Record<string, string> {
  return {
    Authorization: `AWS4-HMAC-SHA256 Credential=test/20260101/${REGION}/${service}/aws4_request, SignedHeaders=host, Signature=0`,
  };
}

/** The first line of a program's output. Throws if the program ends before. */
async function firstLine(program: ChildProcessByStdio<Writable, Readable, null>): Promise<string> {
  for await (const line of createInterface(program.stdout)) return line;
  throw new Error(`the local cloud ended before it bound a port: status ${program.exitCode}`);
}
