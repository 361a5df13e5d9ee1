// Prints why the browser does not start on this machine; nothing if it does.
import { launch } from './chromium.mjs';

try {
  const browser = await launch();
  await browser.close();
} catch (error) {
  // A mistake in these programs is not the machine's.
  if (error.constructor !== Error) throw error;
  console.log(error.message.split('\n').filter(Boolean).slice(0, 3).join(' '));
}
