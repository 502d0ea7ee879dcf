import { chromium } from '@playwright/test';
import { test, expect, watch } from './portal.js';
import { Phone, backupCodes, openForm, openWizard, path, signIn, signOut } from './person.js';

// showCodes goes through the wizard up to the page with the codes.
async function showCodes(page) {
	await openWizard(page);
	const wizard = page.url();
	const phone = await Phone.scan(page);
	await page.getByLabel('Code', { exact: true }).fill(await phone.code());
	await page.getByRole('button', { name: 'Enable' }).click();
	return { wizard, codes: await backupCodes(page) };
}

// held returns those of the codes that the page shows.
async function held(page, codes) {
	await page.waitForLoadState();
	const content = await page.content();
	return codes.filter((code) => content.includes(code));
}

// goBack presses the browser's button. Where that would send a form again, the
// browser asks instead.
async function goBack(page) {
	await page.goBack().catch(async (refusal) => {
		expect(refusal.message).toContain('ERR_CACHE_MISS');
		await page.waitForURL('chrome-error://chromewebdata/');
	});
}

test('backup codes are never shown again: not by reload, back, forward, their address, or in another tab (ATTACKS 51)', async ({ page, context, portal }) => {
	await signIn(page, await portal.addAccount('ada'));
	const { wizard, codes } = await showCodes(page);
	expect(await held(page, codes)).toHaveLength(10);

	const tab = await context.newPage();
	for (const address of [page.url(), wizard, '/settings/security/backup-codes', '/settings/security']) {
		await tab.goto(address);
		expect(await held(tab, codes), address).toEqual([]);
	}

	await page.reload(); // sends the form again
	await expect(page).toHaveURL(path('/settings/security'));
	expect(await held(page, codes)).toEqual([]);
	await goBack(page);
	expect(await held(page, codes)).toEqual([]);

	const shown = portal.exchanges.filter(({ body }) => body.includes(codes[0]));
	expect(shown.map(({ method, answerHeaders }) => [method, answerHeaders['cache-control']])).toEqual([['POST', 'no-store']]);
});

test('a new set of backup codes is shown once too', async ({ page, portal }) => {
	await signIn(page, await portal.addAccount('ada'));
	await showCodes(page);
	await page.goto('/settings/security');
	const form = await openForm(page, 'Generate new backup codes');
	await form.getByRole('button', { name: 'Generate them' }).click();
	const codes = await backupCodes(page);
	await page.reload(); // sends the form again: the set that was shown stays in force
	await expect(page).toHaveURL(path('/settings/security'));
	expect(await held(page, codes)).toEqual([]);
	await page.goto('/settings/security');
	await goBack(page);
	expect(await held(page, codes)).toEqual([]);
});

// Playwright turns the back/forward cache off; people's browsers have it on, for
// pages marked no-store too.
test('the browser’s memory of pages brings back neither the codes nor the account of who signed out', { tag: ['@scripts', '@one-engine'] }, async ({ portal, launchOptions }) => {
	const browser = await chromium.launch({ ...launchOptions, ignoreDefaultArgs: ['--disable-back-forward-cache'] });
	const context = await browser.newContext({ baseURL: portal.url });
	const complaints = watch(context, portal.url);
	const page = await context.newPage();
	const back = () => page.goBack({ timeout: 5_000 }).catch(() => {}); // Playwright doesn't notice a page that comes out of memory
	await signIn(page, await portal.addAccount('ada'));
	const { codes } = await showCodes(page);
	await page.getByLabel('I have saved these codes').check();
	await page.getByRole('button', { name: 'Done' }).click();
	await expect(page).toHaveURL(path('/settings/security'));
	await back();
	await page.waitForURL('chrome-error://chromewebdata/'); // the browser asks before it sends the form again
	expect(await held(page, codes)).toEqual([]);

	await page.goto('/settings/profile');
	await signOut(page);
	await back();
	await expect(page).toHaveURL('/login?return=%2Fsettings%2Fprofile'); // it was asked for again
	await expect(page.getByRole('banner')).not.toContainText('ada');
	expect(complaints).toEqual([]);
	await browser.close();
});
