import { startGate } from './gate.js';
import { axeFaults } from './checks.js';
import { test, expect } from '@playwright/test';
import { Phone, fillIn } from './person.js';

test.describe.configure({ mode: 'parallel' });

// answer is a panel that names the page and the account.
const answer = (request, response) => response.setHeader('Content-Type', 'text/html').end(`<h1>${request.url} for ${request.headers['remote-user']}</h1>`);

// onGate runs a test on a panel behind the gateway, with items of policy.
async function onGate(items, run) {
	const gate = await startGate('gateway', answer, `policy:\n${items}`);
	try {
		await run(gate);
	} finally {
		await gate.stop();
	}
}

const enroll = async (page) => {
	const phone = await Phone.scan(page);
	await page.getByLabel('Code', { exact: true }).fill(await phone.code());
	await page.getByRole('button', { name: 'Enable' }).click();
	await page.getByLabel('I have saved these codes').check();
	await page.getByRole('button', { name: 'Done' }).click();
};

test('a user who must have two-factor authentication is led through the wizard and back to the panel', { tag: ['@scripts', '@one-engine'] }, async ({ page }) => {
	await onGate('  - {groups: ["*"], two_factor: required}\n', async (gate) => {
		const ada = await gate.addAccount('ada');
		await page.goto(`${gate.panel}/page?x=1`);
		await fillIn(page, ada);
		await expect(page.getByText('Until it’s on, nothing else opens here.')).toBeVisible();
		expect(await axeFaults(page, 'light')).toEqual([]);
		await page.goto(`${gate.portal}/settings/sessions`);
		await expect(page.getByText('Until it’s on, nothing else opens here.')).toBeVisible();
		await page.goto(`${gate.panel}/page?x=1`);
		await page.getByRole('button', { name: 'Set it up' }).click();
		await enroll(page);
		await expect(page.getByRole('heading', { name: '/page?x=1 for ada' })).toBeVisible();
	});
});

test('a recommendation can be postponed, by keyboard alone', { tag: ['@scripts', '@one-engine'] }, async ({ page }) => {
	await onGate('  - {groups: ["*"], two_factor: nudge}\n', async (gate) => {
		const ada = await gate.addAccount('ada');
		await page.goto(`${gate.panel}/page`);
		await fillIn(page, ada);
		await expect(page.getByText('We recommend two-factor authentication for your account.')).toBeVisible();
		await expect(page.getByRole('button', { name: 'Enable two-factor authentication' })).toBeFocused();
		expect(await axeFaults(page, 'dark')).toEqual([]);
		await page.keyboard.press('Tab');
		await page.keyboard.press('Enter');
		await expect(page.getByRole('heading', { name: '/page for ada' })).toBeVisible();
	});
});
