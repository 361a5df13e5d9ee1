import { App } from 'aws-cdk-lib';

import { FlowherdStack } from '../lib/flowherd-stack';
import { readSettings, SettingsError } from '../lib/settings';

const app = new App();
try {
  new FlowherdStack(app, readSettings(app.node.getAllContext() as Record<string, unknown>));
} catch (error) {
  if (!(error instanceof SettingsError)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
