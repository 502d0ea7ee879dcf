// walk visits every page of the portal in every state. It calls onPage at each, with a
// name for page and state. The portal sends mails.
import { walkAdministration } from './administration.js';
import { expect } from './portal.js';
import { Phone, backupCodes, openForm, openWizard, signIn, signOut, typeCode, typePassword } from './person.js';

export async function walk({ page, anotherBrowser, portal, onPage }) {
	const ada = { name: 'ada', password: 'ada likes long walks' };
	const alert = page.getByRole('alert');
	const code = page.getByLabel('Code', { exact: true });

	// Set-up of the first account, and an invitation.
	const link = portal.printed().match(/http\S+\/setup\S+/)[0];
	await page.goto(link);
	await onPage('set-up');
	const typed = async (password, level) => {
		await page.locator('#new_password').fill(password);
		await expect(page.locator('#strength')).toHaveAttribute('data-level', level);
	};
	await typed('short one', 'short');
	await onPage('set-up-short');
	await typed('qwertyuiop 123456', 'weak');
	await onPage('set-up-weak');
	await typed('four walks a week', 'fair');
	await onPage('set-up-fair');
	await typed('four long walks a week', 'good');
	await onPage('set-up-good');
	await page.getByLabel('Username').fill('ada@example.com');
	await page.getByLabel('Password', { exact: true }).fill(ada.password);
	await page.getByRole('button', { name: 'Create account' }).click();
	await expect(alert).toBeVisible();
	await onPage('set-up-wrong-name');
	await page.getByLabel('Username').fill(ada.name);
	await page.getByLabel('Password', { exact: true }).fill(ada.password);
	await page.getByRole('button', { name: 'Create account' }).click();
	await onPage('sign-in-after-set-up');
	await page.goto(link);
	await onPage('error-used-link');
	await page.goto((await portal.command(['account', 'invite', 'grace', '--show-link'])).match(/http\S+/)[0]);
	await onPage('invitation');

	// Signed out.
	await page.goto('/no-such-page');
	await onPage('error-signed-out');
	await page.goto('/login');
	await onPage('sign-in');
	await typePassword(page, { ...ada, password: 'not the right one' });
	await expect(alert).toBeVisible();
	await onPage('sign-in-wrong');

	// Two-factor authentication is off.
	await signIn(page, ada);
	await onPage('home-off');
	await page.getByRole('banner').locator('summary').click();
	await onPage('home-menu');
	await page.goto('/no-such-page');
	await onPage('error-signed-in');
	for (const tab of ['profile', 'security', 'sessions', 'activity']) {
		await page.goto(`/settings/${tab}`);
		await onPage(`${tab}-off`);
	}
	await page.goto('/settings/profile');
	await page.getByLabel('Display name').fill('A very long name '.repeat(10));
	await page.getByRole('button', { name: 'Save' }).click();
	await expect(alert).toBeVisible();
	await onPage('profile-wrong');
	await walkMails({ page, portal, ada, onPage });
	await page.goto('/settings/security');
	await openForm(page, 'Change password');
	await onPage('security-change-password');
	await typed('harbour radio and ada', 'weak');
	await onPage('security-weak-typed');
	await page.getByLabel('Current password').fill(ada.password);
	await page.getByLabel('New password').fill('password monkey 4');
	await page.getByRole('button', { name: 'Save new password' }).click();
	await expect(page.getByRole('status')).toContainText('weak');
	await onPage('security-weak-password');
	ada.password = 'password monkey 4';
	await openForm(page, 'Change password');
	await page.getByLabel('Current password').fill(ada.password);
	await page.getByLabel('New password').fill('harbour radio harbour radio');
	await page.getByRole('button', { name: 'Save new password' }).click();
	await expect(alert).toBeVisible();
	await onPage('security-guessable-password');
	await page.getByLabel('Current password').fill('not the right one');
	await page.getByLabel('New password').fill('ada walks even further');
	await page.getByRole('button', { name: 'Save new password' }).click();
	await expect(alert).toBeVisible();
	await onPage('security-wrong-password');
	await page.goto('/settings/security');
	await page.getByRole('link', { name: 'New machine pass' }).click();
	await onPage('new-pass');
	await page.getByLabel('Name', { exact: false }).fill('The nightly backup of the rack');
	await page.getByLabel('IP addresses').fill('192.0.2.7, 10.0.0.0/8 2001:db8:1234:5678::/64 everywhere');
	await page.getByRole('button', { name: 'Make the pass' }).click();
	await expect(alert).toBeVisible();
	await onPage('new-pass-wrong');
	await page.getByLabel('IP addresses').fill('192.0.2.7, 10.0.0.0/8 2001:db8:1234:5678::/64');
	await page.getByRole('button', { name: 'Make the pass' }).click();
	await expect(page.locator('#pass')).toContainText('spp_');
	await onPage('pass');
	await portal.command(['pass', 'add', 'ada', 'deploy', '--panel', 'http://panel.localhost']);
	await page.getByRole('link', { name: 'Back to Security' }).click();
	await page.locator('summary', { hasText: 'Revoke' }).first().click();
	await onPage('security-passes');
	await page.goto('/reauthenticate?return=/settings/security');
	await onPage('reauthenticate-off');

	// The wizard.
	await openWizard(page);
	await onPage('wizard');
	await page.getByText('Can’t scan it? Type the key').click();
	await onPage('wizard-key');
	await code.fill('000000');
	await page.getByRole('button', { name: 'Enable' }).click();
	await expect(alert).toBeVisible();
	await onPage('wizard-wrong');
	const phone = await Phone.scan(page);
	await code.fill(await phone.code());
	await page.getByRole('button', { name: 'Enable' }).click();
	const codes = await backupCodes(page);
	await onPage('backup-codes');
	page.once('dialog', (dialog) => dialog.accept()); // leave without confirming
	await page.goto('/settings/security');
	await onPage('security-unconfirmed');
	await page.getByRole('button', { name: 'I have them' }).click();
	await expect(page.getByText('not confirmed')).toHaveCount(0);

	// Two-factor authentication is on.
	await onPage('security-on');
	for (const button of ['Rename', 'Remove', 'Generate new backup codes', 'Disable two-factor authentication']) {
		await page.goto('/settings/security');
		await openForm(page, button);
		await onPage(`security-${button.split(' ')[0].toLowerCase()}`);
	}
	await walkAdministration({ page, onPage });
	await openWizard(page, 'Add another authenticator');
	await onPage('wizard-more');
	const tablet = await Phone.scan(page);
	await code.fill(await tablet.code());
	await page.getByLabel('Name of this authenticator').fill('The tablet in the kitchen drawer');
	await page.getByRole('button', { name: 'Add', exact: true }).click();
	await onPage('security-two-authenticators');
	await page.goto('/reauthenticate?return=/settings/security');
	await onPage('reauthenticate');
	await page.getByLabel('Password', { exact: true }).fill('not the right one');
	await page.getByLabel('6-digit code').fill('000000');
	await page.getByRole('button', { name: 'Confirm' }).click();
	await expect(alert).toBeVisible();
	await onPage('reauthenticate-wrong');
	await page.getByRole('link', { name: 'My codes don’t work' }).click();
	await onPage('reauthenticate-two-codes');

	// The code forms.
	await page.goto('/');
	await signOut(page);
	await onPage('signed-out');
	await typePassword(page, ada);
	await onPage('code');
	await typeCode(page, '000000');
	await expect(alert).toBeVisible();
	await onPage('code-wrong');
	await page.getByRole('link', { name: 'My codes don’t work' }).click();
	await onPage('two-codes');
	await page.getByLabel('The code you see now').fill('000000');
	await page.getByLabel('The next code').fill('000000');
	await page.getByRole('button', { name: 'Continue' }).click();
	await expect(alert).toBeVisible();
	await onPage('two-codes-wrong');
	await page.getByRole('link', { name: 'Use a backup code' }).click();
	await onPage('backup-code');
	await page.getByLabel('Backup code').fill('what is that?');
	await page.getByRole('button', { name: 'Continue' }).click();
	await expect(alert).toBeVisible();
	await onPage('backup-code-wrong');
	await page.getByLabel('Backup code').fill(codes.pop());
	await page.getByRole('button', { name: 'Continue' }).click();
	await onPage('home-on');

	// Only a few backup codes are left, and another browser has a session.
	while (codes.length > 2) {
		await page.goto('/reauthenticate?ask=backup&return=/settings/security');
		if (codes.length === 9) await onPage('reauthenticate-backup-code');
		await page.getByLabel('Password', { exact: true }).fill(ada.password);
		await page.getByLabel('Backup code').fill(codes.pop());
		await page.getByRole('button', { name: 'Confirm' }).click();
		await expect(page.getByRole('status')).toContainText('Thanks.');
	}
	await onPage('security-few-codes');
	const other = await anotherBrowser();
	await signIn(other, ada, phone);
	for (const tab of ['profile', 'sessions', 'activity']) {
		await page.goto(`/settings/${tab}`);
		await onPage(`${tab}-on`);
	}
	await page.goto('/settings/sessions');
	await openForm(page, 'Sign out everywhere else');
	await onPage('sessions-sign-out-others');
	await page.goto('/settings/sessions');
	const letIn = await openForm(page, 'Allow another browser');
	await onPage('sessions-let-in');
	await letIn.getByRole('button', { name: 'Create the link' }).click();
	await onPage('let-in-link');
	await page.goto((await page.locator('#let-in-link').textContent()).trim());
	await onPage('let-in');

	// After an operator's reset the wizard waits for a link.
	await portal.command(['account', 'reset-two-factor', ada.name, '--show-link']);
	await signIn(page, ada);
	await page.goto('/settings/security');
	await onPage('security-locked');
}

// walkMails visits the pages about the email address and those that mails link to, as ada, who is
// signed in and has no address.
async function walkMails({ page, portal, ada, onPage }) {
	const alert = page.getByRole('alert');
	const long = `${'ada.of.the.long.walks'.repeat(3)}@radio.harbour.on.the.north.sea.example.com`;
	const send = async (address) => {
		await page.goto('/settings/profile/email');
		await page.getByLabel('Email').fill(address);
		await page.getByRole('button', { name: 'Send the message' }).click();
	};
	await page.goto('/settings/profile');
	await page.getByRole('link', { name: 'Add' }).click();
	await onPage('email');
	await page.locator('main form').evaluate((form) => { form.noValidate = true; });
	await page.getByLabel('Email').fill('ada');
	await page.getByRole('button', { name: 'Send the message' }).click();
	await expect(alert).toBeVisible();
	await onPage('email-wrong');
	for (const address of [long, 'ada@example.org']) {
		await send(address);
		if (address === long) await onPage('profile-email-asked');
		await page.goto(await portal.mail.link(address, '/settings/profile/email/confirm'));
		if (address === long) await onPage('confirm-email');
		await page.getByRole('button', { name: 'Confirm' }).click();
		if (address === long) await onPage('profile-email-confirmed');
	}
	await page.goto(await portal.mail.link(long, '/undo-email'));
	await onPage('undo-email');
	await page.getByLabel('Your email address').fill('ada@example.org');
	await page.getByRole('button', { name: 'Get it back' }).click();
	await expect(alert).toBeVisible();
	await onPage('undo-email-wrong');

	await page.goto('/');
	await signOut(page);
	await page.getByRole('link', { name: 'Forgot your password?' }).click();
	await onPage('forgot');
	await page.getByLabel('Username or email').fill('   ');
	await page.getByRole('button', { name: 'Send the link' }).click();
	await expect(alert).toBeVisible();
	await onPage('forgot-empty');
	await page.getByLabel('Username or email').fill('ada');
	await page.getByRole('button', { name: 'Send the link' }).click();
	await onPage('forgot-sent');
	await page.goto(await portal.mail.link('ada@example.org', '/reset'));
	await onPage('reset');
	await page.getByLabel('New password', { exact: true }).fill('password password');
	await page.getByRole('button', { name: 'Set password' }).click();
	await expect(alert).toBeVisible();
	await onPage('reset-wrong');
	await page.goto('/reset?ticket=none');
	await onPage('error-reset-link');

	await signIn(page, ada);
	await portal.command(['account', 'set-email', 'ada', long.replace('.com', '.test')]);
	await portal.command(['account', 'verify-email', 'ada', '--send']);
	await expect.poll(() => portal.command(['account', 'list'])).toContain('(refused)');
	await page.goto('/settings/profile');
	await onPage('profile-email-refused');
	await portal.command(['account', 'set-email', 'ada', 'ada@example.com']);
	await portal.command(['account', 'verify-email', 'ada']);
	await portal.command(['account', 'unlock', 'ada']);
	await page.goto(await portal.mail.link('ada@example.com', '/setup'));
	await onPage('let-in-mailed');
}
