// A shielded account: a mailed link lets the browser that asked for it try again, even if the owner reads
// the mail on another device.
import { mkdir } from 'node:fs/promises';
import { test, expect } from './portal.js';
import { axeFaults, overflowing } from './checks.js';
import { enable, fillIn, signIn, typeCode } from './person.js';

test.use({ mail: true });

const alert = (page) => page.getByRole('alert');
const heading = (page) => page.getByRole('heading', { level: 1 });

// checked checks the open page at the widths of a phone and a desktop. If SALLYPORT_PICTURES names a
// directory, it also saves pictures there.
async function checked(page, name) {
	const { width, height } = page.viewportSize();
	for (const wide of [360, 1280]) {
		await page.setViewportSize({ width: wide, height: 800 });
		expect.soft(await page.evaluate(overflowing), `${name} at ${wide} px`).toEqual([]);
		for (const colorScheme of ['light', 'dark']) {
			expect.soft(await axeFaults(page, colorScheme), `${name}, ${colorScheme}`).toEqual([]);
			if (!process.env.SALLYPORT_PICTURES) continue;
			await mkdir(process.env.SALLYPORT_PICTURES, { recursive: true });
			await page.screenshot({ path: `${process.env.SALLYPORT_PICTURES}/${name}-${wide}-${colorScheme}.png`, fullPage: true });
		}
	}
	await page.setViewportSize({ width, height });
}

test('a shielded account: the laptop asks, the phone opens the mail and shows a code, the laptop takes it', { tag: ['@one-engine'] }, async ({ page, portal, anotherBrowser, javaScriptEnabled }) => {
	const check = javaScriptEnabled ? checked : async () => {};
	const ada = await portal.addAccount('ada');
	await portal.command(['account', 'set-email', 'ada', 'ada@example.com']);
	await portal.command(['account', 'verify-email', 'ada']);
	await signIn(page, ada);
	const { phone } = await enable(page);
	await portal.shield('ada');

	const laptop = await anotherBrowser(), mobile = await anotherBrowser();
	const ask = async () => {
		await laptop.goto('/login');
		await fillIn(laptop, ada);
		await expect(alert(laptop)).toContainText('new browsers can’t sign in for now');
		await check(laptop, 'shielded');
		await laptop.getByRole('button', { name: 'Email me a link' }).click();
		await expect(heading(laptop)).toHaveText('Check your email');
		await expect(laptop).toHaveURL('/unlock');
		return portal.mail.link('ada@example.com', '/unlock');
	};
	const link = await ask();
	await check(laptop, 'waiting');
	await mobile.goto(link);
	await expect(heading(mobile)).toHaveText('Open this on the device where you sign in');
	await expect(mobile.getByRole('main').getByRole('button')).toHaveCount(0);
	await check(mobile, 'elsewhere');
	const code = (await mobile.locator('.typed').innerText()).trim();
	await mobile.goto('/unlock');
	await mobile.getByLabel('Code').fill(code);
	await mobile.getByRole('button', { name: 'Allow it' }).click();
	await expect(alert(mobile)).toContainText('That code isn’t right');
	await check(mobile, 'wrong-code');

	await laptop.getByLabel('Code').fill(code.toLowerCase().replace('-', ' '));
	await laptop.getByRole('button', { name: 'Allow it' }).click();
	await expect(laptop.getByRole('status')).toContainText('This browser may sign in now.');
	await expect(laptop.getByLabel('Username or email')).toHaveValue('ada');
	await laptop.getByLabel('Password', { exact: true }).fill(ada.password);
	await laptop.getByRole('button', { name: 'Sign in' }).click();
	await expect(laptop).toHaveURL('/login/code');
	await typeCode(laptop, await phone.code());
	await expect(laptop.getByRole('heading', { name: 'Your panels' })).toBeVisible();
	await laptop.goto('/settings/activity');
	await expect(laptop.getByRole('main')).toContainText('Let a browser sign in with a link from an email');
	await mobile.goto(link);
	await expect(heading(mobile)).toHaveText('This link doesn’t work any more');
	await check(mobile, 'used');

	// In the browser that asked, the link's page has a button. A robot presses every button of the link's
	// page before the owner does.
	await laptop.context().clearCookies();
	const second = await ask();
	const robot = await anotherBrowser();
	await robot.goto(second);
	for (const button of await robot.getByRole('button').all()) await button.click();
	await laptop.goto(second);
	await expect(heading(laptop)).toHaveText('Allow this browser');
	await check(laptop, 'here');
	await laptop.getByRole('button', { name: 'Allow it' }).click();
	await expect(laptop.getByRole('status')).toContainText('This browser may sign in now.');
	await robot.goto('/login');
	await fillIn(robot, ada);
	await expect(alert(robot)).toContainText('new browsers can’t sign in for now');
});
