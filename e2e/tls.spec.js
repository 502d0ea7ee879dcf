// Sallyport's own TLS in a real browser, without a proxy.
import { createHash } from 'node:crypto';
import { test, expect } from '@playwright/test';
import { startGate } from './gate.js';
import { enable, path, typeCode } from './person.js';

// panel shows the signed-in user and the scheme of the request.
function panel(request, response) {
	response.setHeader('Content-Type', 'text/html; charset=utf-8');
	response.end(`<!doctype html><html lang="en"><title>Rack</title><link rel="icon" href="data:,"><h1>${request.headers['remote-user']} by ${request.headers['x-forwarded-proto']}</h1></html>`);
}

// greet accepts a WebSocket and sends one message (RFC 6455, sections 1.3 and 5.2).
function greet(request, socket) {
	const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
	socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n\x81\x05hello`, 'latin1');
	socket.on('error', () => {});
}

test('own TLS: sign-in with a code over HTTP/2, and a WebSocket @one-engine', async ({ browser, javaScriptEnabled }) => {
	const gate = await startGate('tls', panel, '    require: two_factor\n', greet);
	const context = await browser.newContext({ baseURL: gate.portal, javaScriptEnabled, ignoreHTTPSErrors: true });
	try {
		const ada = await gate.addAccount('ada');
		const page = await context.newPage();
		const faults = [];
		page.on('console', (message) => { if (message.type() === 'error') faults.push(message.text()); });
		const fillIn = async () => {
			await page.getByLabel('Username or email').fill(ada.name);
			await page.getByLabel('Password', { exact: true }).fill(ada.password);
			await page.getByRole('button', { name: 'Sign in' }).click();
		};
		await page.goto('/login');
		await fillIn();
		await expect(page.getByRole('heading', { name: 'Your panels' })).toBeVisible();
		const { phone } = await enable(page);
		await context.clearCookies();

		await page.goto(`${gate.panel}/rack/7?x=1`);
		await fillIn();
		await expect(page).toHaveURL(path('/login/code'));
		await typeCode(page, await phone.code());
		await expect(page).toHaveURL(`${gate.panel}/rack/7?x=1`);
		await expect(page.getByRole('heading')).toHaveText('ada by https');
		const cookies = await context.cookies();
		expect(cookies.length).toBeGreaterThan(1);
		for (const one of cookies) {
			expect(one.name).toMatch(/^__Host-sallyport/);
			expect([one.secure, one.httpOnly, one.sameSite]).toEqual([true, true, 'Lax']);
		}
		if (javaScriptEnabled) {
			expect(await page.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol)).toBe('h2');
			const received = await page.evaluate(() => new Promise((resolve) => {
				const socket = new WebSocket(`wss://${location.host}/socket`);
				socket.onmessage = (message) => resolve(message.data);
				socket.onclose = () => resolve('closed');
			}));
			expect(received).toBe('hello');
		}
		expect(faults).toEqual([]);
	} finally {
		await context.close();
		await gate.stop();
	}
});
