import { readFile } from 'node:fs/promises';
import { AxeBuilder } from '@axe-core/playwright';
import { test, expect } from './portal.js';
import { enable, openForm, signIn, signOut, typeCode, typePassword } from './person.js';

const cases = JSON.parse(await readFile(new URL('../internal/authenticator/password/testdata/strength.json', import.meta.url), 'utf8'));

const setUp = (portal) => portal.printed().match(/http\S+\/setup\?ticket=\S+/)[0];

test('the line under a new password describes its strength as the user types, and sends nothing', { tag: ['@scripts', '@one-engine'] }, async ({ page, portal }) => {
	await page.goto(setUp(portal));
	const field = page.getByLabel('Password', { exact: true });
	const line = page.locator('#strength');
	const hint = page.getByText('At least 15 characters.');
	const before = portal.exchanges.length;
	await expect(line).toHaveAttribute('aria-live', 'polite');
	await expect(line).toBeEmpty();
	await expect(hint).toBeVisible();

	for (const [typed, text] of [
		['k', 'Too short: 1 of 15 characters.'],
		['seven🙂🙃', 'Too short: 7 of 15 characters.'],
		['e\u0301e\u0301e\u0301', 'Too short: 3 of 15 characters.'],
		['qwertyuiop 123456', 'Weak. Attackers try sequences like 12345 or qwerty early. Add a word or two.'],
		['so much so much so much', 'Weak. Repeating it adds little. Add other words.'],
		['harbour-radio-harbour', 'Weak. Attackers try your name and the site’s name first. Add other words.'],
		['tall red dogs run', 'Fair. Another word or two would make it stronger.'],
		['tall red dogs run past the mill', 'Good so far. We’ll check it against common passwords when you submit it.'],
		['x'.repeat(257), 'That password is too long. Use at most 256 characters.'],
	]) {
		await field.pressSequentially(typed.slice(0, 1));
		await field.fill(typed);
		await expect(line).toHaveText(text);
		await expect(hint).toBeHidden();
		await expect(field).toHaveAccessibleDescription(new RegExp(text.replaceAll('.', '\\.')));
	}

	// The other fields are considered at once.
	await field.fill('octavia and the long tides');
	await expect(line).toContainText('Good so far.');
	await page.getByLabel('Username').fill('octavia');
	await page.getByLabel('Email').fill('tides@example.com');
	await expect(line).toContainText('Weak. Attackers try your name');

	await field.fill('');
	await expect(line).toBeEmpty();
	await expect(hint).toBeVisible();
	const requests = portal.exchanges.slice(before).map(({ url }) => url);
	expect(requests.filter((url) => !url.startsWith('/static/icon.'))).toEqual([]); // the browser may request the icon late
});

test('the line passes axe with every text, light and dark', { tag: ['@scripts', '@one-engine'] }, async ({ page, portal }) => {
	await page.goto(setUp(portal));
	const field = page.getByLabel('Password', { exact: true });
	for (const [typed, level] of [['short', 'short'], ['1234567890123456', 'weak'], ['tall red dogs run', 'fair'], ['tall red dogs run past the mill', 'good'], ['x'.repeat(257), 'long']]) {
		await field.fill(typed);
		await expect(page.locator('#strength')).toHaveAttribute('data-level', level);
		for (const colorScheme of ['light', 'dark']) {
			await page.emulateMedia({ colorScheme });
			const { violations } = await new AxeBuilder({ page }).setLegacyMode().analyze();
			expect.soft(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`), `${level}, ${colorScheme}`).toEqual([]);
		}
	}
});

test('the browser shows the server’s judgement, except for the list of common passwords', { tag: ['@scripts', '@one-engine'] }, async ({ page, portal }) => {
	await page.clock.install(); // so that the test can skip the pause before the line changes
	await page.goto(setUp(portal));
	const line = page.locator('#strength');
	const field = page.getByLabel('Password', { exact: true });
	const says = await line.evaluate((element) => {
		element.dataset.least = 0;
		return { ...element.dataset };
	});
	for (const { typed, words = [], level, reason } of cases.filter((one) => one.typed)) {
		await line.evaluate((element, words) => { element.dataset.words = words; }, words.join(' '));
		await field.fill(typed);
		await page.clock.runFor(1000);
		const want = level === 'strong' ? `${says.isgood} ${says.later}` : `${says['is' + level]} ${says[reason]}`;
		expect(await line.textContent(), typed).toBe(want);
	}
});

test('invitation, password change and forced change show the same line', { tag: ['@scripts', '@one-engine'] }, async ({ page, anotherBrowser, portal }) => {
	const line = (page) => page.locator('#strength');
	await page.goto((await portal.command(['account', 'invite', 'grace'])).match(/http\S+/)[0]);
	await page.getByLabel('Password', { exact: true }).fill('grace grace grace');
	await expect(line(page)).toContainText('Weak.');

	const ada = await portal.addAccount('ada');
	const other = await anotherBrowser();
	await signIn(other, ada);
	await other.goto('/settings/profile');
	await other.getByLabel('Display name').fill('Countess Lovelace');
	await other.getByRole('button', { name: 'Save' }).click();
	await other.goto('/settings/security');
	await openForm(other, 'Change password');
	await other.getByLabel('Current password').fill('1234567890123456');
	await expect(line(other)).toBeEmpty();
	await other.getByLabel('New password').fill('countess of tides');
	await expect(line(other)).toContainText('Weak. Attackers try your name');

	// After five wrong codes with the right password, the password must be changed.
	const { phone } = await enable(other);
	await signOut(other);
	for (let wrong = 0; wrong < 5; wrong++) {
		await typePassword(page, ada);
		await typeCode(page, '000000');
		await expect(page.getByText(/That code didn’t match|too many wrong codes/)).toBeVisible();
	}
	await typePassword(other, ada);
	await typeCode(other, await phone.code());
	await expect(other.getByRole('heading', { name: 'Choose a new password' })).toBeVisible();
	await other.getByLabel('New password').fill('countess of tides');
	await expect(line(other)).toContainText('Weak. Attackers try your name');
	await other.getByRole('button', { name: 'Change password and continue' }).click();
	await expect(other.getByRole('status')).toHaveText('Your new password is set. That password is weak, though. Attackers try your name and the site’s name first. Add other words. Change your password');
});

test('a weak password is accepted and the next page says so once; an easily guessed one is refused', { tag: '@one-engine' }, async ({ page, portal }) => {
	const ada = await portal.addAccount('ada');
	await signIn(page, ada);
	await page.goto('/settings/security');
	const change = async (next) => {
		await openForm(page, 'Change password');
		await page.getByLabel('Current password').fill(ada.password);
		await page.getByLabel('New password').fill(next);
		await page.getByRole('button', { name: 'Save new password' }).click();
	};
	await change('harbour radio harbour');
	await expect(page.getByRole('alert')).toHaveText('That password is easy to guess. Attackers try your name and the site’s name first. Add other words.');
	await expect(page.getByLabel('New password')).toHaveAttribute('aria-invalid', 'true');
	await page.goto('/settings/security');
	await change('password monkey 4');
	await expect(page.getByRole('status')).toHaveText('Password changed. You were signed out everywhere else. That password is weak, though. Much of it is on lists of common passwords. Add another word or two. Change your password');
	await expect(page.getByText('the one you chose is weak')).toBeVisible();
	await page.reload();
	await expect(page.getByRole('status')).toHaveText('Password changed. You were signed out everywhere else.');
	await signOut(page);
	await signIn(page, { ...ada, password: 'password monkey 4' });
});
