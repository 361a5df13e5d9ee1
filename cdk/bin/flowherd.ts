import { App } from 'aws-cdk-lib';

import { FlowherdError, FlowherdStack } from '../lib';
import { readSettings } from './settings';

const app = new App();
try {
  const props = readSettings(app.node.getAllContext() as Record<string, unknown>);
  new FlowherdStack(app, props.stackName ?? 'Flowherd', props);
} catch (error) {
  if (!(error instanceof FlowherdError)) throw error;
  console.error(error.message);
  process.exit(2);
}
