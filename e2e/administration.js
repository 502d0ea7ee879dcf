// walkAdministration visits the pages for people with a role. The page is that of an administrator,
// who has just proven two factors. The account grace was invited.
import { expect } from './portal.js';

const actions = ['Sign out everywhere', 'Allow another browser', 'Change the role', 'Reset two-factor authentication', 'Disable', 'Remove'];

export async function walkAdministration({ page, onPage }) {
	await page.goto('/');
	await page.getByRole('banner').locator('summary').click();
	await page.getByRole('link', { name: 'Administration' }).click();
	await expect(page.getByRole('heading', { name: 'Accounts' })).toBeVisible();
	await onPage('admin-accounts');
	await page.getByRole('link', { name: 'ada', exact: true }).click();
	await onPage('admin-own-account');
	await page.goto('/admin/accounts');
	await page.getByRole('searchbox').fill('nobody');
	await page.keyboard.press('Enter');
	await expect(page.getByText('No account matches.')).toBeVisible();
	await onPage('admin-accounts-none');
	await page.getByRole('link', { name: 'Invited' }).click();
	await page.getByRole('link', { name: 'grace' }).click();
	await onPage('admin-account');
	const account = page.url();
	for (const action of actions) {
		await page.goto(account);
		await page.getByRole('link', { name: action, exact: true }).click();
		await expect(page.getByRole('heading', { name: action })).toBeVisible();
		await onPage(`admin-${action.split(' ')[0].toLowerCase()}`);
	}
	await page.getByLabel('To remove it').fill('somebody else');
	await page.getByLabel('Reason').fill('It isn’t needed any more. '.repeat(7));
	await page.getByRole('button', { name: 'Remove' }).click();
	await expect(page.getByRole('alert')).toBeVisible();
	await onPage('admin-remove-wrong');
	for (const action of ['Disable', 'Enable']) {
		await page.goto(account);
		await page.getByRole('link', { name: action, exact: true }).click();
		await page.getByLabel('Reason').fill('A long reason, which the page of the account shows beside the event. '.repeat(2));
		await page.getByRole('button', { name: action }).click();
		await expect(page.getByRole('status')).toBeVisible();
		await onPage(`admin-${action.toLowerCase()}d`);
	}
}
