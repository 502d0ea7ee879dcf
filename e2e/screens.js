import { test as withoutPortal } from '@playwright/test';
import { test } from './portal.js';
import { eachSample } from './samples.js';
import { walk } from './walk.js';

test.use({ mail: true });

test('take a picture of every page, at the widths of a phone and a desktop, light and dark', async ({ page, anotherBrowser, portal }) => {
	test.setTimeout(0);
	const shoot = async (path, width, colorScheme) => {
		await page.emulateMedia({ colorScheme });
		await page.setViewportSize({ width, height: 800 });
		await page.screenshot({ path, fullPage: true });
	};
	await walk({ page, anotherBrowser, portal, onPage: async (name) => {
		if (name === 'wizard') await shoot('../docs/wizard.png', 900, 'light');
		for (const width of [360, 1280]) {
			for (const colorScheme of ['light', 'dark']) await shoot(`screens/${name}-${width}-${colorScheme}.png`, width, colorScheme);
		}
	} });
});

withoutPortal('take a picture of every sample page in the pseudo-locales', async ({ browser }) => {
	test.setTimeout(0);
	await eachSample(browser, async (page, lang, name) => {
		for (const width of [360, 1280]) {
			await page.setViewportSize({ width, height: 800 });
			await page.screenshot({ path: `screens/${lang}/${name}-${width}.png`, fullPage: true });
		}
	});
});
