// Opens a page in Chromium, in light and dark mode, at two widths and in print. Prints what it finds as JSON, and writes a
// picture for each into a directory. Usage: node page.mjs PAGE DIRECTORY
import { basename, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

import axe from 'axe-core';

import { launch } from './chromium.mjs';

const [, , file, directory] = process.argv;
const url = pathToFileURL(resolve(file)).href;
const views = [
  { name: 'wide-light', width: 1280, scheme: 'light', media: 'screen' },
  { name: 'wide-dark', width: 1280, scheme: 'dark', media: 'screen' },
  { name: 'narrow-light', width: 390, scheme: 'light', media: 'screen' },
  { name: 'narrow-dark', width: 390, scheme: 'dark', media: 'screen' },
  { name: 'print', width: 794, scheme: 'dark', media: 'print' },
];

/** Runs in the page. */
function measure() {
  const style = (element, property) => getComputedStyle(element)[property];
  const charts = [...document.querySelectorAll('svg')].map((chart) => {
    const box = chart.getBoundingClientRect();
    const marks = [...chart.querySelectorAll('rect')].filter((mark) => mark.getBoundingClientRect().width > 0.2);
    return { width: box.width, height: box.height, marks: marks.length, fill: marks.map((mark) => style(mark, 'fill'))[0] };
  });
  return {
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    ink: style(document.body, 'color'),
    paper: style(document.body, 'backgroundColor'),
    charts,
    scripts: document.scripts.length,
    text: document.body.innerText.length,
  };
}

/** Returns what readers with poor sight or a screen reader could not use, such as text with little contrast. */
async function barriers(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => axe.run());
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`));
}

const browser = await launch();
try {
  const found = [];
  for (const { name, width, scheme, media } of views) {
    const page = await browser.newPage();
    const requests = [];
    const messages = [];
    page.on('request', (request) => requests.push(request.url()));
    page.on('console', (message) => messages.push(message.text()));
    page.on('dialog', (dialog) => { messages.push(dialog.message()); void dialog.dismiss(); });
    await page.setViewport({ width, height: 900 });
    // Both at once: each of puppeteer's own calls resets what the other one has set.
    const session = await page.createCDPSession();
    await session.send('Emulation.setEmulatedMedia', { media, features: [{ name: 'prefers-color-scheme', value: scheme }] });
    await page.goto(url);
    await page.screenshot({ path: join(directory, `${basename(file, '.html')}-${name}.png`), fullPage: true });
    const other = requests.filter((request) => request !== url);
    found.push({ name, requests: other, messages: [...messages], ...(await page.evaluate(measure)), barriers: await barriers(page) });
    await page.close();
  }
  console.log(JSON.stringify(found));
} finally {
  await browser.close();
}
