import { test, expect } from './portal.js';
import { Phone, path } from './person.js';

// tabTo presses Tab until the target has the focus. It checks that the focus is visible at
// every element on the way.
async function tabTo(page, target) {
	for (let presses = 0; presses < 40; presses++) {
		await page.keyboard.press('Tab');
		const focused = page.locator(':focus');
		if (await focused.count() === 0) continue; // the browser's own controls
		const ring = await focused.evaluate((element) => {
			const { outlineStyle, outlineWidth } = getComputedStyle(element);
			return { seen: element.checkVisibility() && element.getBoundingClientRect().height > 1, outlineStyle, outlineWidth: parseFloat(outlineWidth) };
		});
		expect(ring).toEqual({ seen: true, outlineStyle: expect.not.stringMatching('none'), outlineWidth: expect.any(Number) });
		expect(ring.outlineWidth).toBeGreaterThanOrEqual(2);
		if (await target.evaluate((element) => element === document.activeElement)) return;
	}
	throw new Error(`Tab never reached ${target}`);
}

test('sign-in, the message on a wrong password and the wizard work with Tab and Enter alone', { tag: '@one-engine' }, async ({ page, portal }) => {
	const ada = await portal.addAccount('ada');
	const { keyboard } = page;
	const password = page.getByLabel('Password', { exact: true });

	await page.goto('/login');
	await expect(page.getByLabel('Username or email')).toBeFocused();
	await keyboard.type(ada.name);
	await tabTo(page, password);
	await keyboard.type('not the right one');
	await keyboard.press('Enter');

	// The error is announced, and describes the field that has the focus.
	await expect(page.getByRole('alert')).toHaveText('That username and password don’t match.');
	await expect(password).toBeFocused();
	await expect(password).toHaveAccessibleDescription('That username and password don’t match.');
	await keyboard.type(ada.password);
	await keyboard.press('Enter');

	await expect(page.getByRole('heading', { name: 'Your panels' })).toBeVisible();
	await tabTo(page, page.getByRole('link', { name: 'Skip to content' }));
	await keyboard.press('Enter');
	await tabTo(page, page.getByRole('link', { name: 'Secure your account' }));
	await keyboard.press('Enter');
	await expect(page.getByRole('button', { name: 'Enable two-factor authentication' })).toBeVisible();
	await tabTo(page, page.getByRole('button', { name: 'Enable two-factor authentication' }));
	await keyboard.press('Enter');

	await expect(page.getByRole('heading', { level: 1, name: 'Enable two-factor authentication' })).toBeVisible();
	const phone = await Phone.scan(page);
	const code = page.getByLabel('Code', { exact: true });
	await tabTo(page, page.locator('summary', { hasText: 'Can’t scan it?' }));
	await keyboard.press('Enter');
	await expect(page.locator('#key')).toBeVisible();
	await tabTo(page, code);
	await keyboard.type('000000');
	await keyboard.press('Enter');
	await expect(page.getByRole('alert')).toContainText('That code didn’t match.');
	await expect(code).toBeFocused();
	await expect(code).toHaveAccessibleDescription(/That code didn’t match\..*Enter the 6-digit code from the app/);
	await keyboard.type(await phone.code());
	await keyboard.press('Enter');

	await expect(page.getByRole('button', { name: 'Done' })).toBeVisible(); // the page has loaded
	await tabTo(page, page.getByLabel('I have saved these codes'));
	await keyboard.press('Space');
	await tabTo(page, page.getByRole('button', { name: 'Done' }));
	await keyboard.press('Enter');
	await expect(page.getByText('All three steps are done.')).toBeVisible();

	// Forms behind a button open and close in place.
	await tabTo(page, page.locator('summary', { hasText: 'Disable two-factor authentication' }));
	await keyboard.press('Enter');
	await tabTo(page, page.getByRole('button', { name: 'Turn it off' }));
	await keyboard.press('Enter');
	await expect(page.getByRole('status')).toHaveText('Two-factor authentication is off.');
});

test('Escape closes the account menu', { tag: ['@scripts', '@one-engine'] }, async ({ page, portal }) => {
	const ada = await portal.addAccount('ada');
	await page.goto('/login');
	await page.keyboard.type(ada.name);
	await page.keyboard.press('Tab');
	await page.keyboard.type(ada.password);
	await page.keyboard.press('Enter');
	await expect(page).toHaveURL(path('/')); // an earlier key press would go to the previous page
	const menu = page.getByRole('banner').locator('summary');
	await tabTo(page, menu);
	await page.keyboard.press('Enter');
	await expect(page.getByRole('button', { name: 'Sign out' })).toBeVisible();
	await tabTo(page, page.getByRole('button', { name: 'Sign out' }));
	await page.keyboard.press('Escape');
	await expect(page.getByRole('button', { name: 'Sign out' })).toBeHidden();
	await expect(menu).toBeFocused();
});

test.describe('with mail', () => {
	test.use({ mail: true });

	test('a forgotten password and a changed address need Tab and Enter alone', { tag: ['@scripts', '@one-engine'] }, async ({ page, portal }) => {
		const ada = await portal.addAccount('ada');
		await portal.command(['account', 'set-email', 'ada', 'ada@example.com']);
		await portal.command(['account', 'verify-email', 'ada']);
		const { keyboard } = page;
		await page.goto('/login');
		await tabTo(page, page.getByRole('link', { name: 'Forgot your password?' }));
		await keyboard.press('Enter');
		await expect(page).toHaveURL(path('/forgot'));
		await expect(page.getByLabel('Username or email')).toBeFocused();
		await keyboard.type(ada.name);
		await keyboard.press('Enter');
		await page.goto(await portal.mail.link('ada@example.com', '/reset'));
		const field = page.getByLabel('New password', { exact: true });
		await expect(field).toBeFocused();
		await keyboard.type('password password');
		await keyboard.press('Enter');
		await expect(page.getByRole('alert')).toBeVisible();
		await expect(field).toBeFocused();
		await expect(field).toHaveAccessibleDescription(/password/);
		await keyboard.type('four walks, and one more');
		await keyboard.press('Enter');
		await expect(page.getByRole('status')).toHaveText('Your new password is set.');
		await expect(page.getByLabel('Password', { exact: true })).toBeFocused();
		await keyboard.type('four walks, and one more');
		await keyboard.press('Enter');
		await expect(page).toHaveURL(path('/'));

		await page.goto('/settings/profile');
		await tabTo(page, page.getByRole('link', { name: 'Change or confirm' }));
		await keyboard.press('Enter');
		await expect(page.getByLabel('Email')).toBeFocused();
		await keyboard.type('ada@example.org');
		await keyboard.press('Enter');
		await page.goto(await portal.mail.link('ada@example.org', '/settings/profile/email/confirm'));
		await tabTo(page, page.getByRole('button', { name: 'Confirm' }));
		await keyboard.press('Enter');
		await expect(page.getByRole('status')).toHaveText('Email address confirmed.');
		await page.goto(await portal.mail.link('ada@example.com', '/undo-email'));
		await expect(page.getByLabel('Your email address')).toBeFocused();
		await keyboard.type('nonsense@example.com');
		await keyboard.press('Enter');
		await expect(page.getByRole('alert')).toHaveText('That isn’t the address that this message was sent to.');
		await expect(page.getByLabel('Your email address')).toBeFocused();
	});
});
