// Checks of the properties of fleets.

import { Token } from 'aws-cdk-lib';

import type { PropProblem } from './errors';
import { fleetOutput } from './fleet';
import { type FleetProps, type FlowherdStackProps, MAIN_FLEET, merged, resolveFleets } from './props';
import { clusterProblems } from './search-cluster';

type Props = Partial<FlowherdStackProps>;
type Problem = PropProblem<string>;
type Check = (props: Props) => Problem[];

// Names of queues and alarms contain it; the coordinator accepts the same names.
const FLEET_NAME = /^[a-z][a-z0-9-]{0,19}$/;
/** Bytes of the coordinator's environment, without fleets. */
const ENVIRONMENT_BYTES = 1200;
/** Bytes of a queue's URL and the keys of its JSON, without names. */
const QUEUE_BYTES = 90;
/** Bytes of the location of a file that the deployment uploads. */
const FILE_BYTES = 150;
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const MAX_ENVIRONMENT_BYTES = 4096;

/** `own` checks single properties, `conflicts` several together. */
export function fleetProblems(props: Props, own: Check, conflicts: Check): Problem[] {
  const { fleets } = props;
  if (fleets === undefined) return unusedProblems(props, props);
  const names = Object.keys(fleets);
  if (names.length === 0) return [{ prop: 'fleets', value: fleets, why: 'must have at least one fleet' }];
  const problems = Object.entries(fleets).flatMap(([name, fleet]) => [
    ...nameProblems(name),
    ...named(name, [
      ...own(fleet), ...jobProblems(fleet), ...unusedProblems(fleet, merged(props, fleet)), ...unusedTasks(props, fleet),
      ...mergedConflicts(props, fleet, conflicts),
    ]),
    ...((merged(props, fleet).prefixes ?? []).length > 0 || fleet.job === 'index' ? [] : named(name, [{ prop: 'prefixes', value: [], why: 'must have at least one prefix' }])),
  ]);
  // Later checks need valid fleets.
  if (problems.length > 0) return problems;
  return [
    ...unusedDefaults(props, Object.values(fleets)), ...sharedPrefixes(props), ...outputProblems(names), ...alarmProblems(props, fleets),
    ...sizeProblems(props),
  ];
}

const named = (fleet: string, problems: readonly Problem[]): Problem[] =>
  problems.map(({ prop, ...problem }) => ({ prop: `fleets.${fleet}.${prop}`, ...problem }));

function nameProblems(name: string): Problem[] {
  const why = 'must have 1 to 20 of the characters a-z, 0-9 and -, and begin with a letter';
  return FLEET_NAME.test(name) ? [] : [{ prop: 'fleets', value: name, why }];
}

function jobProblems(fleet: FleetProps): Problem[] {
  const { job, cluster } = fleet;
  if (job === 'index') return indexProblems(fleet);
  if (job !== undefined && job !== 'convert') return [{ prop: 'job', value: job, why: 'must be convert or index' }];
  return cluster === undefined ? [] : [{ prop: 'cluster', value: cluster.url, why: 'needs job=index' }];
}

/** Properties that concern the conversion alone. */
const NOT_OF_INDEX = ['namesFile', 'namesUrl', 'namesBucketAccount', 'live', 'closeHour'] as const;

function indexProblems(fleet: FleetProps): Problem[] {
  const { cluster, driver, prefixes = [] } = fleet;
  const given = NOT_OF_INDEX.filter((prop) => fleet[prop] !== undefined && fleet[prop] !== false);
  return [
    ...(cluster === undefined ? [{ prop: 'cluster', value: cluster, why: 'is missing: a fleet with job index needs the search cluster' }] : clusterProblems(cluster)),
    ...given.map((prop) => ({ prop, value: fleet[prop], why: 'has no meaning with job index, whose objects are rows; leave it out' })),
    ...(driver === 'map' ? [{ prop: 'driver', value: driver, why: 'must be queue with job index: messages wait in it while the cluster is down' }] : []),
    ...prefixes
      .filter((prefix) => !Token.isUnresolved(prefix) && !prefix.startsWith('csv/'))
      .map((prefix) => ({ prop: 'prefixes', value: prefix, why: 'must begin with csv/ with job index: it reads rows of the results bucket' })),
  ];
}

const OF_QUEUE = ['visibilityTimeout', 'maxReceiveCount', 'messageRetention', 'oldestMessageAlarm'] as const;

/** Given properties without a meaning. `all` are the same with the defaults of the stack. */
function unusedProblems(given: FleetProps, all: FleetProps): Problem[] {
  return [...(all.driver === 'map' ? queueProblems(given) : []), ...(all.live === true ? [] : closeProblems(given))];
}

function queueProblems(props: FleetProps): Problem[] {
  const given = OF_QUEUE.filter((prop) => props[prop] !== undefined);
  return given.map((prop) => ({ prop, value: props[prop], why: 'has no meaning with driver map, which has no queue; leave it out' }));
}

function closeProblems({ closeHour }: FleetProps): Problem[] {
  if (closeHour === undefined) return [];
  return [{ prop: 'closeHour', value: closeHour, why: 'needs live=true: only the days of a live fleet are closed' }];
}

/** Properties of the stack without a meaning for any fleet. */
function unusedDefaults(props: Props, fleets: readonly FleetProps[]): Problem[] {
  const all = fleets.map((fleet) => merged(props, fleet));
  return [
    ...(all.every(({ driver }) => driver === 'map') ? queueProblems(props) : []),
    ...(all.some(({ live }) => live === true) ? [] : closeProblems(props)),
  ];
}

/** The alarms of new objects have no fleet in their names. */
function alarmProblems(props: Props, fleets: Readonly<Record<string, FleetProps>>): Problem[] {
  const isAnyLive = Object.values(fleets).some((fleet) => merged(props, fleet).live === true);
  if (!isAnyLive || !('arrivals' in fleets)) return [];
  const why = 'cannot be the name of a fleet beside a live one: the alarm arrivals-dead-letters is that of new objects';
  return [{ prop: 'fleets', value: 'arrivals', why }];
}

/** Those of the stack are defaults for its fleets on Fargate. Those of a fleet on Lambda are a mistake. */
function unusedTasks(props: Props, fleet: FleetProps): Problem[] {
  if (fleet.tasks === undefined || merged(props, fleet).workers === 'fargate') return [];
  return [{ prop: 'tasks', value: fleet.tasks, why: 'needs workers=fargate' }];
}

/** Conflicts that the properties of the stack alone do not have. */
function mergedConflicts(props: Props, fleet: FleetProps, conflicts: Check): Problem[] {
  const ofStack = conflicts(props).map(({ prop }) => prop);
  return conflicts(merged(props, fleet)).filter(({ prop }) => !ofStack.includes(prop));
}

/** The coordinator finds the fleet of a run by its prefix. */
function sharedPrefixes(props: Props): Problem[] {
  const owners = new Map<string, string>();
  // Fleets that index are named, or the only one.
  return resolveFleets(props as FlowherdStackProps).filter(({ job }) => job === 'convert').flatMap(({ name, prefixes }) =>
    prefixes.flatMap((prefix) => {
      const owner = owners.get(prefix);
      owners.set(prefix, name);
      if (owner === undefined || owner === name || Token.isUnresolved(prefix)) return [];
      return named(name, [{ prop: 'prefixes', value: prefix, why: `must not be the prefix of fleet ${owner} too` }]);
    }),
  );
}

/** Names of outputs have only letters and digits. */
function outputProblems(names: readonly string[]): Problem[] {
  const owners = new Map<string, string>();
  return names.flatMap((name) => {
    const output = fleetOutput(name);
    const owner = owners.get(output);
    owners.set(output, name);
    return owner === undefined ? [] : [{ prop: 'fleets', value: name, why: `must differ from ${owner} in a letter or digit` }];
  });
}

/** The coordinator reads all fleets from one environment variable. */
function sizeProblems({ fleets, ...props }: Props): Problem[] {
  const stackName = props.stackName ?? 'Flowherd';
  const bytes = Object.entries(fleets ?? {}).map(([name, fleet]) => {
    const files = [fleet.configFile, fleet.namesFile, fleet.namesUrl].filter((file) => file !== undefined).length;
    const prefixes = JSON.stringify(fleet.prefixes ?? props.prefixes ?? []).length;
    // A fleet with driver map has no queue and is a little shorter.
    const queue = name === MAIN_FLEET ? stackName.length : stackName.length + name.length + 1;
    const cluster = fleet.cluster === undefined ? 0 : JSON.stringify(fleet.cluster).length;
    return name.length + queue + QUEUE_BYTES + prefixes + cluster + files * FILE_BYTES;
  });
  const sum = bytes.reduce((sum, bytes) => sum + bytes, ENVIRONMENT_BYTES);
  if (sum <= MAX_ENVIRONMENT_BYTES) return [];
  const why = `need about ${sum} bytes of the coordinator's environment, which has ${MAX_ENVIRONMENT_BYTES}; use fewer fleets or shorter prefixes, or another stack`;
  return [{ prop: 'fleets', value: bytes.length, why }];
}
