// The sample pages of internal/web: every page in every state, with the sentences of pseudo-locales.
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './portal.js';

const root = fileURLToPath(new URL('..', import.meta.url));

// eachSample opens every sample page in every pseudo-locale and calls onPage with the page, the
// locale's tag and the name of the sample. Nothing but the files of these pages can be requested.
export async function eachSample(browser, onPage) {
	const dir = await mkdtemp(join(tmpdir(), 'sallyport-samples-'));
	const context = await browser.newContext();
	try {
		await run('go', ['test', '-count=1', '-run', '^TestSamplesAreWritten$', './internal/web'], { cwd: root, env: { ...process.env, SALLYPORT_SAMPLES: dir } });
		const page = await context.newPage();
		await page.route('**/*', (route) => {
			const path = join(dir, new URL(route.request().url()).pathname);
			// The script back.js leaves some pages as soon as they are open.
			return route.fulfill(existsSync(path) && !path.includes('/back.') ? { path } : { status: 404 });
		});
		for (const lang of ['en-XA', 'ar-XB']) {
			for (const file of (await readdir(join(dir, lang))).sort()) {
				await page.goto(`http://samples.localhost/${lang}/${file}`);
				await onPage(page, lang, basename(file, '.html'));
			}
		}
	} finally {
		await context.close();
		await rm(dir, { recursive: true });
	}
}
