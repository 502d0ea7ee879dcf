import { chromium } from '@playwright/test';
import { test, expect, watch } from './portal.js';
import { Phone, backupCodes, openForm, openWizard, path, signIn, signOut } from './person.js';

// showCodes goes through the wizard up to the page that shows the backup codes.
async function showCodes(page) {
	await openWizard(page);
	const wizard = page.url();
	const phone = await Phone.scan(page);
	await page.getByLabel('Code', { exact: true }).fill(await phone.code());
	await page.getByRole('button', { name: 'Enable' }).click();
	return { wizard, codes: await backupCodes(page) };
}

// codesOn returns those of the codes that the page contains.
async function codesOn(page, codes) {
	await page.waitForLoadState();
	const content = await page.content();
	return codes.filter((code) => content.includes(code));
}

// goBack goes back in the history. If that would send a form a second time, the browser
// shows a question instead of the page.
async function goBack(page) {
	await page.goBack().catch(async (refusal) => {
		expect(refusal.message).toContain('ERR_CACHE_MISS');
		await page.waitForURL('chrome-error://chromewebdata/');
	});
}

test('backup codes are shown once: not after reload or back, not at their URL, and not in another tab (attack 51)', async ({ page, context, portal }) => {
	await signIn(page, await portal.addAccount('ada'));
	const { wizard, codes } = await showCodes(page);
	expect(await codesOn(page, codes)).toHaveLength(10);

	const tab = await context.newPage();
	for (const address of [page.url(), wizard, '/settings/security/backup-codes', '/settings/security']) {
		await tab.goto(address);
		expect(await codesOn(tab, codes), address).toEqual([]);
	}

	await page.reload(); // sends the form a second time
	await expect(page).toHaveURL(path('/settings/security'));
	expect(await codesOn(page, codes)).toEqual([]);
	await goBack(page);
	expect(await codesOn(page, codes)).toEqual([]);

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
	await page.reload(); // sends the form a second time; the codes that were shown stay valid
	await expect(page).toHaveURL(path('/settings/security'));
	expect(await codesOn(page, codes)).toEqual([]);
	await page.goto('/settings/security');
	await goBack(page);
	expect(await codesOn(page, codes)).toEqual([]);
});

// Playwright disables the browser's back/forward cache. Real browsers use it, even for
// pages marked no-store.
test('the back/forward cache shows neither the codes nor, after sign-out, the account', { tag: ['@scripts', '@one-engine'] }, async ({ portal, launchOptions }) => {
	const browser = await chromium.launch({ ...launchOptions, ignoreDefaultArgs: ['--disable-back-forward-cache'] });
	const context = await browser.newContext({ baseURL: portal.url });
	const faults = watch(context, portal.url);
	const page = await context.newPage();
	const back = () => page.goBack({ timeout: 5_000 }).catch(() => {}); // Playwright doesn't notice a page from this cache
	await signIn(page, await portal.addAccount('ada'));
	const { codes } = await showCodes(page);
	await page.getByLabel('I have saved these codes').check();
	await page.getByRole('button', { name: 'Done' }).click();
	await expect(page).toHaveURL(path('/settings/security'));
	await back();
	await page.waitForURL('chrome-error://chromewebdata/'); // the browser's question whether to send the form a second time
	expect(await codesOn(page, codes)).toEqual([]);

	await page.goto('/settings/profile');
	await signOut(page);
	await back();
	await expect(page).toHaveURL('/login?return=%2Fsettings%2Fprofile'); // the browser requested it from the server
	await expect(page.getByRole('banner')).not.toContainText('ada');
	expect(faults).toEqual([]);
	await browser.close();
});
