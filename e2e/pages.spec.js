import { AxeBuilder } from '@axe-core/playwright';
import { test, expect } from './portal.js';
import { walk } from './walk.js';

const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

test('on every page, light and dark, axe finds nothing; every page fits a phone, says all its sentences, asks no other host and breaks no policy', { tag: ['@scripts', '@one-engine'] }, async ({ page, anotherBrowser, portal }) => {
	test.slow();
	await walk({ page, anotherBrowser, portal, look: async (name) => {
		for (const colorScheme of ['light', 'dark']) {
			await page.emulateMedia({ colorScheme });
			const axe = new AxeBuilder({ page }).setLegacyMode(); // in this tab: there are no frames to look into
			if (colorScheme === 'light') axe.withTags(rules);
			else axe.withRules('color-contrast'); // nothing else is different
			const { violations } = await axe.analyze();
			const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`);
			expect.soft(found, `${name}, ${colorScheme}`).toEqual([]);
		}
		await page.setViewportSize({ width: 320, height: 640 });
		expect.soft(await page.evaluate(() => document.scrollingElement.scrollWidth), `width of ${name}`).toBe(320);
		await page.setViewportSize({ width: 1280, height: 800 });
		expect.soft(await page.content(), `${name} has a sentence that isn't in the catalogue`).not.toContain('⟦');
	} });
});

test('the first view is at most 40 KB in all', { tag: '@one-engine' }, async ({ page, portal }) => {
	await page.goto('/login');
	const icon = await page.locator('link[rel=icon]').getAttribute('href');
	await page.request.get(icon); // whether or not this browser looks for it
	const bodies = new Map(portal.exchanges.map(({ url, status, body }) => [url, { status, size: body.length }]));
	for (const [url, { status }] of bodies) expect(status, url).toBe(200);
	const sizes = [...bodies.values()].map(({ size }) => size);
	expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(40 * 1024);
});
