// A panel behind another proxy: nginx with the unchanged files of deploy/proxy.
import { test, expect } from '@playwright/test';
import { startGate } from './gate.js';
import { enable, fillIn, path, typeCode } from './person.js';

// panel shows the signed-in user. Its pages contain a frame and prefetch another page.
function panel(request, response) {
	response.setHeader('Content-Type', 'text/html; charset=utf-8');
	response.end(`<!doctype html><html lang="en"><title>Rack</title><link rel="icon" href="data:,"><link rel="prefetch" href="/rack/ahead">
<h1>${request.headers['remote-user'] ?? 'nobody'} at ${request.url.replaceAll('&', '&amp;')}</h1>
<iframe title="status" src="/rack/frame"></iframe></html>`);
}

test('behind nginx: sign-in with a code, return to the exact page, and sign-out @one-engine', async ({ browser, javaScriptEnabled }) => {
	const gate = await startGate('nginx', panel, '    rules:\n      - {path: /open/, require: nothing}\n');
	const context = await browser.newContext({ baseURL: gate.portal, javaScriptEnabled });
	try {
		const ada = await gate.addAccount('ada');
		const page = await context.newPage();
		await page.goto(`${gate.panel}/`);
		await fillIn(page, ada);
		await expect(page.getByRole('heading')).toHaveText('ada at /');
		const { phone } = await enable(page);
		await page.goto(`${gate.panel}/.sallyport/logout`);
		await page.getByRole('button', { name: 'Sign out' }).click();
		await expect(page.getByText('You’re signed out')).toBeVisible();

		// Only a page redirects to the sign-in. A frame, a prefetch or a request of a script gets a 401.
		const answers = [];
		page.on('response', (answer) => answers.push({ url: answer.url(), status: answer.status() }));
		const statusOf = (target) => answers.findLast(({ url }) => url === gate.panel + target)?.status;
		await page.goto(`${gate.panel}/open/page`);
		await expect(page.getByRole('heading')).toHaveText('nobody at /open/page');
		await expect.poll(() => statusOf('/rack/frame')).toBe(401);
		await expect.poll(() => statusOf('/rack/ahead')).toBe(401);
		const login = `${gate.panel}/.sallyport/start?return=%2Frack%2F7`;
		for (const [mode, dest, status] of [['navigate', 'iframe', 401], ['no-cors', 'empty', 401], ['cors', 'empty', 401], ['navigate', 'document', 303]]) {
			const answer = await gate.ask('/rack/7', { 'Sec-Fetch-Mode': mode, 'Sec-Fetch-Dest': dest, Accept: 'text/html' });
			expect(answer.status, `${mode} ${dest}`).toBe(status);
			if (mode === 'navigate' && status === 401) expect(answer.body).toContain(`href="${login}" target="_top"`);
			else if (status === 401) expect([answer.location, JSON.parse(answer.body)]).toEqual([undefined, { login }]);
			else expect(answer.location).toBe(login);
		}

		const exact = `${gate.panel}/rack/7?sort=name&x=%2Fa%20b&x`;
		await page.goto(exact);
		await expect(page).toHaveURL(path('/login'));
		await fillIn(page, ada);
		await expect(page).toHaveURL(path('/login/code'));
		await typeCode(page, '000000');
		await expect(page.getByRole('alert')).toBeVisible();
		await typeCode(page, await phone.code());
		await expect(page).toHaveURL(exact);
		await expect(page.getByRole('heading')).toHaveText('ada at /rack/7?sort=name&x=%2Fa%20b&x');
		await expect(page.frameLocator('iframe').getByRole('heading')).toHaveText('ada at /rack/frame');

		const visits = await context.cookies(gate.panel);
		expect(visits.map(({ name }) => name)).toContain('sallyport-visit');

		// Going back in the history leads to the panel, not to a used handoff.
		await page.goto(`${gate.panel}/rack/8`);
		await page.goBack();
		await expect(page).toHaveURL(exact);

		await page.goto(`${gate.panel}/.sallyport/logout`);
		await page.getByRole('button', { name: 'Sign out' }).click();
		await expect(page.getByText('You’re signed out')).toBeVisible();
		await page.goto(exact);
		await expect(page).toHaveURL(path('/login'));
		for (const { name, value } of visits) {
			expect((await gate.ask('/rack/7', { Cookie: `${name}=${value}` })).status, 'the visit that ended').toBe(401);
		}
	} finally {
		await context.close();
		await gate.stop();
	}
});
