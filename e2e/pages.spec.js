import { axeFaults } from './checks.js';
import { test, expect } from './portal.js';
import { walk } from './walk.js';

test.use({ mail: true });

test('every page passes axe, light and dark, fits a phone, has all its texts, requests no other host and violates no policy', { tag: ['@scripts', '@one-engine'] }, async ({ page, anotherBrowser, portal }) => {
	test.slow();
	await walk({ page, anotherBrowser, portal, onPage: async (name) => {
		for (const colorScheme of ['light', 'dark']) {
			expect.soft(await axeFaults(page, colorScheme), `${name}, ${colorScheme}`).toEqual([]);
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
