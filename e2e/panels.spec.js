// The demo in a real browser: a panel on one host, the portal on another.
import { spawn } from 'node:child_process';
import { AxeBuilder } from '@axe-core/playwright';
import { test, expect } from '@playwright/test';
import { freePort, sallyport } from './portal.js';

async function startDemo() {
	const child = spawn(sallyport, ['demo', '--listen', `127.0.0.1:${await freePort()}`], { env: {} });
	let out = '';
	await new Promise((resolve, reject) => {
		child.stdout.on('data', (text) => {
			out += text;
			if (out.includes('Ctrl-C')) resolve();
		});
		child.once('exit', () => reject(new Error(`the demo ended: ${out}`)));
	});
	const [, panel] = out.match(/Open +(\S+)/);
	const [, portal] = out.match(/Portal +(\S+)/);
	const [, password] = out.match(/Password +(\S+)/);
	return { panel, portal, password, stop: () => child.kill('SIGTERM') };
}

test('one sign-in leads to the panel and back', async ({ browser, javaScriptEnabled }) => {
	const demo = await startDemo();
	const context = await browser.newContext({ javaScriptEnabled });
	const complaints = [];
	context.on('console', (message) => {
		if (message.type() === 'error') complaints.push(message.text());
	});
	try {
		const page = await context.newPage();
		await page.goto(`${demo.panel}?from=a%20bookmark`);
		await expect(page).toHaveURL(new RegExp(`^${demo.portal}login`));
		await page.getByLabel('User name').fill('demo');
		await page.getByLabel('Password', { exact: true }).fill(demo.password);
		await page.getByRole('button', { name: 'Sign in' }).click();
		// The form's redirects lead to another origin: form-action must allow it.
		await expect(page).toHaveURL(`${demo.panel}?from=a%20bookmark`);
		await expect(page.getByText('Hello, Demo')).toBeVisible();
		if (javaScriptEnabled) {
			const viewers = page.locator('tbody tr').first().locator('td').last();
			const before = await viewers.textContent();
			await expect(viewers).not.toHaveText(before); // events come through the gateway
		}

		await page.goto(demo.portal);
		await expect(page.getByRole('link', { name: new URL(demo.panel).host })).toBeVisible();
		if (javaScriptEnabled) expect((await new AxeBuilder({ page }).analyze()).violations).toEqual([]);
		await page.getByRole('link', { name: new URL(demo.panel).host }).click();
		await page.getByRole('link', { name: 'Sign out' }).click();
		if (javaScriptEnabled) expect((await new AxeBuilder({ page }).analyze()).violations).toEqual([]);
		await page.getByRole('button', { name: 'Sign out' }).click();
		await expect(page.getByText('You’re signed out')).toBeVisible();
		await page.goto(demo.panel);
		await expect(page).toHaveURL(new RegExp(`^${demo.portal}login`));
		expect(complaints).toEqual([]);
	} finally {
		await context.close();
		demo.stop();
	}
});
