import { test, expect } from './portal.js';
import { Phone, openWizard, path, signIn } from './person.js';

const keyURI = (page) => page.getByRole('link', { name: 'Open in an app on this device' }).getAttribute('href');

async function confirm(page, code, button = 'Enable') {
	await page.getByLabel('Code', { exact: true }).fill(code);
	await page.getByRole('button', { name: button, exact: true }).click();
}

test('wizards in two tabs have different secrets, and each accepts codes of its own secret only', async ({ page, context, portal }) => {
	await signIn(page, await portal.addAccount('ada'));
	const tab = await context.newPage();
	await openWizard(page);
	await openWizard(tab);
	const phone = new Phone(await keyURI(page)), tablet = new Phone(await keyURI(tab));
	expect(tablet.secret).not.toBe(phone.secret);

	await confirm(page, await tablet.currentCode());
	await expect(page.getByRole('alert')).toContainText('That code didn’t match.');
	expect(await keyURI(page)).toBe(phone.keyURI.href);
	await tab.reload();
	expect(await keyURI(tab)).toBe(tablet.keyURI.href);

	await confirm(page, await phone.code());
	await expect(page.getByRole('heading', { name: 'Save these backup codes' })).toBeVisible();

	// The wizard in the other tab adds a second authenticator, without new backup codes.
	await confirm(tab, await tablet.code());
	await expect(tab).toHaveURL(path('/settings/security'));
	await expect(tab.getByRole('status')).toHaveText('Authenticator added.');
	await expect(tab.getByText('10 left, for when you don’t have your phone')).toBeVisible();
});

test('a wizard belongs to the browser that opened it; the first confirmation ends the other session', async ({ page, anotherBrowser, portal }) => {
	const ada = await portal.addAccount('ada');
	const other = await anotherBrowser();
	await signIn(page, ada);
	await signIn(other, ada);
	await openWizard(page);
	await openWizard(other);
	const phone = new Phone(await keyURI(page)), otherPhone = new Phone(await keyURI(other));
	expect(otherPhone.secret).not.toBe(phone.secret);

	const address = new URL(page.url()).pathname;
	const back = new URL(other.url()).pathname;
	await other.goto(address);
	await expect(other).toHaveURL(path('/settings/security'));
	expect(await other.content()).not.toContain(phone.secret);
	await other.goto(back);

	await confirm(page, await phone.code());
	await expect(page.getByRole('heading', { name: 'Save these backup codes' })).toBeVisible();
	await confirm(other, await otherPhone.code());
	await expect(other.getByRole('heading', { name: 'Sign in to Harbour Radio' })).toBeVisible();
	await page.goto('/settings/security');
	await expect(page.getByRole('heading', { name: 'Phone', exact: true })).toHaveCount(1);
});
