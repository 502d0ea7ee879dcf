// Every page of the portal, in every state that a person meets it in. look is
// called at each, with a name that says which.
import { expect } from './portal.js';
import { Phone, backupCodes, openForm, openWizard, signIn, signOut, typeCode, typePassword } from './person.js';

export async function walk({ page, anotherBrowser, portal, look }) {
	const ada = { name: 'ada', password: 'ada likes long walks' };
	const alert = page.getByRole('alert');
	const code = page.getByLabel('Code', { exact: true });

	// The first account, and an invitation.
	const link = portal.printed().match(/http\S+\/setup\S+/)[0];
	await page.goto(link);
	await look('set-up');
	const typed = async (password, level) => {
		await page.locator('#new_password').fill(password);
		await expect(page.locator('#strength')).toHaveAttribute('data-level', level);
	};
	await typed('short one', 'short');
	await look('set-up-short');
	await typed('qwertyuiop 123456', 'weak');
	await look('set-up-weak');
	await typed('four walks a week', 'fair');
	await look('set-up-fair');
	await typed('four long walks a week', 'good');
	await look('set-up-good');
	await page.getByLabel('Username').fill('ada@example.com');
	await page.getByLabel('Password', { exact: true }).fill(ada.password);
	await page.getByRole('button', { name: 'Create account' }).click();
	await expect(alert).toBeVisible();
	await look('set-up-wrong-name');
	await page.getByLabel('Username').fill(ada.name);
	await page.getByLabel('Password', { exact: true }).fill(ada.password);
	await page.getByRole('button', { name: 'Create account' }).click();
	await look('sign-in-after-set-up');
	await page.goto(link);
	await look('error-used-link');
	await page.goto((await portal.command(['account', 'invite', 'grace'])).match(/http\S+/)[0]);
	await look('invitation');

	// Signed out.
	await page.goto('/no-such-page');
	await look('error-signed-out');
	await page.goto('/login');
	await look('sign-in');
	await typePassword(page, { ...ada, password: 'not the right one' });
	await expect(alert).toBeVisible();
	await look('sign-in-wrong');

	// Two-factor authentication is off.
	await signIn(page, ada);
	await look('home-off');
	await page.getByRole('banner').locator('summary').click();
	await look('home-menu');
	await page.goto('/no-such-page');
	await look('error-signed-in');
	for (const tab of ['profile', 'security', 'sessions', 'activity']) {
		await page.goto(`/settings/${tab}`);
		await look(`${tab}-off`);
	}
	await page.goto('/settings/profile');
	await page.getByLabel('Display name').fill('A very long name '.repeat(10));
	await page.getByRole('button', { name: 'Save' }).click();
	await expect(alert).toBeVisible();
	await look('profile-wrong');
	await page.goto('/settings/security');
	await openForm(page, 'Change password');
	await look('security-change-password');
	await typed('harbour radio and ada', 'weak');
	await look('security-weak-typed');
	await page.getByLabel('Current password').fill(ada.password);
	await page.getByLabel('New password').fill('password monkey 4');
	await page.getByRole('button', { name: 'Save new password' }).click();
	await expect(page.getByRole('status')).toContainText('weak');
	await look('security-weak-password');
	ada.password = 'password monkey 4';
	await openForm(page, 'Change password');
	await page.getByLabel('Current password').fill(ada.password);
	await page.getByLabel('New password').fill('harbour radio harbour radio');
	await page.getByRole('button', { name: 'Save new password' }).click();
	await expect(alert).toBeVisible();
	await look('security-guessable-password');
	await page.getByLabel('Current password').fill('not the right one');
	await page.getByLabel('New password').fill('ada walks even further');
	await page.getByRole('button', { name: 'Save new password' }).click();
	await expect(alert).toBeVisible();
	await look('security-wrong-password');
	await page.goto('/settings/security');
	await page.getByRole('link', { name: 'New machine pass' }).click();
	await look('new-pass');
	await page.getByLabel('Name', { exact: false }).fill('The nightly backup of the rack');
	await page.getByLabel('IP addresses').fill('192.0.2.7, 10.0.0.0/8 2001:db8:1234:5678::/64 everywhere');
	await page.getByRole('button', { name: 'Make the pass' }).click();
	await expect(alert).toBeVisible();
	await look('new-pass-wrong');
	await page.getByLabel('IP addresses').fill('192.0.2.7, 10.0.0.0/8 2001:db8:1234:5678::/64');
	await page.getByRole('button', { name: 'Make the pass' }).click();
	await expect(page.locator('#pass')).toContainText('spp_');
	await look('pass');
	await portal.command(['pass', 'add', 'ada', 'deploy', '--panel', 'http://panel.localhost']);
	await page.getByRole('link', { name: 'Back to Security' }).click();
	await page.locator('summary', { hasText: 'Revoke' }).first().click();
	await look('security-passes');
	await page.goto('/reauthenticate?return=/settings/security');
	await look('reauthenticate-off');

	// The wizard.
	await openWizard(page);
	await look('wizard');
	await page.getByText('Can’t scan it? Type the key').click();
	await look('wizard-key');
	await code.fill('000000');
	await page.getByRole('button', { name: 'Enable' }).click();
	await expect(alert).toBeVisible();
	await look('wizard-wrong');
	const phone = await Phone.scan(page);
	await code.fill(await phone.code());
	await page.getByRole('button', { name: 'Enable' }).click();
	const codes = await backupCodes(page);
	await look('backup-codes');
	await page.getByLabel('I have saved these codes').check();
	await page.getByRole('button', { name: 'Done' }).click();

	// Two-factor authentication is on.
	await look('security-on');
	for (const button of ['Rename', 'Remove', 'Generate new backup codes', 'Disable two-factor authentication']) {
		await page.goto('/settings/security');
		await openForm(page, button);
		await look(`security-${button.split(' ')[0].toLowerCase()}`);
	}
	await openWizard(page, 'Add another authenticator');
	await look('wizard-more');
	const tablet = await Phone.scan(page);
	await code.fill(await tablet.code());
	await page.getByLabel('Name of this authenticator').fill('The tablet in the kitchen drawer');
	await page.getByRole('button', { name: 'Add', exact: true }).click();
	await look('security-two-authenticators');
	await page.goto('/reauthenticate?return=/settings/security');
	await look('reauthenticate');
	await page.getByLabel('Password', { exact: true }).fill('not the right one');
	await page.getByLabel('6-digit code').fill('000000');
	await page.getByRole('button', { name: 'Confirm' }).click();
	await expect(alert).toBeVisible();
	await look('reauthenticate-wrong');
	await page.getByRole('link', { name: 'My codes don’t work' }).click();
	await look('reauthenticate-two-codes');

	// The code forms.
	await page.goto('/');
	await signOut(page);
	await look('signed-out');
	await typePassword(page, ada);
	await look('code');
	await typeCode(page, '000000');
	await expect(alert).toBeVisible();
	await look('code-wrong');
	await page.getByRole('link', { name: 'My codes don’t work' }).click();
	await look('two-codes');
	await page.getByLabel('The code you see now').fill('000000');
	await page.getByLabel('The next code').fill('000000');
	await page.getByRole('button', { name: 'Continue' }).click();
	await expect(alert).toBeVisible();
	await look('two-codes-wrong');
	await page.getByRole('link', { name: 'Use a backup code' }).click();
	await look('backup-code');
	await page.getByLabel('Backup code').fill('what is that?');
	await page.getByRole('button', { name: 'Continue' }).click();
	await expect(alert).toBeVisible();
	await look('backup-code-wrong');
	await page.getByLabel('Backup code').fill(codes.pop());
	await page.getByRole('button', { name: 'Continue' }).click();
	await look('home-on');

	// Few backup codes are left, and somebody else was here.
	while (codes.length > 2) {
		await page.goto('/reauthenticate?ask=backup&return=/settings/security');
		if (codes.length === 9) await look('reauthenticate-backup-code');
		await page.getByLabel('Password', { exact: true }).fill(ada.password);
		await page.getByLabel('Backup code').fill(codes.pop());
		await page.getByRole('button', { name: 'Confirm' }).click();
		await expect(page.getByRole('status')).toContainText('Thanks.');
	}
	await look('security-few-codes');
	const other = await anotherBrowser();
	await signIn(other, ada, phone);
	for (const tab of ['profile', 'sessions', 'activity']) {
		await page.goto(`/settings/${tab}`);
		await look(`${tab}-on`);
	}
	await page.goto('/settings/sessions');
	await openForm(page, 'Sign out everywhere else');
	await look('sessions-sign-out-others');
	await page.goto('/settings/sessions');
	const letIn = await openForm(page, 'Allow another browser');
	await look('sessions-let-in');
	await letIn.getByRole('button', { name: 'Create the link' }).click();
	await look('let-in-link');
	await page.goto((await page.locator('#let-in-link').textContent()).trim());
	await look('let-in');

	// After an operator's reset the wizard waits for a link.
	await portal.command(['account', 'reset-two-factor', ada.name]);
	await signIn(page, ada);
	await page.goto('/settings/security');
	await look('security-locked');
}
