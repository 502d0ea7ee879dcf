// Pages in languages that take more room than English, or that are written from right to left.
import { expect, test } from '@playwright/test';
import { overflowing } from './checks.js';
import { eachSample } from './samples.js';

test('every page has room for longer text and for text from right to left', { tag: ['@scripts', '@one-engine'] }, async ({ browser }) => {
	test.slow();
	await eachSample(browser, async (page, lang, name) => {
		for (const width of [360, 1280]) {
			await page.setViewportSize({ width, height: 800 });
			expect.soft(await page.evaluate(overflowing), `${name} in ${lang} at ${width} px`).toEqual([]);
		}
		expect.soft(await page.evaluate(turned), `${name} in ${lang}: codes from right to left`).toEqual([]);
	});
});

// turned returns the codes, and fields for codes, that aren't from left to right.
function turned() {
	const codes = document.querySelectorAll('code, input.code, .secret input');
	return [...codes].filter((code) => getComputedStyle(code).direction !== 'ltr').map((code) => code.outerHTML);
}
