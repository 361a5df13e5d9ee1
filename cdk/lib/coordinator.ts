import { join } from 'node:path';

import { Duration, Stack } from 'aws-cdk-lib';
import { Grant } from 'aws-cdk-lib/aws-iam';
import type { Architecture } from 'aws-cdk-lib/aws-lambda';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';

import { ConfigAsset } from './config-asset';
import type { Fleet } from './fleet';
import { NativeFunction } from './native-function';
import { NAMES_KEY, type ResultsBucket } from './results-bucket';
import { arnOfObject } from './s3-url';
import { clusterOptions, grantCluster } from './search-cluster';
import { SettingsAsset } from './settings-asset';
import type { SourceBucket } from './source-bucket';
import type { TaskQueue } from './task-queue';

/** Rules, names and limit of runs: of all fleets, or of one. */
interface RunSettings {
  readonly configFile?: string | undefined;
  readonly namesFile?: string | undefined;
  readonly namesUrl?: string | undefined;
  readonly namesBucketAccount?: string | undefined;
  readonly maxKeys: number;
}

export interface CoordinatorProps extends RunSettings {
  readonly source: SourceBucket;
  readonly results: ResultsBucket;
  readonly fleets: readonly Fleet[];
  /** Directory that holds `flowherd-coordinator/bootstrap`. */
  readonly artifacts: string;
  readonly architecture: Architecture;
  readonly logRetention: RetentionDays;
  readonly runTimeLimit: Duration;
  /** Uses the names that the coordinator refreshes in the results bucket. */
  readonly namesRefresh: boolean;
}

/** Memory of the coordinator in MB. */
const COORDINATOR_MEMORY_MB = 1024;
/** The same with `namesRefresh`: a refresh holds the former names, the new ones and what it has read. */
const NAMES_MEMORY_MB = 3008;

/** The function that plans, checks and reports runs. Each call is one operation; the step loop drives it. */
export class Coordinator extends Construct {
  readonly function: NativeFunction;
  readonly memoryMb: number;
  /** The settings of all fleets, as environment variables. */
  readonly environment: Readonly<Record<string, string>>;
  private readonly assets: readonly (ConfigAsset | SettingsAsset)[];
  private readonly namesUrls: readonly string[];
  /** The bucket of the refreshed names. */
  private readonly refreshed: ResultsBucket | undefined;

  constructor(scope: Construct, id: string, props: CoordinatorProps) {
    super(scope, id);
    const { source, results, fleets } = props;
    const { account } = Stack.of(this);
    const common = this.files('', props);
    const refreshed = props.namesRefresh ? `s3://${results.bucket.bucketName}/${NAMES_KEY}` : undefined;
    const ofFleets = fleets.map((fleet) => this.fleet(fleet, props));
    const all = [common, ...ofFleets.map(({ files }) => files)];
    this.memoryMb = props.namesRefresh ? NAMES_MEMORY_MB : COORDINATOR_MEMORY_MB;
    this.assets = all.flatMap(({ assets }) => assets);
    const urls = [props.namesUrl, ...fleets.map(({ settings }) => settings.namesUrl)];
    this.namesUrls = [...new Set(urls.filter((url) => url !== undefined))];
    this.refreshed = props.namesRefresh ? results : undefined;
    this.environment = {
      ...source.environment,
      ...results.environment,
      // The dead-letter queues are those of the queues' redrive policies.
      FLOWHERD_FLEETS: Stack.of(this).toJsonString(Object.fromEntries(fleets.map(({ name }, at) => [name, ofFleets[at]?.settings]))),
      FLOWHERD_TIME_LIMIT_SECONDS: String(props.runTimeLimit.toSeconds()),
      FLOWHERD_MAX_KEYS: String(props.maxKeys),
      ...optional('FLOWHERD_CONFIG', common.config),
      ...optional('FLOWHERD_NAMES', common.names ?? refreshed),
      // Of every file that does not name its owner.
      ...(all.some(({ config }) => config !== undefined) ? { FLOWHERD_CONFIG_BUCKET_OWNER: account } : {}),
      ...(refreshed !== undefined || all.some(({ names }) => names !== undefined)
        ? { FLOWHERD_NAMES_BUCKET_OWNER: common.namesOwner ?? account }
        : {}),
    };
    this.function = new NativeFunction(this, 'Coordinator', {
      description: 'Flowherd: plans, checks and reports runs',
      directory: join(props.artifacts, 'flowherd-coordinator'),
      architecture: props.architecture,
      memoryMb: this.memoryMb,
      timeout: Duration.minutes(15),
      logRetention: props.logRetention,
      environment: this.environment,
    });
    source.grantList(this.function);
    this.grantLedger(results, fleets);
    for (const { tasks } of fleets) if (tasks !== undefined) this.grantQueues(tasks);
    for (const { settings: { cluster } } of fleets) if (cluster !== undefined) grantCluster(this.function, cluster, 'coordinator');
    this.grantConfiguration(this.function);
  }

  /** Grants reading of the rules and names of new runs. */
  grantConfiguration(grantee: NativeFunction): void {
    for (const asset of this.assets) asset.grantRead(grantee);
    this.refreshed?.grantOnObjects(grantee, ['s3:GetObject'], [NAMES_KEY]);
    for (const url of this.namesUrls) {
      const resourceArns = [arnOfObject(this, url.replace('s3://', ''))];
      Grant.addToPrincipal({ grantee, actions: ['s3:GetObject'], resourceArns });
    }
  }

  /** The member of `FLOWHERD_FLEETS` of a fleet. It has what differs from the settings of all fleets. */
  private fleet({ name, settings, tasks }: Fleet, common: RunSettings) {
    const { prefixes, live, maxKeys, job, cluster } = settings;
    const hasNames = job === 'convert' && (settings.namesFile !== common.namesFile || settings.namesUrl !== common.namesUrl);
    const files = this.files(`-${name}`, {
      ...(settings.configFile === common.configFile ? {} : { configFile: settings.configFile }),
      ...(hasNames ? { namesFile: settings.namesFile, namesUrl: settings.namesUrl, namesBucketAccount: settings.namesBucketAccount } : {}),
    });
    const { account } = Stack.of(this);
    return {
      files,
      settings: {
        prefixes,
        ...(tasks === undefined ? { driver: 'map' } : { queueUrl: tasks.queue.queueUrl }),
        ...(live ? { live } : {}),
        ...(cluster === undefined ? {} : { job, cluster: clusterOptions(cluster) }),
        ...(maxKeys === common.maxKeys ? {} : { maxKeys }),
        ...optional('config', files.config),
        ...optional('names', files.names),
        ...optional('namesBucketOwner', files.names === undefined ? undefined : (files.namesOwner ?? account)),
      },
    };
  }

  /** Uploads the files of settings. `suffix` makes the IDs of the assets unique. */
  private files(suffix: string, { configFile, namesFile, namesUrl, namesBucketAccount }: Partial<RunSettings>) {
    const config = configFile === undefined ? undefined : new ConfigAsset(this, `Config${suffix}`, configFile);
    const names = namesFile === undefined ? undefined : new SettingsAsset(this, `Names${suffix}`, namesFile);
    return {
      assets: [config, names].filter((asset) => asset !== undefined),
      config: config?.url,
      names: names?.url ?? namesUrl,
      namesOwner: namesUrl === undefined ? undefined : namesBucketAccount,
    };
  }

  private grantLedger(results: ResultsBucket, fleets: readonly Fleet[]): void {
    // Of outputs, the coordinator reads only which version is there.
    results.grantOnObjects(this.function, ['s3:GetObject'], ['runs/*', 'active/*', 'csv/*', 'rejects/*']);
    // Only workers write receipts and failures.
    const unfinished = 'runs/*/report.unfinished.json';
    results.grantOnObjects(this.function, ['s3:PutObject'], [
      'active/*', 'runs/.index/*', 'runs/*/run.json', 'runs/*/flowherd.toml', 'runs/*/names.json', 'runs/*/enrich/*', 'runs/*/manifest/*',
      'runs/*/purged.json', 'runs/*/report.json', 'runs/*/report.html', unfinished,
    ]);
    if (fleets.some(({ settings }) => settings.live)) {
      results.grantOnObjects(this.function, ['s3:PutObject'], ['runs/live-*/begin.json', 'runs/live-*/closing.json', 'runs/live-*/cursor.json']);
    }
    // The position of a listing whose pages have no rows.
    if (fleets.some(({ settings }) => settings.job === 'index')) results.grantOnObjects(this.function, ['s3:PutObject'], ['runs/*/cursor.json']);
    results.grantOnObjects(this.function, ['s3:DeleteObject'], ['active/*', unfinished]);
    results.grantList(this.function);
  }

  private grantQueues({ queue, deadLetters }: TaskQueue): void {
    queue.grant(this.function, 'sqs:SendMessage', 'sqs:GetQueueAttributes', 'sqs:PurgeQueue');
    // A redrive requires these, and sqs:SendMessage on the queue:
    // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue-redrive.html
    deadLetters.grant(
      this.function,
      'sqs:StartMessageMoveTask', 'sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:GetQueueAttributes',
      // The queue's redrive policy has only the ARN.
      'sqs:GetQueueUrl',
    );
  }
}

function optional(name: string, value: string | undefined): Record<string, string> {
  return value === undefined ? {} : { [name]: value };
}
