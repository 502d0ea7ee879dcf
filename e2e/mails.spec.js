// What owners read: every mail that the server sends, as HTML, in English and in the pseudo-locales.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@playwright/test';
import { axeFaults, overflowing } from './checks.js';
import { run } from './portal.js';

const root = fileURLToPath(new URL('..', import.meta.url));

test('every mail passes axe, light and dark, fits a phone and loads nothing', { tag: ['@scripts', '@one-engine'] }, async ({ browser }) => {
	const dir = await mkdtemp(join(tmpdir(), 'sallyport-mails-'));
	const context = await browser.newContext();
	const requested = [], analysed = new Set();
	try {
		await run('go', ['test', '-count=1', '-run', '^TestEveryMailIsComplete$', './internal/mail'], { cwd: root, env: { ...process.env, SALLYPORT_TEST_MAILS: dir } });
		const page = await context.newPage();
		await page.route('**/*', async (route) => {
			const name = new URL(route.request().url()).pathname.slice(1);
			if (!files.includes(name)) {
				requested.push(`${page.url()}: ${route.request().url()}`);
				return route.abort();
			}
			return route.fulfill({ contentType: 'text/html; charset=utf-8', body: await readFile(join(dir, name)) });
		});
		const files = (await readdir(dir)).sort();
		expect(files.length).toBeGreaterThan(100);
		for (const file of files) {
			await page.goto(`http://mails.localhost/${file}`);
			for (const width of [360, 1280]) {
				await page.setViewportSize({ width, height: 800 });
				expect.soft(await page.evaluate(overflowing), `${file} at ${width} px`).toEqual([]);
			}
			// Many mails consist of the same elements in the same colours.
			const elements = await page.evaluate(() => [...new Set([...document.querySelectorAll('*')].map((one) => `${one.parentElement?.localName} ${one.localName}.${one.className}`))].sort().join());
			if (analysed.has(elements)) continue;
			analysed.add(elements);
			for (const colorScheme of ['light', 'dark']) {
				expect.soft(await axeFaults(page, colorScheme), `${file}, ${colorScheme}`).toEqual([]);
			}
		}
	} finally {
		await context.close();
		await rm(dir, { recursive: true });
	}
	expect(requested).toEqual([]);
});
