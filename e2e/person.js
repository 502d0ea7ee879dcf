// The actions of a user in a browser and with a phone.
import { join } from 'node:path';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, run } from './portal.js';

// path matches a URL with this path and any query.
export const path = (pathname) => (url) => url.pathname === pathname;

export async function typePassword(page, account) {
	await page.goto('/login');
	await fillIn(page, account);
}

// fillIn fills in and submits the sign-in page that is open.
export async function fillIn(page, { name, password }) {
	await page.getByLabel('Username or email').fill(name);
	await page.getByLabel('Password', { exact: true }).fill(password);
	await page.getByRole('button', { name: 'Sign in' }).click();
}

export async function typeCode(page, code) {
	await page.getByLabel('Code', { exact: true }).fill(code);
	await page.getByRole('button', { name: 'Continue' }).click();
}

// signIn signs in with the password and, if a phone is given, a code.
export async function signIn(page, account, phone) {
	await typePassword(page, account);
	if (phone) {
		await expect(page).toHaveURL('/login/code');
		await typeCode(page, await phone.code());
	}
	await expect(page.getByRole('heading', { name: 'Your panels' })).toBeVisible();
}

export async function signOut(page) {
	const header = page.getByRole('banner');
	await header.locator('summary').click();
	await header.getByRole('button', { name: 'Sign out' }).click();
	await expect(page.getByRole('status')).toHaveText('You’re signed out.');
}

// openForm opens the form behind a button of the Security or Sessions tab and returns it.
export async function openForm(page, button) {
	const summary = page.locator('summary', { hasText: button });
	await summary.click();
	return summary.locator('xpath=../following-sibling::form[1]');
}

// openWizard opens the enrolment wizard by this button of the Security tab.
export async function openWizard(page, button = 'Enable two-factor authentication') {
	await page.goto('/settings/security');
	await page.getByRole('button', { name: button }).click();
	await expect(page.getByRole('heading', { level: 1, name: button })).toBeVisible();
}

// enable enables two-factor authentication and returns the phone and the backup codes.
export async function enable(page) {
	await openWizard(page);
	const phone = await Phone.scan(page);
	await page.getByLabel('Code', { exact: true }).fill(await phone.code());
	await page.getByRole('button', { name: 'Enable' }).click();
	const codes = await backupCodes(page);
	await page.getByLabel('I have saved these codes').check();
	await page.getByRole('button', { name: 'Done' }).click();
	await expect(page).toHaveURL(path('/settings/security'));
	return { phone, codes };
}

// backupCodes returns the backup codes from the page that shows them.
export async function backupCodes(page) {
	await expect(page.getByRole('heading', { name: 'Save these backup codes' })).toBeVisible();
	return page.getByRole('list', { name: 'Backup codes' }).getByRole('listitem').allTextContents();
}

// Phone is an authenticator app. zbarimg reads the QR code and oathtool computes codes.
export class Phone {
	constructor(keyURI) {
		this.keyURI = new URL(keyURI);
		this.secret = this.keyURI.searchParams.get('secret');
		this.lastStep = 0;
	}

	// scan reads the QR code from a screenshot of the page.
	static async scan(page) {
		const dir = await mkdtemp(join(tmpdir(), 'sallyport-phone-'));
		const picture = join(dir, 'page.png');
		await page.screenshot({ path: picture, fullPage: true });
		const found = await run('zbarimg', ['--quiet', '--raw', picture]);
		await rm(dir, { recursive: true });
		return new Phone(found);
	}

	// currentCode returns the code that the app shows now.
	async currentCode() {
		const code = await run('oathtool', ['--totp', '--base32', this.secret]);
		this.lastStep = stepAt(Date.now());
		return code;
	}

	// code returns the next code that this phone hasn't returned yet. The portal accepts
	// the previous, the present and the next time step, so three calls return at once.
	// Further calls wait.
	async code() {
		const late = 10_000; // the code must still be right when it arrives
		this.lastStep = Math.max(this.lastStep + 1, stepAt(Date.now() + late) - 1);
		await sleep(Math.max(0, (this.lastStep - 1) * period - Date.now()));
		return this.at(this.lastStep);
	}

	// pair returns the next two codes. The portal accepts such a pair even from a phone
	// whose clock is minutes ahead, so pair doesn't wait.
	async pair() {
		this.lastStep += 2;
		return [await this.at(this.lastStep - 1), await this.at(this.lastStep)];
	}

	at(step) {
		return run('oathtool', ['--totp', '--base32', '--now', `@${step * period / 1000}`, this.secret]);
	}
}

const period = 30_000;
const stepAt = (time) => Math.floor(time / period);
