// The demo in a real browser, with panel and portal on separate hosts or on one.
import { spawn } from 'node:child_process';
import { AxeBuilder } from '@axe-core/playwright';
import { test, expect } from '@playwright/test';
import { Phone, backupCodes, openForm } from './person.js';
import { freePort, sallyport } from './portal.js';

async function startDemo(...options) {
	const child = spawn(sallyport, ['demo', '--listen', `127.0.0.1:${await freePort()}`, ...options], { env: {} });
	let out = '';
	await new Promise((resolve, reject) => {
		child.stdout.on('data', (text) => {
			out += text;
			if (out.includes('Ctrl-C')) resolve();
		});
		child.once('exit', () => reject(new Error(`the demo ended: ${out}`)));
	});
	const [, panel] = out.match(/Panel +(\S+)/);
	const [, portal] = out.match(/Portal +(\S+)/);
	const [, password] = out.match(/Password +(\S+)/);
	return { panel, portal, password, stop: () => child.kill('SIGTERM') };
}

for (const [where, ...options] of [['separate hosts'], ['one host', '--shared-host']]) test(`one sign-in leads to the panel and to the portal, on ${where}`, async ({ browser, javaScriptEnabled }) => {
	const demo = await startDemo(...options);
	const name = options.length ? new URL(demo.panel).host : 'Harbour Streams';
	const context = await browser.newContext({ javaScriptEnabled });
	const faults = [];
	context.on('console', (message) => {
		if (message.type() === 'error') faults.push(message.text());
	});
	try {
		const page = await context.newPage();
		await page.goto(`${demo.panel}?from=a%20bookmark`);
		await expect(page).toHaveURL(new RegExp(`^${demo.portal}login`));
		await page.getByLabel('Username').fill('demo');
		await page.getByLabel('Password', { exact: true }).fill(demo.password);
		await page.getByRole('button', { name: 'Sign in' }).click();
		await expect(page).toHaveURL(`${demo.panel}?from=a%20bookmark`);
		await expect(page.getByText('Hello, Demo')).toBeVisible();
		if (javaScriptEnabled) {
			const viewers = page.locator('tbody tr').first().locator('td').last();
			const before = await viewers.textContent();
			await expect(viewers).not.toHaveText(before); // events arrive through the gateway
		}

		await page.goto(demo.portal);
		await expect(page.getByRole('link', { name })).toBeVisible();
		if (javaScriptEnabled) expect((await new AxeBuilder({ page }).analyze()).violations).toEqual([]);
		await page.getByRole('link', { name }).click();
		if (javaScriptEnabled) expect((await new AxeBuilder({ page }).analyze()).violations).toEqual([]);
		await page.getByRole('link', { name: 'Account' }).click();
		await expect(page).toHaveURL(demo.portal);
		await page.goBack();
		await page.getByRole('link', { name: 'Sign out' }).click();
		if (javaScriptEnabled) expect((await new AxeBuilder({ page }).analyze()).violations).toEqual([]);
		await page.getByRole('button', { name: 'Sign out' }).click();
		await expect(page.getByText('You’re signed out')).toBeVisible();
		await page.goto(demo.panel);
		await expect(page).toHaveURL(new RegExp(`^${demo.portal}login`));
		expect(faults).toEqual([]);
	} finally {
		await context.close();
		demo.stop();
	}
});

test('the demo never asks twice for the same proof @one-engine', async ({ browser, javaScriptEnabled }) => {
	const demo = await startDemo();
	const context = await browser.newContext({ javaScriptEnabled });
	try {
		const page = await context.newPage();
		await page.goto(demo.panel);
		await expect(page.getByRole('heading', { name: 'Sign in to Harbour Streams' })).toBeVisible();
		await page.getByLabel('Username').fill('demo');
		await page.getByLabel('Password', { exact: true }).fill(demo.password);
		await page.getByRole('button', { name: 'Sign in' }).click();
		await page.getByRole('link', { name: 'Account' }).click();
		await page.getByRole('link', { name: 'Secure your account' }).click();
		await page.getByRole('button', { name: 'Enable two-factor authentication' }).click();
		const phone = await Phone.scan(page);
		await page.getByLabel('Code', { exact: true }).fill(await phone.code());
		await page.getByRole('button', { name: 'Enable' }).click();
		await backupCodes(page);
		await page.getByLabel('I have saved these codes').check();
		await page.getByRole('button', { name: 'Done' }).click();
		const form = await openForm(page, 'Disable two-factor authentication');
		await form.getByRole('button', { name: 'Turn it off' }).click();
		await expect(page.getByRole('status')).toHaveText('Two-factor authentication is off.');
	} finally {
		await context.close();
		demo.stop();
	}
});

test('on the panel’s host every change of the sign-in requires a reauthentication @one-engine', async ({ browser, javaScriptEnabled }) => {
	const demo = await startDemo('--shared-host');
	const context = await browser.newContext({ javaScriptEnabled });
	try {
		const page = await context.newPage();
		await page.goto(`${demo.portal}settings/security`);
		await page.getByLabel('Username').fill('demo');
		await page.getByLabel('Password', { exact: true }).fill(demo.password);
		await page.getByRole('button', { name: 'Sign in' }).click();
		const proof = page.getByRole('heading', { name: 'Confirm that it’s you' });
		const prove = async (label, code) => {
			await page.getByLabel('Password', { exact: true }).fill(demo.password);
			if (label) await page.getByLabel(label).fill(code);
			await page.getByRole('button', { name: 'Confirm' }).click();
		};

		// Even just after the sign-in a reauthentication is required.
		await page.getByRole('button', { name: 'Enable two-factor authentication' }).click();
		await expect(proof).toBeVisible();
		await prove();
		const phone = await Phone.scan(page);
		await page.getByLabel('Code', { exact: true }).fill(await phone.code());
		await page.getByRole('button', { name: 'Enable' }).click();
		const codes = await backupCodes(page);

		if (javaScriptEnabled) {
			// A script of the panel can't read the pages, and its form gets the reauthentication page.
			await page.goto(demo.panel);
			const status = (path) => page.evaluate(async (path) => (await fetch(path, { headers: { Accept: 'text/html' } })).status, path);
			expect(await status('/.sallyport/settings/security')).toBe(403);
			expect(await status('/.sallyport/')).toBe(403);
			expect(await status('/.sallyport/session?for=/')).toBe(204);
			await page.evaluate(() => {
				const form = document.body.appendChild(document.createElement('form'));
				form.method = 'post';
				form.action = '/.sallyport/settings/security/disable';
				form.submit();
			});
			await expect(proof).toBeVisible();
		}

		await page.goto(`${demo.portal}settings/security`);
		const disable = async () => {
			await page.getByText('Disable two-factor authentication', { exact: true }).click();
			await page.locator('form[action$="/disable"]').getByRole('button').click();
			await expect(proof).toBeVisible();
		};
		await disable();
		for (const [width, colorScheme] of [[1280, 'light'], [360, 'dark']]) {
			await page.setViewportSize({ width, height: 800 });
			await page.emulateMedia({ colorScheme });
			if (javaScriptEnabled) expect((await new AxeBuilder({ page }).analyze()).violations).toEqual([]);
		}
		await page.getByRole('button', { name: 'Use a backup code' }).click();
		await prove('Backup code', codes[0]);
		await expect(page.getByRole('button', { name: 'Enable two-factor authentication' })).toBeVisible();
		await page.goto(demo.panel);
		await expect(page.getByText('Hello, Demo')).toBeVisible();
	} finally {
		await context.close();
		demo.stop();
	}
});
