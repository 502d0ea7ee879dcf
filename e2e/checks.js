// What every page and every mail must pass.
import { AxeBuilder } from '@axe-core/playwright';

const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

// axeFaults returns what axe finds on the page in a colour scheme: 'light' or 'dark'.
export async function axeFaults(page, colorScheme) {
	await page.emulateMedia({ colorScheme });
	const axe = new AxeBuilder({ page }).setLegacyMode(); // in this tab, since there are no frames
	if (colorScheme === 'light') axe.withTags(rules);
	else axe.withRules('color-contrast'); // nothing else differs in the dark
	const { violations } = await axe.analyze();
	return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`);
}

// overflowing runs in a page. It returns "the page" if that is wider than the window, and the
// elements with text that is wider than they are, or that are outside their card.
export function overflowing() {
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
