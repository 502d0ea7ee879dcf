// Machine passes: created and revoked in a browser, and used by a program.
import { test, expect } from '@playwright/test';
import { startGate } from './gate.js';
import { Phone, backupCodes, enable, openForm, openWizard, path, signIn } from './person.js';

function panel(request, response) {
	response.end(JSON.stringify({ url: request.url, headers: request.headers }));
}

for (const frontend of ['gateway', 'nginx']) {
	test(`a program is admitted with a machine pass, behind ${frontend}, until the owner revokes it @one-engine`, async ({ browser, javaScriptEnabled }) => {
		const gate = await startGate(frontend, panel);
		const context = await browser.newContext({ baseURL: gate.portal, javaScriptEnabled, permissions: ['clipboard-read', 'clipboard-write'] });
		try {
			const page = await context.newPage();
			await signIn(page, await gate.addAccount('ada'));
			await page.goto('/settings/security');
			await page.getByRole('link', { name: 'New machine pass' }).click();
			await page.getByLabel('Name').fill('nightly backup');
			await page.getByLabel('Path').fill('files');
			await page.getByRole('button', { name: 'Make the pass' }).click();
			await expect(page.getByRole('alert')).toHaveText('Start the path with a slash, and use only characters that need no escaping in a URL.');
			await expect(page.getByLabel('Path')).toBeFocused();
			await expect(page.getByLabel('Name')).toHaveValue('nightly backup');
			await page.getByLabel('Path').fill('/files/');
			await page.getByRole('button', { name: 'Make the pass' }).click();

			await expect(page.getByText('It won’t be shown again. Anyone who has it can use it as you')).toBeVisible();
			await expect(page.getByText(`${gate.panel}/files/`, { exact: true })).toBeVisible();
			const token = (await page.locator('#pass').textContent()).trim();
			expect(token).toMatch(/^spp_[\w-]{43}$/);
			const copy = page.getByRole('button', { name: 'Copy', exact: true });
			if (javaScriptEnabled) {
				await copy.click();
				await expect(page.getByRole('button', { name: 'Copied' })).toBeVisible();
				expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(token);
			} else {
				await expect(copy).toBeHidden();
			}
			await page.reload(); // sends the form a second time, which must not create a second pass
			await expect(page.getByRole('alert')).toHaveText('You already have a pass with that name. Choose another name, or revoke that pass first.');
			expect(await page.content()).not.toContain('spp_');
			await page.getByRole('link', { name: 'Cancel' }).click();

			const passes = page.getByRole('list', { name: 'Machine passes' }).getByRole('listitem');
			await expect(passes).toHaveCount(1);
			await expect(passes).toContainText(/nightly backup.*GET · .*\/files\/.*expires .* · not used yet/s);
			const { body } = await gate.ask('/files/7', { Authorization: `Bearer ${token}` });
			const saw = JSON.parse(body);
			expect([saw.url, saw.headers['remote-user'], saw.headers.authorization]).toEqual(['/files/7', 'ada', undefined]);
			expect(body).not.toContain('spp_');
			expect(await gate.ask('/admin', { 'Sallyport-Pass': token })).toMatchObject({ status: 401, body: expect.stringContaining("isn't for this path") });
			await expect(async () => { // the server writes the time of use within seconds
				await page.reload();
				expect(await passes.innerText()).toContain('last used');
			}).toPass();

			const form = await openForm(page, 'Revoke');
			await form.getByRole('button', { name: 'Revoke nightly backup' }).click();
			await expect(page.getByRole('status')).toHaveText('Pass revoked.');
			await expect(passes).toHaveCount(0);
			expect((await gate.ask('/files/7', { 'Sallyport-Pass': token })).status).toBe(401);

			// A pass ends when its owner changes the way to sign in.
			await page.getByRole('link', { name: 'New machine pass' }).click();
			await page.getByLabel('Name').fill('sync');
			await page.getByRole('button', { name: 'Make the pass' }).click();
			const second = (await page.locator('#pass').textContent()).trim();
			expect((await gate.ask('/', { 'Sallyport-Pass': second })).status).toBe(200);
			await enable(page);
			await expect(passes).toHaveCount(0);
			expect((await gate.ask('/', { 'Sallyport-Pass': second })).status).toBe(401);
		} finally {
			await context.close();
			await gate.stop();
		}
	});
}

test('the page of the first backup codes lists passes that still work, and another tab revokes them @one-engine', async ({ browser, javaScriptEnabled }) => {
	const gate = await startGate('gateway', panel);
	const context = await browser.newContext({ baseURL: gate.portal, javaScriptEnabled });
	try {
		const page = await context.newPage();
		await signIn(page, await gate.addAccount('ada'));
		const token = await gate.addPass('ada', 'deploy');
		await openWizard(page);
		const phone = await Phone.scan(page);
		await page.getByLabel('Code', { exact: true }).fill(await phone.code());
		await page.getByRole('button', { name: 'Enable' }).click();
		const codes = await backupCodes(page);
		await expect(page.getByText('1 machine pass still works:')).toBeVisible();
		await expect(page.getByText(`deploy · ${gate.panel}/`)).toBeVisible();
		expect((await gate.ask('/', { 'Sallyport-Pass': token })).status).toBe(200);

		const [tab] = await Promise.all([context.waitForEvent('page'), page.getByRole('link', { name: 'Revoke machine passes' }).click()]);
		await expect(tab).toHaveURL(path('/settings/security'));
		const form = await openForm(tab, 'Revoke');
		await form.getByRole('button', { name: 'Revoke deploy' }).click();
		await expect(tab.getByRole('status')).toHaveText('Pass revoked.');
		expect((await gate.ask('/', { 'Sallyport-Pass': token })).status).toBe(401);

		expect(await backupCodes(page)).toEqual(codes); // the first tab still shows them
		await page.getByLabel('I have saved these codes').check();
		await page.getByRole('button', { name: 'Done' }).click();
		await expect(page).toHaveURL(path('/settings/security'));
	} finally {
		await context.close();
		await gate.stop();
	}
});
