// Help by mail, with a real mail server: a new password, and a new address.
import { test, expect } from './portal.js';
import { enable, path, signIn, typeCode } from './person.js';

test.use({ mail: true });

const status = (page) => page.getByRole('status');

test('forgotten password: the link in the mail sets a new one, and the code is asked as before', async ({ page, portal, anotherBrowser }) => {
	const ada = await portal.addAccount('ada');
	await portal.command(['account', 'set-email', 'ada', 'ada@example.com']);
	await portal.command(['account', 'verify-email', 'ada']);
	await signIn(page, ada);
	const { phone } = await enable(page);

	const fresh = await anotherBrowser();
	await fresh.goto('/login');
	await fresh.getByRole('link', { name: 'Forgot your password?' }).click();
	await fresh.getByLabel('Username or email').fill('ADA@example.com');
	await fresh.getByRole('button', { name: 'Send the link' }).click();
	await expect(status(fresh)).toContainText('we’re sending a link to it');
	const link = await portal.mail.link('ada@example.com', '/reset');
	await fresh.goto(link);
	await fresh.getByLabel('New password', { exact: true }).fill('four walks, and one more');
	await fresh.getByRole('button', { name: 'Set password' }).click();
	await expect(status(fresh)).toHaveText('Your new password is set.');
	await expect(fresh.getByLabel('Username or email')).toHaveValue('ada');
	await fresh.getByLabel('Password', { exact: true }).fill('four walks, and one more');
	await fresh.getByRole('button', { name: 'Sign in' }).click();
	await expect(fresh).toHaveURL('/login/code');
	await typeCode(fresh, await phone.code());
	await expect(fresh.getByRole('heading', { name: 'Your panels' })).toBeVisible();

	await page.goto('/settings/security');
	await expect(page, 'the session from before has ended').toHaveURL(path('/login'));
	await fresh.goto(link);
	await expect(fresh.getByRole('heading', { name: 'This link doesn’t work any more' })).toBeVisible();
	await expect.poll(async () => (await portal.mail.all()).filter(({ Subject }) => Subject.includes('password was changed')).length).toBe(1);
});

test('a new address is confirmed at the new one and undone at the old one', async ({ page, portal, anotherBrowser }) => {
	const ada = await portal.addAccount('ada');
	await portal.command(['account', 'set-email', 'ada', 'ada@example.com']);
	await portal.command(['account', 'verify-email', 'ada', '--send']);
	await signIn(page, ada);
	const main = page.getByRole('main');
	const confirm = async (address) => {
		await page.goto(await portal.mail.link(address, '/settings/profile/email/confirm'));
		await expect(main).toContainText(address);
		await page.getByRole('button', { name: 'Confirm' }).click();
		await expect(status(page)).toHaveText('Email address confirmed.');
	};
	await page.goto('/settings/profile');
	await expect(main).toContainText('ada@example.com not confirmed');
	await confirm('ada@example.com');
	await expect(main).toContainText('ada@example.com confirmed');

	await page.getByRole('link', { name: 'Change or confirm' }).click();
	await page.getByLabel('Email').fill('thief@example.net');
	await page.getByRole('button', { name: 'Send the message' }).click();
	await expect(status(page)).toHaveText('We’ve sent a message to that address. Open its link in this browser.');
	await confirm('thief@example.net');

	const owner = await anotherBrowser();
	await owner.goto(await portal.mail.link('ada@example.com', '/undo-email'));
	await owner.getByLabel('Your email address').fill('thief@example.net');
	await owner.getByRole('button', { name: 'Get it back' }).click();
	await expect(owner.getByRole('alert')).toBeVisible();
	await owner.getByLabel('Your email address').fill('ada@example.com');
	await owner.getByRole('button', { name: 'Get it back' }).click();
	await expect(status(owner)).toContainText('Your email address is back, and every browser is signed out.');
	await page.goto('/settings/profile');
	await expect(page, 'the thief’s session has ended').toHaveURL(path('/login'));
	expect(await portal.command(['account', 'show', 'ada'])).toContain('ada@example.com, confirmed');
});

test('an address that the mail server refuses is on the Profile tab until another one is confirmed', { tag: '@one-engine' }, async ({ page, portal }) => {
	const ada = await portal.addAccount('ada');
	await portal.command(['account', 'set-email', 'ada', 'ada@nowhere.test']);
	await signIn(page, ada);
	await portal.command(['account', 'verify-email', 'ada', '--send']);
	await expect.poll(() => portal.command(['account', 'list'])).toContain('ada@nowhere.test (refused)');
	await page.goto('/settings/profile');
	const main = page.getByRole('main');
	await expect(main).toContainText('Messages don’t reach you: the mail server refused ada@nowhere.test');
	await page.getByRole('button', { name: 'Send again' }).click();
	await expect(status(page)).toContainText('We’ve sent a message to that address.');
	await page.getByRole('link', { name: 'Change the address' }).click();
	await page.getByLabel('Email').fill('ada@example.org');
	await page.getByRole('button', { name: 'Send the message' }).click();
	await page.goto(await portal.mail.link('ada@example.org', '/settings/profile/email/confirm'));
	await page.getByRole('button', { name: 'Confirm' }).click();
	await expect(main).toContainText('ada@example.org confirmed');
	await expect(main).not.toContainText('Messages don’t reach you');
});
