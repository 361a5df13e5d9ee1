// Chromium with the libraries and fonts that it needs, all from packages of the npm registry and below node_modules. The
// machine needs only glibc, on x86-64.
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import puppeteer from 'puppeteer-core';

const home = join(import.meta.dirname, 'node_modules', '.chromium');
const complete = join(home, 'complete');
const fonts = [join(home, 'fonts'), join(import.meta.dirname, 'node_modules', 'dejavu-fonts-ttf', 'ttf')];

// The package unpacks into TMPDIR. On Lambda's Amazon Linux it also unpacks the libraries, and sets LD_LIBRARY_PATH to them.
process.env.TMPDIR = home;
process.env.AWS_LAMBDA_JS_RUNTIME = 'nodejs22.x';
process.env.FONTCONFIG_FILE = join(home, 'fonts.conf');
delete process.env.FONTCONFIG_PATH;
const { default: chromium } = await import('@sparticuz/chromium');

/** Unpacks the browser, or finds it unpacked. Returns the path of the program. */
export async function install() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error(`@sparticuz/chromium has a browser for Linux on x64 only, and this is ${process.platform} on ${process.arch}`);
  }
  // An interrupted attempt leaves a part of the program.
  if (!existsSync(complete)) rmSync(home, { recursive: true, force: true });
  mkdirSync(home, { recursive: true });
  // Only these fonts, so that a page has the same lines on every machine.
  writeFileSync(process.env.FONTCONFIG_FILE, `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  ${fonts.map((path) => `<dir>${path}</dir>`).join('')}
  <cachedir>${join(home, 'fonts-cache')}</cachedir>
  <alias><family>sans-serif</family><prefer><family>Open Sans</family></prefer></alias>
  <alias><family>system-ui</family><prefer><family>Open Sans</family></prefer></alias>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
  <alias><family>ui-monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
`);
  const program = await chromium.executablePath();
  writeFileSync(complete, '');
  return program;
}

/** Starts the browser. It runs without a sandbox, because CI runs as root, and opens only pages of the tests. */
export async function launch() {
  const executablePath = await install();
  return puppeteer.launch({ executablePath, headless: 'shell', args: ['--no-sandbox', '--disable-gpu', '--font-render-hinting=none'] });
}
