import { test, expect } from './portal.js';
import { openForm, signIn, signOut } from './person.js';

test('a browser that another one signed out gets the sign-in page at its next click', async ({ page, anotherBrowser, portal }) => {
	const ada = await portal.addAccount('ada');
	const other = await anotherBrowser();
	await signIn(page, ada);
	await signIn(other, ada);
	await page.goto('/settings/sessions');
	const sessions = page.getByRole('list', { name: 'Sessions' }).getByRole('listitem');
	await expect(sessions).toHaveCount(2);
	await expect(sessions.first()).toContainText(/Chrome on Linux.*This browser.*127\.0\.0\.1 · last active .*signed in .* with password/s);
	await expect(sessions.last()).not.toContainText('This browser');

	await sessions.last().getByRole('button', { name: /^Sign out/ }).click();
	await expect(page.getByRole('status')).toHaveText('That browser was signed out.');
	await expect(sessions).toHaveCount(1);
	await other.getByRole('link', { name: 'Secure your account' }).click();
	await expect(other.getByRole('heading', { name: 'Sign in to Harbour Radio' })).toBeVisible();

	await page.goto('/settings/activity');
	const events = page.getByRole('main').getByRole('listitem');
	await expect(events.nth(0)).toContainText('Signed out another browser');
	await expect(events.nth(1)).toContainText('Signed in with password');
	await expect(events.nth(2)).toContainText(/Signed in with password.*Chrome on Linux · 127\.0\.0\.1/s);
});

test.describe('in New York', () => {
	test.use({ timezoneId: 'America/New_York' });
	test('events are grouped by the days of the user’s time zone @scripts', async ({ page, portal }) => {
		const ada = await portal.addAccount('ada');
		await signIn(page, ada);
		await signOut(page);
		await signIn(page, ada);
		// Three events of one day in UTC; there midnight is at 05:00 UTC.
		const times = ['2026-11-24T05:30:00Z', '2026-11-24T04:30:00Z', '2026-11-24T00:10:00Z'];
		await page.route('**/settings/activity', async (route) => {
			const answer = await route.fetch();
			let n = 0;
			const body = (await answer.text()).replace(/(<time datetime=")[^"]*("[^>]* data-clock)/g, (_, before, after) => before + times[Math.min(n++, 2)] + after);
			await route.fulfill({ response: answer, body });
		});
		await page.goto('/settings/activity');
		const main = page.getByRole('main');
		await expect(main.getByRole('heading', { level: 2 })).toHaveText(['24 Nov 2026', '23 Nov 2026']);
		await expect(main.getByRole('list', { name: '24 Nov 2026' }).getByRole('listitem')).toHaveText([/Signed in with password\s*00:30 · .*Chrome on Linux/]);
		await expect(main.getByRole('list', { name: '23 Nov 2026' }).getByRole('listitem').first()).toContainText(/Signed out\s*23:30/);
	});
});

test('without scripts, events are grouped by days in UTC @no-scripts', async ({ page, portal }) => {
	const ada = await portal.addAccount('ada');
	await signIn(page, ada);
	await page.goto('/settings/activity');
	const day = new Date().toLocaleDateString('en-GB', { timeZone: 'UTC', day: 'numeric', month: 'short', year: 'numeric' });
	await expect(page.getByRole('main').getByRole('heading', { level: 2 }).first()).toHaveText(`${day} UTC`);
});

test('Sign out everywhere else ends every session but this one', async ({ page, anotherBrowser, portal }) => {
	const ada = await portal.addAccount('ada');
	const others = [await anotherBrowser(), await anotherBrowser()];
	for (const browser of [page, ...others]) await signIn(browser, ada);
	await page.goto('/settings/sessions');
	const form = await openForm(page, 'Sign out everywhere else');
	await expect(form).toContainText('This signs out 2 other browsers immediately. You stay signed in here.');
	await form.getByRole('button', { name: 'Sign them out' }).click();
	await expect(page.getByRole('status')).toContainText('signed out');
	expect(await page.content()).not.toContain('⟦'); // the mark of a text that isn't in the catalogue
	await expect(page.getByRole('list', { name: 'Sessions' }).getByRole('listitem')).toHaveCount(1);
	for (const other of others) {
		await other.goto('/settings/security');
		await expect(other.getByRole('heading', { name: 'Sign in to Harbour Radio' })).toBeVisible();
	}
	await page.goto('/settings/activity');
	await expect(page.getByRole('main').getByRole('listitem').first()).toContainText('Signed out everywhere else');
});

test('signing out ends the session, and the back button shows none of its pages', async ({ page, portal }) => {
	const ada = await portal.addAccount('ada');
	await signIn(page, ada);
	await page.goto('/settings/profile');
	await page.getByLabel('Display name').fill('Ada Lovelace');
	await page.getByRole('button', { name: 'Save' }).click();
	await expect(page.getByRole('status')).toHaveText('Profile saved.');
	await signOut(page);
	await page.goBack();
	await expect(page.getByRole('heading', { name: 'Sign in to Harbour Radio' })).toBeVisible();
	expect(await page.content()).not.toContain('Lovelace');
});

test('a let-in link makes one other browser known, and doesn’t replace the sign-in', async ({ page, anotherBrowser, portal }) => {
	const ada = await portal.addAccount('ada');
	await signIn(page, ada);
	await page.goto('/settings/sessions');
	const form = await openForm(page, 'Allow another browser');
	await form.getByRole('button', { name: 'Create the link' }).click();
	await expect(page.getByRole('heading', { name: 'Open this link in the other browser' })).toBeVisible();
	const link = (await page.locator('#let-in-link').textContent()).trim();

	const other = await anotherBrowser();
	await other.goto(link);
	await other.reload(); // opening the link doesn't use it
	await other.getByRole('button', { name: 'Allow it' }).click();
	await expect(other.getByRole('status')).toContainText('This browser may sign in now.');
	await other.goto('/settings/sessions'); // the browser isn't signed in
	await expect(other.getByRole('heading', { name: 'Sign in to Harbour Radio' })).toBeVisible();
	await signIn(other, ada);
	await other.goto('/settings/sessions');
	await expect(other.getByRole('list', { name: 'Known browsers' }).getByRole('listitem')).toHaveCount(2);

	const third = await anotherBrowser();
	await third.goto(link);
	await expect(third.getByRole('heading', { name: 'This link doesn’t work any more' })).toBeVisible();
});
