// Two panels and the portal, each on its own host.
import { test, expect } from '@playwright/test';
import { startGate } from './gate.js';
import { enable, fillIn, path, typeCode } from './person.js';

function panel(request, response) {
	response.setHeader('Content-Type', 'text/html; charset=utf-8');
	response.end(`<!doctype html><html lang="en"><title>Rack</title><link rel="icon" href="data:,"><h1>${request.headers['remote-user']} at ${request.headers.host}</h1></html>`);
}

test('one sign-in opens both panels, and a cookie of one host opens no other @one-engine', async ({ browser, javaScriptEnabled }) => {
	const gate = await startGate('gateway', panel, (port, own) => `  - url: http://video.localhost:${port}\n    upstream: http://${own}\n    require: two_factor\n`);
	const video = gate.panel.replace('panel.', 'video.');
	const context = await browser.newContext({ baseURL: gate.portal, javaScriptEnabled });
	try {
		const ada = await gate.addAccount('ada');
		const page = await context.newPage();
		const here = (origin) => `ada at ${new URL(origin).host}`;
		const signOutAt = async (origin) => {
			await page.goto(`${origin}/.sallyport/logout`);
			await page.getByRole('button', { name: 'Sign out' }).click();
			await expect(page.getByText('You’re signed out')).toBeVisible();
		};
		await page.goto(`${gate.panel}/`);
		await fillIn(page, ada);
		await expect(page.getByRole('heading')).toHaveText(here(gate.panel));
		const { phone } = await enable(page);
		await signOutAt(gate.panel);

		await page.goto(`${gate.panel}/rack?a=1`);
		await fillIn(page, ada);
		await typeCode(page, await phone.code());
		await expect(page).toHaveURL(`${gate.panel}/rack?a=1`);
		await page.goto(`${video}/live`);
		await expect(page).toHaveURL(`${video}/live`);
		await expect(page.getByRole('heading')).toHaveText(here(video));

		const hosts = [gate.panel, video, gate.portal];
		const statusAt = async (origin, Cookie) => (await gate.ask(origin === gate.portal ? '/settings/security' : '/', { Host: new URL(origin).host, Cookie })).status;
		const refusalAt = (origin) => (origin === gate.portal ? 303 : 401);
		const held = await Promise.all(hosts.map(async (origin) => (await context.cookies(origin)).filter(({ name }) => /^sallyport(-visit)?$/.test(name))));
		expect(held.map((cookies) => cookies.map(({ name }) => name))).toEqual([['sallyport-visit'], ['sallyport-visit'], ['sallyport']]);
		for (const [i, [{ name, value }]] of held.entries()) {
			expect(await statusAt(hosts[i], `${name}=${value}`), `its own host ${hosts[i]}`).toBe(200);
			for (const origin of hosts) {
				for (const called of ['sallyport', 'sallyport-visit']) {
					if (origin === hosts[i] && called === name) continue;
					expect(await statusAt(origin, `${called}=${value}`), `${hosts[i]}'s as ${called} at ${origin}`).toBe(refusalAt(origin));
				}
			}
		}

		await signOutAt(video);
		for (const [i, [{ name, value }]] of held.entries()) {
			expect(await statusAt(hosts[i], `${name}=${value}`), `${hosts[i]} after the sign-out`).toBe(refusalAt(hosts[i]));
		}
		await page.goto(`${gate.panel}/`);
		await expect(page).toHaveURL(path('/login'));
	} finally {
		await context.close();
		await gate.stop();
	}
});
