// Pages in languages that take more room than English, or that are written from right to left.
import { expect, test } from '@playwright/test';
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

// overflowing returns "the page" if it is wider than the window, and the elements with text that is
// wider than they are, or that are outside their card.
function overflowing() {
	const found = [];
	const describe = (element) => `${element.localName}.${element.className}: ${element.textContent.trim().slice(0, 60)}`;
	if (document.scrollingElement.scrollWidth > innerWidth) found.push('the page');
	for (const element of document.querySelectorAll('main :is(h1, h2, h3, p, label, dt, dd, code, a, button, summary, .button, .pill, .box)')) {
		if (element.matches('.hidden') || !element.checkVisibility()) continue;
		if (element.clientWidth && element.scrollWidth > element.clientWidth + 1) found.push(describe(element));
		const card = element.closest('.card')?.getBoundingClientRect();
		const box = element.getBoundingClientRect();
		if (card && (box.left < card.left - 1 || box.right > card.right + 1)) found.push(`outside: ${describe(element)}`);
	}
	return found;
}

// turned returns the codes, and fields for codes, that aren't from left to right.
function turned() {
	const codes = document.querySelectorAll('code, input.code, .secret input');
	return [...codes].filter((code) => getComputedStyle(code).direction !== 'ltr').map((code) => code.outerHTML);
}
