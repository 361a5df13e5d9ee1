// Writes a picture of the beginning of a page, for README. Usage: node picture.mjs PAGE FILE.webp
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

import { launch } from './chromium.mjs';

const [, , file, picture] = process.argv;
const browser = await launch();
try {
  const page = await browser.newPage();
  await page.setViewport({ width: 1000, height: 1240, deviceScaleFactor: 1.5 });
  await page.goto(pathToFileURL(resolve(file)).href);
  await page.screenshot({ path: picture, type: 'webp', quality: 80 });
} finally {
  await browser.close();
}
