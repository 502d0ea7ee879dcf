import { test, expect } from './portal.js';
import { signIn } from './person.js';

test('the link that an empty portal prints creates the first account, an administrator, once; opening it doesn’t use it', async ({ page, portal, anotherBrowser }) => {
	const link = portal.printed().match(/http\S+\/setup\?ticket=\S+/)[0];
	for (let time = 0; time < 3; time++) await page.goto(link);
	const other = await anotherBrowser();
	await other.goto(link);

	const ada = { name: 'ada', password: 'ada likes long walks' };
	await page.getByLabel('Username').fill(ada.name);
	await page.getByLabel('Password', { exact: true }).fill(ada.password);
	await page.getByRole('button', { name: 'Create account' }).click();
	await expect(page.getByRole('status')).toHaveText('Your account is ready. Sign in with your new password.');
	await expect(page.getByLabel('Username or email')).toHaveValue('ada');
	await expect(page.getByLabel('Password', { exact: true })).toBeFocused();
	await signIn(page, ada);
	await page.goto('/settings/profile');
	await expect(page.getByRole('main')).toContainText('Administrator');

	await other.getByLabel('Username').fill('mallory');
	await other.getByLabel('Password', { exact: true }).fill('mallory likes long walks');
	await other.getByRole('button', { name: 'Create account' }).click();
	await expect(other.getByRole('heading', { name: 'This link doesn’t work any more' })).toBeVisible();
	await other.goto(link);
	await expect(other.getByRole('heading', { name: 'This link doesn’t work any more' })).toBeVisible();
	expect(await portal.command(['account', 'list'])).not.toContain('mallory');
});

test('an invitation lets the user choose a password and creates no administrator', async ({ page, portal }) => {
	const link = (await portal.command(['account', 'invite', 'grace'])).match(/http\S+/)[0];
	await page.goto(link);
	await expect(page.getByLabel('Username')).toHaveValue('grace');
	await page.getByLabel('Password', { exact: true }).fill('grace likes long walks');
	await page.getByRole('button', { name: 'Set password' }).click();
	await expect(page.getByLabel('Username or email')).toHaveValue('grace');
	await signIn(page, { name: 'grace', password: 'grace likes long walks' });
	await page.goto('/settings/profile');
	await expect(page.getByRole('main')).toContainText('Member');
});
