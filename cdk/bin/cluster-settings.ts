// The setting `cluster` of a fleet: an object in the settings file.

import { FlowherdError } from '../lib';
import type { SearchClusterProps } from '../lib/search-cluster';

/** A valid value, which error messages show. */
export const CLUSTER_EXAMPLE = '{"url":"https://search.example.com","auth":"basic","secret":"arn:aws:secretsmanager:eu-west-1:123456789012:secret:search-a1b2c3"}';

/** Parses the setting, or throws with the reason. The checks of the stack name wrong members. */
export function parseCluster(value: unknown): SearchClusterProps {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as SearchClusterProps;
  throw new FlowherdError('must be a JSON object');
}
