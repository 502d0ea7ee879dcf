// The forms behind buttons, and what users may type into fields.
import { writeFile } from 'node:fs/promises';
import { AxeBuilder } from '@axe-core/playwright';
import { devices } from '@playwright/test';
import { startGate } from './gate.js';
import { test, expect } from './portal.js';
import { Phone, backupCodes, enable, openForm, openWizard, path, signIn, typeCode, typePassword } from './person.js';

const oneEngine = { tag: '@one-engine' };
const withScripts = { tag: ['@one-engine', '@scripts'] };

test('a button that opens a form stays in its place, and so do the buttons before it', oneEngine, async ({ page, portal }) => {
	await signIn(page, await portal.addAccount('ada'));
	await enable(page);
	for (const tab of ['security', 'sessions']) {
		for (const width of [360, 1280]) {
			await page.setViewportSize({ width, height: 800 });
			await page.goto(`/settings/${tab}`);
			const buttons = page.locator('.ask > summary');
			const places = () => buttons.evaluateAll((all) => all.map((one) => {
				const { x, y, width } = one.getBoundingClientRect();
				return [x + scrollX, y + scrollY, width];
			}));
			for (let i = 0; i < await buttons.count(); i++) {
				const before = (await places()).slice(0, i + 1);
				await buttons.nth(i).dblclick();
				await expect(page.locator('.ask[open]'), 'a double click opens and closes').toHaveCount(0);
				await buttons.nth(i).click();
				await expect(page.locator('.ask[open]')).toHaveCount(1);
				expect((await places()).slice(0, i + 1), `${width} px: buttons up to this one`).toEqual(before);
				const gap = await buttons.nth(i).evaluate((one) => {
					const row = [...one.parentElement.parentElement.querySelectorAll('summary')].map((other) => other.getBoundingClientRect().bottom);
					return one.parentElement.nextElementSibling.getBoundingClientRect().top - Math.max(...row);
				});
				expect(gap, 'the form is below the whole row of buttons').toBeGreaterThan(-1);
				await buttons.nth(i).click();
			}
		}
	}
});

test('a form gives its field the focus; Escape and Cancel close it and give the focus back to the button', withScripts, async ({ page, portal }) => {
	await signIn(page, await portal.addAccount('ada'));
	await enable(page);
	const rename = page.locator('summary', { hasText: 'Rename' });
	const field = page.getByLabel('Name of this authenticator');
	for (const leave of [() => page.keyboard.press('Escape'), () => page.getByRole('link', { name: 'Cancel' }).click()]) {
		await rename.click();
		await expect(field).toBeFocused();
		await field.fill('Something else');
		await leave();
		await expect(field).toBeHidden();
		await expect(rename).toBeFocused();
		await page.keyboard.press('Enter');
		await expect(field).toBeFocused();
		await page.keyboard.press('Escape');
	}
	await rename.click();
	await page.getByRole('link', { name: 'Cancel' }).click();
	await rename.click();
	await expect(field).toHaveValue('Phone');
	// A link to a form opens it every time.
	for (let time = 0; time < 2; time++) {
		await page.getByRole('link', { name: 'Change it' }).click();
		await expect(page.getByLabel('Current password')).toBeFocused();
		await page.keyboard.press('Escape');
		await expect(page.getByLabel('Current password')).toBeHidden();
	}
});

test('the well-known URL to change a password opens the form, and Cancel closes it', oneEngine, async ({ page, portal }) => {
	await signIn(page, await portal.addAccount('ada'));
	await page.goto('/.well-known/change-password');
	await expect(page.getByLabel('Current password')).toBeVisible();
	await page.locator('#change-password').getByRole('link', { name: 'Cancel' }).click();
	await expect(page.getByLabel('Current password')).toBeHidden();
});

test('after a reauthentication the form is open', oneEngine, async ({ page, portal }) => {
	const ada = await portal.addAccount('ada');
	await signIn(page, ada);
	const { phone } = await enable(page);
	await page.goto('/reauthenticate?return=%2Fsettings%2Fsecurity%23disable');
	await page.getByLabel('Password', { exact: true }).fill(ada.password);
	await page.getByLabel('6-digit code').fill(await phone.code());
	await page.getByRole('button', { name: 'Confirm' }).click();
	await expect(page.getByRole('status')).toHaveText('Thanks. Now press the button once more.');
	await page.getByRole('button', { name: 'Turn it off' }).click();
	await expect(page.getByRole('status')).toHaveText('Two-factor authentication is off.');
});

test('a refused name stays in its open form, and emoji of several code points are accepted', oneEngine, async ({ page, portal }) => {
	await signIn(page, await portal.addAccount('ada'));
	await enable(page);
	const field = page.getByLabel('Name of this authenticator');
	const save = page.getByRole('button', { name: 'Save' });
	await openForm(page, 'Rename');
	await field.fill('a\u202eb');
	await save.click();
	await expect(page.getByRole('alert')).toHaveText('That name contains a character that can’t be shown: U+202E. Remove it.');
	await expect(field).toHaveValue('a\u202eb');
	await expect(field).toBeFocused();
	await expect(field).toHaveAccessibleDescription(/U\+202E.*Up to 40 characters/);
	await field.fill('📱 Handy von Jürgen 👨‍👩‍👧‍👦');
	await save.click();
	await expect(page.getByRole('status')).toHaveText('Authenticator renamed.');
	await expect(page.getByRole('heading', { name: '📱 Handy von Jürgen 👨‍👩‍👧‍👦' })).toBeVisible();
});

test('a code may be typed with spaces and dashes', oneEngine, async ({ page, portal }) => {
	const ada = await portal.addAccount('ada');
	await signIn(page, ada);
	await openWizard(page);
	const phone = await Phone.scan(page);
	let code = await phone.code();
	await page.getByLabel('Code', { exact: true }).fill(` ${code.slice(0, 2)} ${code.slice(2, 4)} ${code.slice(4)} `);
	await page.getByRole('button', { name: 'Enable' }).click();
	await backupCodes(page);
	await page.context().clearCookies();
	await typePassword(page, ada);
	await expect(page.getByText('entry “Harbour Radio: ada”')).toBeVisible();
	code = await phone.code();
	await typeCode(page, `${code.slice(0, 3)}-${code.slice(3)}`);
	await expect(page.getByRole('heading', { name: 'Your panels' })).toBeVisible();
});

test('the browser asks before the user leaves unsaved backup codes', withScripts, async ({ page, portal }) => {
	await signIn(page, await portal.addAccount('ada'));
	await openWizard(page);
	const phone = await Phone.scan(page);
	await page.getByLabel('Code', { exact: true }).fill(await phone.code());
	await page.getByRole('button', { name: 'Enable' }).click();
	await backupCodes(page);
	const asked = [];
	page.on('dialog', (dialog) => {
		asked.push(dialog.type());
		return dialog.dismiss();
	});
	await page.getByText('I have saved these codes').click({ clickCount: 2 }); // the first click checks the box, the second unchecks it
	await page.getByRole('link', { name: 'Harbour Radio' }).click();
	await expect.poll(() => asked).toEqual(['beforeunload']);
	await backupCodes(page);
	await page.getByLabel('I have saved these codes').check();
	await page.getByRole('button', { name: 'Done' }).click();
	await expect(page).toHaveURL(path('/settings/security'));
	expect(asked).toHaveLength(1);
});

test('on a phone the wizard’s link is above the QR code, which the phone can’t scan itself', oneEngine, async ({ browser, portal, javaScriptEnabled }) => {
	const context = await browser.newContext({ ...devices['Pixel 7'], baseURL: portal.url, javaScriptEnabled });
	const page = await context.newPage();
	await signIn(page, await portal.addAccount('ada'));
	await openWizard(page);
	const link = await page.getByRole('link', { name: 'Open in an app on this device' }).boundingBox();
	const code = await page.locator('.qr').boundingBox();
	expect(link.y + link.height).toBeLessThanOrEqual(code.y);
	expect(link.height).toBeGreaterThanOrEqual(44);
	await context.close();
});

test('a panel that requires two-factor authentication leads to the wizard with one button', oneEngine, async ({ browser, javaScriptEnabled }) => {
	const gate = await startGate('gateway', (_, answer) => answer.setHeader('Content-Type', 'text/html; charset=utf-8').end('<!doctype html><title>panel</title><h1>Rack</h1>'), '    name: The rack\n    require: two_factor\n');
	const context = await browser.newContext({ javaScriptEnabled, viewport: { width: 360, height: 800 } });
	try {
		const ada = await gate.addAccount('ada');
		const page = await context.newPage();
		await page.goto(`${gate.panel}/7`);
		await page.getByLabel('Username').fill(ada.name);
		await page.getByLabel('Password', { exact: true }).fill(ada.password);
		await page.getByRole('button', { name: 'Sign in' }).click();
		await expect(page.getByText('The rack requires two-factor authentication. Set it up here, and you’ll be taken there.')).toBeInViewport();
		await expect(page.getByRole('heading', { name: 'Enable two-factor authentication' })).toBeInViewport();
		const begin = page.getByRole('button', { name: 'Set it up' });
		await expect(begin).toBeInViewport();
		await begin.click();
		const phone = await Phone.scan(page);
		await page.getByLabel('Code', { exact: true }).fill(await phone.code());
		await page.getByRole('button', { name: 'Enable' }).click();
		await page.getByLabel('I have saved these codes').check();
		await page.getByRole('button', { name: 'Done' }).click();
		await expect(page.getByRole('heading', { name: 'Rack' })).toBeVisible();
		expect(page.url()).toBe(`${gate.panel}/7`);
	} finally {
		await context.close();
		await gate.stop();
	}
});

test('the page for another host has its style sheet, and axe finds nothing', withScripts, async ({ browser, portal }) => {
	const elsewhere = portal.url.replace('127.0.0.1', 'nobody.localhost');
	for (const colorScheme of ['light', 'dark']) {
		const context = await browser.newContext({ colorScheme });
		const page = await context.newPage();
		expect((await page.goto(elsewhere)).status()).toBe(421);
		await expect(page.getByRole('main')).toHaveCSS('border-radius', '14px');
		expect((await new AxeBuilder({ page }).analyze()).violations).toEqual([]);
		await context.close();
	}
});

test('long names, text of twice the size and right-to-left text fit a phone', withScripts, async ({ page, portal }) => {
	await signIn(page, await portal.addAccount('a'.repeat(64)));
	await enable(page);
	await openForm(page, 'Rename');
	await page.getByLabel('Name of this authenticator').fill('W'.repeat(40));
	await page.getByRole('button', { name: 'Save' }).click();
	for (const address of ['/', '/settings/profile', '/settings/security', '/settings/sessions', '/settings/activity', '/reauthenticate', '/no-such-page']) {
		await page.goto(address);
		await page.evaluate(() => {
			for (const brand of document.querySelectorAll('.brand span')) brand.textContent = 'Harbour Radio and Television of the North';
		});
		for (const [width, size, direction] of [[360, '100%', 'ltr'], [360, '100%', 'rtl'], [360, '200%', 'ltr'], [320, '100%', 'rtl']]) {
			await page.setViewportSize({ width, height: 800 });
			await page.evaluate(([size, direction]) => {
				document.documentElement.style.fontSize = size;
				document.documentElement.dir = direction;
			}, [size, direction]);
			expect(await page.evaluate(() => document.scrollingElement.scrollWidth), `${address} at ${width} px, ${size}, ${direction}`).toBeLessThanOrEqual(width);
			const menu = page.locator('.menu summary span');
			if (await menu.count()) expect((await menu.boundingBox()).width, `the account's name at ${address}`).toBeGreaterThanOrEqual(80);
		}
	}
});

test.describe('the operator’s logo and colour', () => {
	test.use({ engine: 'sqlite' });
	test('a logo with a style sheet is shown as an image, and buttons have the operator’s colour', oneEngine, async ({ browser, javaScriptEnabled }, testInfo) => {
		const logo = testInfo.outputPath('logo.svg');
		await writeFile(logo, '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 10"><style>rect { fill: #007a3d; }</style><rect width="40" height="10"/></svg>');
		const gate = await startGate('gateway', (_, answer) => answer.end('panel'), () => `    icon: ${logo}\nlogo: ${logo}\naccent: {light: '#007a3d', dark: '#5fd3a0'}\n`);
		const context = await browser.newContext({ javaScriptEnabled, colorScheme: 'light' });
		try {
			const page = await context.newPage();
			await page.goto(`${gate.portal}/login`);
			const picture = page.locator('img.logo');
			await expect(picture).toBeVisible();
			expect((await picture.boundingBox()).height).toBe(32);
			await expect(page.getByRole('button', { name: 'Sign in' })).toHaveCSS('background-color', 'rgb(0, 122, 61)');
			await page.screenshot({ path: testInfo.outputPath('logo.png') });
		} finally {
			await context.close();
			await gate.stop();
		}
	});
});
