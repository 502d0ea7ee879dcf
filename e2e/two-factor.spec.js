import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { test, expect } from './portal.js';
import { Phone, backupCodes, enable, openForm, openWizard, path, signIn, signOut, typeCode, typePassword } from './person.js';

const wrongCode = '000000';

test('two-factor authentication from start to end: enable it, save the backup codes, sign in with a code and with a backup code, disable it', async ({ page, portal }) => {
	const ada = await portal.addAccount('ada');
	let phone, codes, used;

	await test.step('1. sign in with name and password', async () => {
		await typePassword(page, { ...ada, password: 'not the right one' });
		await expect(page.getByRole('alert')).toHaveText('That username and password don’t match.');
		await expect(page.getByLabel('Username or email')).toHaveValue('ada');
		await expect(page.getByLabel('Password', { exact: true })).toHaveValue('');
		await signIn(page, ada);
	});

	await test.step('2. Settings, Security, Enable two-factor authentication', async () => {
		await page.getByRole('banner').locator('summary').click();
		await page.getByRole('link', { name: 'Settings' }).click();
		await page.getByRole('link', { name: 'Security', exact: true }).click();
		await page.getByRole('button', { name: 'Enable two-factor authentication' }).click();
	});

	await test.step('3. the wizard: get an app, scan the QR code, type the code', async () => {
		await expect(page.getByRole('main')).toContainText('Google Authenticator, Duo Mobile, or any app that shows 6-digit codes.');
		phone = await Phone.scan(page);
		expect(phone.keyURI.href).toMatch(/^otpauth:\/\/totp\/Harbour%20Radio:ada\?/);
		await expect(page.getByRole('link', { name: 'Open in an app on this device' })).toHaveAttribute('href', phone.keyURI.href);
		await page.getByText('Can’t scan it? Type the key').click();
		expect((await page.locator('#key').innerText()).replace(/\s/g, '')).toBe(phone.secret);

		await page.getByLabel('Code', { exact: true }).fill(wrongCode);
		await page.getByRole('button', { name: 'Enable' }).click();
		await expect(page.getByRole('alert')).toContainText('That code didn’t match. Enter the newest code of the entry Harbour Radio before it changes. Also check that your phone’s clock');
		expect((await Phone.scan(page)).secret, 'the QR code after a wrong code').toBe(phone.secret);

		await expect(page.getByLabel('Name of this authenticator')).toHaveValue('Phone');
		await page.getByLabel('Code', { exact: true }).fill(used = await phone.currentCode());
		await page.getByRole('button', { name: 'Enable' }).click();
	});

	await test.step('4. the backup codes, shown once: download them and confirm that they are saved', async () => {
		await expect(page.getByRole('status')).toHaveText('Two-factor authentication is on.');
		codes = await backupCodes(page);
		expect(new Set(codes).size).toBe(10);
		for (const code of codes) expect(code).toMatch(/^([0-9A-HJKMNP-TV-Z]{4}-){2}[0-9A-HJKMNP-TV-Z]{4}$/);

		const before = portal.exchanges.length;
		const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download' }).click()]);
		expect(download.suggestedFilename()).toBe('Harbour Radio ada backup codes.txt');
		const file = await readFile(await download.path(), 'utf8');
		expect(file).toContain(`Harbour Radio ${portal.url}\nada\n`);
		expect(file.trim().split('\n').slice(-10)).toEqual(codes);

		await page.getByRole('button', { name: 'Done' }).click();
		await expect(page.getByLabel('I have saved these codes')).toBeFocused(); // the browser asks for it
		await expect(page.getByRole('heading', { name: 'Save these backup codes' })).toBeVisible();
		expect(portal.exchanges.length, 'requests since the codes were shown').toBe(before);

		await page.getByLabel('I have saved these codes').check();
		await page.getByRole('button', { name: 'Done' }).click();
	});

	await test.step('5. the Security tab shows the state, since when, and the possible actions', async () => {
		await expect(page).toHaveURL(path('/settings/security'));
		await expect(page.getByText('All three steps are done.')).toBeVisible();
		const card = page.getByRole('region', { name: 'Two-factor authentication' });
		await expect(card.getByText('On', { exact: true })).toBeVisible();
		await expect(page.getByText(/^since \d+ \w+ \d{4}$/)).toBeVisible();
		await expect(card.getByRole('heading', { name: 'Phone' })).toBeVisible();
		await expect(card.getByText(/^added \d+ \w+ \d{4} · not used yet$/)).toBeVisible();
		await expect(card.getByText('10 left, for when you don’t have your phone')).toBeVisible();
		for (const offer of ['Rename', 'Remove', 'Add another authenticator', 'Generate new backup codes', 'Disable two-factor authentication']) {
			await expect(card.getByText(offer, { exact: true })).toBeVisible();
		}
	});

	await test.step('6. the next sign-in asks for a code', async () => {
		await signOut(page);
		await typePassword(page, ada);
		await expect(page.getByRole('heading', { name: 'Enter the 6-digit code' })).toBeVisible();
		await expect(page.getByLabel('Code', { exact: true })).toBeFocused();
		await page.goto('/settings/security'); // an attempt isn't a session
		await expect(page.getByRole('heading', { name: 'Sign in to Harbour Radio' })).toBeVisible();
		await page.goto('/login/code');
		await typeCode(page, wrongCode);
		await expect(page.getByRole('alert')).toHaveText('That code didn’t match. Enter the newest code of the entry Harbour Radio before it changes.');
		await typeCode(page, used);
		await expect(page.getByRole('alert')).toHaveText('That code was already used. Wait until your app shows a new one.');
		const code = await phone.code();
		await typeCode(page, `${code.slice(0, 3)} ${code.slice(3)}`); // as apps show it
		await expect(page.getByRole('heading', { name: 'Your panels' })).toBeVisible();
	});

	await test.step('without the phone a backup code works once', async () => {
		await signOut(page);
		await typePassword(page, ada);
		await page.getByRole('link', { name: 'Use a backup code' }).click();
		await page.getByLabel('Backup code').fill(codes[3].replaceAll('-', '').toLowerCase());
		await page.getByRole('button', { name: 'Continue' }).click();
		await expect(page.getByRole('status')).toContainText('Backup code used, 9 left. Lost your phone? Set up a new one and remove the old');

		await signOut(page);
		await typePassword(page, ada);
		await page.getByRole('link', { name: 'Use a backup code' }).click();
		await page.getByLabel('Backup code').fill(codes[3]);
		await page.getByRole('button', { name: 'Continue' }).click();
		await expect(page.getByRole('alert')).toHaveText('That backup code didn’t match, or it was already used. Try another one.');
	});

	await test.step('Cancel on the code page leads to the sign-in page and ends the attempt', async () => {
		await page.getByRole('link', { name: 'Use a code from the app' }).click();
		await page.getByRole('button', { name: 'Cancel' }).click();
		await expect(page.getByRole('status')).toHaveText('You cancelled the sign-in.');
		await page.goto('/login/code');
		await expect(page.getByRole('heading', { name: 'Sign in to Harbour Radio' })).toBeVisible();
	});

	await test.step('after Disable the next sign-in asks for no code', async () => {
		await signIn(page, ada, phone);
		await page.goto('/settings/security');
		const form = await openForm(page, 'Disable two-factor authentication');
		await expect(form).toContainText('Only your password will protect this account.');
		await form.getByRole('button', { name: 'Turn it off' }).click();
		await expect(page.getByRole('status')).toHaveText('Two-factor authentication is off.');
		await expect(page.getByRole('button', { name: 'Enable two-factor authentication' })).toBeVisible();
		await signOut(page);
		await signIn(page, ada);
	});
});

test('the secret appears in no URL, header or log, and on no page but the wizard, which no cache stores (R28)', async ({ page, portal }) => {
	const ada = await portal.addAccount('ada');
	await signIn(page, ada);
	await openWizard(page);
	await page.getByLabel('Code', { exact: true }).fill(wrongCode);
	await page.getByRole('button', { name: 'Enable' }).click();
	await expect(page.getByRole('alert')).toBeVisible();
	const { secret } = await Phone.scan(page);
	await page.getByRole('button', { name: 'Cancel' }).click();
	await expect(page.getByRole('status')).toHaveText('Cancelled. Nothing was changed.');

	const { phone, codes } = await enable(page);
	expect(phone.secret, 'a new wizard has a new secret').not.toBe(secret);
	for (const tab of ['profile', 'security', 'sessions', 'activity']) await page.goto(`/settings/${tab}`);
	await signOut(page);
	await signIn(page, ada, phone);

	const shown = new Map();
	for (const { method, url, headers, sent, status, answerHeaders, body } of portal.exchanges) {
		const page = body.toString().replace(/<[^>]*>|\s/g, ''); // the page shows the key in groups
		for (const hidden of [secret, phone.secret]) {
			for (const where of [url, JSON.stringify(headers), sent.toString(), JSON.stringify(answerHeaders)]) {
				expect(where).not.toContain(hidden);
			}
			if (!page.includes(hidden) && !body.includes(hidden)) continue;
			expect(`${method} ${url}`).toMatch(/^(GET \/settings\/security\/authenticators\/[\w-]+|POST \/settings\/security\/authenticators\/[\w-]+\/confirm)$/);
			expect(answerHeaders['cache-control']).toContain('no-store');
			shown.set(hidden, [...shown.get(hidden) ?? [], status]);
		}
	}
	expect(shown.get(secret)).toEqual([200, 422]);
	expect(shown.get(phone.secret)).toEqual([200]);
	for (const hidden of [secret, phone.secret, ada.password, ...codes]) expect(portal.log()).not.toContain(hidden);
});

test('text with a code of six to eight digits can be pasted', { tag: ['@scripts', '@one-engine'] }, async ({ page, portal }) => {
	await signIn(page, await portal.addAccount('ada'));
	await openWizard(page);
	const code = page.getByLabel('Code', { exact: true });
	for (const [text, want] of [
		['Your code: 123 456', '123456'], ['1234 567.', '1234567'], ['code 1234-5678', '12345678'],
		['12345', 'typed'], ['call 123456789', 'typed'], ['no digits', 'typed'],
		['Your code 123456 expires in 30 s', 'typed'], ['123456\n(2 of 3)', 'typed'],
	]) {
		await code.fill('typed');
		await code.evaluate((field, text) => {
			const clipboardData = new DataTransfer();
			clipboardData.setData('text', text);
			field.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
		}, text);
		await expect(code, text).toHaveValue(want);
	}
});

test('backup codes can be printed and copied', { tag: ['@scripts', '@one-engine'] }, async ({ page, context, portal }) => {
	await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: portal.url });
	await page.addInitScript(() => { window.print = () => { document.title = 'printed'; }; });
	await signIn(page, await portal.addAccount('ada'));
	await openWizard(page);
	const phone = await Phone.scan(page);
	await page.getByText('Can’t scan it? Type the key').click();
	await page.getByRole('button', { name: 'Copy' }).click();
	await expect(page.getByRole('button', { name: 'Copied' })).toBeVisible();
	expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(phone.secret);

	await page.getByLabel('Code', { exact: true }).fill(await phone.code());
	await page.getByRole('button', { name: 'Enable' }).click();
	const codes = await backupCodes(page);
	const before = portal.exchanges.length;
	await page.getByRole('button', { name: 'Copy' }).click();
	await expect(page.getByRole('button', { name: 'Copied' })).toBeVisible();
	expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(codes.join('\n'));
	await page.getByRole('button', { name: 'Print' }).click();
	await expect(page).toHaveTitle('printed');
	expect(portal.exchanges.length).toBe(before);
});

test('without scripts the pages offer nothing that needs them', { tag: ['@no-scripts', '@one-engine'] }, async ({ page, portal }) => {
	await signIn(page, await portal.addAccount('ada'));
	await openWizard(page);
	await page.getByText('Can’t scan it? Type the key').click();
	await expect(page.locator('#key')).toBeVisible();
	await expect(page.getByRole('button', { name: 'Copy' })).toBeHidden();
	const phone = await Phone.scan(page);
	await page.getByLabel('Code', { exact: true }).fill(await phone.code());
	await page.getByRole('button', { name: 'Enable' }).click();
	await expect(page.getByRole('link', { name: 'Download' })).toBeVisible();
	await expect(page.getByRole('button', { name: 'Print' })).toBeHidden();
	await expect(page.getByRole('button', { name: 'Copy' })).toBeHidden();
});

test('the QR code can be scanned at every width, light and dark', { tag: '@one-engine' }, async ({ page, portal }) => {
	await signIn(page, await portal.addAccount('ada'));
	await openWizard(page);
	const href = await page.getByRole('link', { name: 'Open in an app on this device' }).getAttribute('href');
	for (const width of [320, 1280]) {
		for (const colorScheme of ['light', 'dark']) {
			await page.setViewportSize({ width, height: 800 });
			await page.emulateMedia({ colorScheme });
			expect((await Phone.scan(page)).keyURI.href).toBe(href);
		}
	}
});

test('a second authenticator can be added, renamed and used, and stays when the first is removed', async ({ page, portal }) => {
	const ada = await portal.addAccount('ada');
	await signIn(page, ada);
	const { phone } = await enable(page);

	await openWizard(page, 'Add another authenticator');
	const tablet = await Phone.scan(page);
	expect(tablet.secret).not.toBe(phone.secret);
	await page.getByLabel('Name of this authenticator').fill('Tablet');
	await page.getByLabel('Code', { exact: true }).fill(await tablet.code());
	await page.getByRole('button', { name: 'Add', exact: true }).click();
	await expect(page.getByRole('status')).toHaveText('Authenticator added.');

	const row = (name) => page.getByRole('listitem').filter({ has: page.getByRole('heading', { name, exact: true }) });
	await row('Tablet').locator('summary', { hasText: 'Rename' }).click();
	await row('Tablet').getByLabel('Name of this authenticator').fill('Old <b>tablet</b>');
	await row('Tablet').getByRole('button', { name: 'Save' }).click();
	await expect(page.getByRole('status')).toHaveText('Authenticator renamed.');
	await expect(row('Old <b>tablet</b>')).toBeVisible();

	await signOut(page);
	await signIn(page, ada, tablet);
	await page.goto('/settings/security');
	await expect(row('Old <b>tablet</b>')).toContainText('last used');

	await row('Phone').locator('summary', { hasText: 'Remove' }).click();
	await row('Phone').getByRole('button', { name: 'Remove Phone' }).click();
	await expect(page.getByRole('status')).toHaveText('Authenticator removed.');
	await expect(row('Phone')).toHaveCount(0);
	await expect(page.getByText('10 left, for when you don’t have your phone')).toBeVisible();
	await signOut(page);
	await typePassword(page, ada);
	await typeCode(page, await phone.code());
	await expect(page.getByRole('alert')).toHaveText('That code didn’t match. Enter the newest code of the entry Harbour Radio before it changes.');
	await typeCode(page, await tablet.code());
	await expect(page.getByRole('heading', { name: 'Your panels' })).toBeVisible();
});

test('removing the only authenticator turns two-factor authentication off', async ({ page, portal }) => {
	const ada = await portal.addAccount('ada');
	await signIn(page, ada);
	await enable(page);
	const form = await openForm(page, 'Remove');
	await expect(form).toContainText('Phone is your only authenticator.');
	await form.getByRole('button', { name: 'Remove it and turn two-factor authentication off' }).click();
	await expect(page.getByRole('button', { name: 'Enable two-factor authentication' })).toBeVisible();
	await signOut(page);
	await signIn(page, ada);
});

test('new backup codes make the old ones invalid', async ({ page, portal }) => {
	const ada = await portal.addAccount('ada');
	await signIn(page, ada);
	const { codes: old } = await enable(page);
	const form = await openForm(page, 'Generate new backup codes');
	await form.getByRole('button', { name: 'Generate them' }).click();
	const codes = await backupCodes(page);
	expect(codes).toHaveLength(10);
	expect(codes.filter((code) => old.includes(code))).toEqual([]);
	await page.getByLabel('I have saved these codes').check();
	await page.getByRole('button', { name: 'Done' }).click();

	await signOut(page);
	await typePassword(page, ada);
	await page.getByRole('link', { name: 'Use a backup code' }).click();
	const type = async (code) => {
		await page.getByLabel('Backup code').fill(code);
		await page.getByRole('button', { name: 'Continue' }).click();
	};
	await type(old[0]);
	await expect(page.getByRole('alert')).toHaveText('That backup code didn’t match, or it was already used. Try another one.');
	await type(codes[0]);
	await expect(page.getByRole('alert')).toContainText(/Please wait \d seconds? before/);
	await sleep(5_000); // as the page demands
	await type(codes[0]);
	await expect(page.getByRole('status')).toContainText('Backup code used, 9 left. Lost your phone? Set up a new one and remove the old');
});

test('the new password signs in, the old one doesn’t, and a code is still required', async ({ page, portal }) => {
	const ada = await portal.addAccount('ada');
	await signIn(page, ada);
	const { phone } = await enable(page);
	const change = async (current, next) => {
		await page.getByLabel('Current password').fill(current);
		await page.getByLabel('New password').fill(next);
		await page.getByRole('button', { name: 'Save new password' }).click();
	};
	const changed = { ...ada, password: 'ada walks even further' };
	await openForm(page, 'Change password');
	await change('not the right one', changed.password);
	await expect(page.getByRole('alert')).toHaveText('That isn’t your current password.');
	await change(ada.password, changed.password);
	await expect(page.getByRole('status')).toHaveText('Password changed. You were signed out everywhere else.');

	await signOut(page);
	await typePassword(page, ada);
	await expect(page.getByRole('alert')).toHaveText('That username and password don’t match.');
	await signIn(page, changed, phone);
});

test('the password with a code or a backup code reauthenticates, and two codes in a row sign in', async ({ page, portal }) => {
	const ada = await portal.addAccount('ada');
	await signIn(page, ada);
	const { phone, codes } = await enable(page);

	await page.goto('/reauthenticate?return=/settings/security');
	await page.getByLabel('Password', { exact: true }).fill(ada.password);
	await page.getByLabel('6-digit code').fill(await phone.code());
	await page.getByRole('button', { name: 'Confirm' }).click();
	await expect(page.getByRole('status')).toContainText('Thanks.');

	await page.goto('/reauthenticate?return=/settings/security');
	await page.getByRole('link', { name: 'Use a backup code' }).click();
	await page.getByLabel('Password', { exact: true }).fill(ada.password);
	await page.getByLabel('Backup code').fill(codes[0]);
	await page.getByRole('button', { name: 'Confirm' }).click();
	await expect(page).toHaveURL(path('/settings/security'));
	await expect(page.getByText('9 left, for when you don’t have your phone')).toBeVisible();

	await signOut(page);
	await typePassword(page, ada);
	await page.getByRole('link', { name: 'My codes don’t work' }).click();
	const [now, next] = await phone.pair();
	await page.getByLabel('The code you see now').fill(now);
	await page.getByLabel('The next code').fill(next);
	await page.getByRole('button', { name: 'Continue' }).click();
	await expect(page.getByRole('heading', { name: 'Your panels' })).toBeVisible();
});
