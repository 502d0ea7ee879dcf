import { AxeBuilder } from '@axe-core/playwright';
import { test, expect } from './portal.js';
import { walk } from './walk.js';

const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

test('every page passes axe, light and dark, fits a phone, has all its texts, requests no other host and violates no policy', { tag: ['@scripts', '@one-engine'] }, async ({ page, anotherBrowser, portal }) => {
	test.slow();
	await walk({ page, anotherBrowser, portal, onPage: async (name) => {
		for (const colorScheme of ['light', 'dark']) {
			await page.emulateMedia({ colorScheme });
			const axe = new AxeBuilder({ page }).setLegacyMode(); // in this tab, since there are no frames
			if (colorScheme === 'light') axe.withTags(rules);
			else axe.withRules('color-contrast'); // nothing else differs in the dark
			const { violations } = await axe.analyze();
			const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`);
			expect.soft(found, `${name}, ${colorScheme}`).toEqual([]);
		}
		await page.setViewportSize({ width: 320, height: 640 });
		expect.soft(await page.evaluate(() => document.scrollingElement.scrollWidth), `width of ${name}`).toBe(320);
		await page.setViewportSize({ width: 1280, height: 800 });
		expect.soft(await page.content(), `${name} has a text that isn't in the catalogue`).not.toContain('⟦');
	} });
});

test('all files of the first page have at most 40 KB', { tag: '@one-engine' }, async ({ page, portal }) => {
	await page.goto('/login');
	const icon = await page.locator('link[rel=icon]').getAttribute('href');
	await page.request.get(icon); // in case this browser doesn't request it
	const bodies = new Map(portal.exchanges.map(({ url, status, body }) => [url, { status, size: body.length }]));
	for (const [url, { status }] of bodies) expect(status, url).toBe(200);
	const sizes = [...bodies.values()].map(({ size }) => size);
	expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(40 * 1024);
});
